"""The texts: what they tell a reader to type works, and what they link to is there."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from helpers import recbayes

from recbayes import configs

ROOT = Path(__file__).parent.parent
SMALL = ["train.epochs=1", "train.held_out=0", "posterior.draws=4", "model=linear", "simulate.seeds=2", "simulate.world.steps=3"]
SMALL += ["simulate.policies=[uniform, {kind: ucb}]", "density.group_effect=false", "simulate.choose_fraction=0.25"]
"""A page effect makes each graph five times as large; choice and judgement over as many tests of as many arms share compiled programs."""
SMALLER = {
    "draws=64": "draws=4",
    "steps=100": "steps=3",
    "seeds=20": "seeds=2",
    "posterior=rb": "epochs=1, held_out=0, group_effect=False, model=rb.linear(), posterior=rb",
}
OWN_MODEL = {
    "test_fraction=0.2)": "test_fraction=0.2)\ntrain, test = train.take(range(600)), test.take(range(200))",
    "epochs=20": "epochs=2, held_out=0, group_effect=False",
    "members=5": "members=2",
    "rb.mean_field()": "rb.mean_field(draws=4, anneal=2)",
    "rb.mc_dropout()": "rb.mc_dropout(draws=4)",
}


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def texts():
    found = [path for path in ROOT.rglob("*.md") if not {".venv", "runs", "build"} & set(path.relative_to(ROOT).parts)]
    assert len(found) > 10
    return found


@pytest.fixture(scope="module")
def rows():
    """Rows to score, as the README assumes them to be at hand."""
    log = pd.read_parquet(ROOT / "recbayes" / "log" / "examples" / "upworthy.parquet")
    return log.head(50)[["headline", "eyecatcher_id", "test_created_at"]]


def test_readme_commands_run_in_their_order(tmp_path, monkeypatch, rows):
    """The first ten minutes of a newcomer, at a small size."""
    monkeypatch.chdir(tmp_path)
    rows.to_parquet("rows.parquet")
    log = pd.read_parquet(ROOT / "recbayes" / "log" / "examples" / "upworthy.parquet")
    arms = log.groupby("clickability_test_id").headline.transform("size")
    log = log[arms == 4]
    log[log.clickability_test_id.isin(log.clickability_test_id.unique()[-300:])].to_parquet("few.parquet")
    ran = []
    for line in "".join(blocks((ROOT / "README.md").read_text(), "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["recbayes"]:
            assert words in ([], [".", ".venv/bin/activate"]), line
            continue
        small = [*SMALL, "log.path=few.parquet"] if words[1] == "run" else []
        if "posterior=map" in words:  # the other run chooses a policy by replaying its model; this one replays counts
            small = [setting for setting in small if not setting.startswith(("posterior", "simulate.policies"))]
            small += ["simulate.policies=[uniform, {kind: ucb, learner: counts}]", "export.policy={kind: ucb}"]
        done = recbayes(*words[1:], *small)
        assert done.exit_code == 0, f"{line}\n{done.stdout}{done.stderr}"
        ran.append(words[1])
    assert set(ran) == {"run", "ls", "cp", "validate", "audit", "predict", "check"}
    assert len(pd.read_parquet("scored.parquet")) == 50
    (table,) = re.findall(r"\| file \| holds \|\n\|---\|---\|\n(.*?)\n\n", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    promised = [name for row in table.splitlines() for name in re.findall("`([^`]+)`", row.split("|")[1])]
    assert len(promised) > 9
    assert not [name for name in promised if not (tmp_path / "runs" / "my" / name).exists()]


def test_readme_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks((ROOT / "README.md").read_text(), "python")
    for large, small in SMALLER.items():
        assert large in code, f"{large} is no longer in the README: the test's size override matches nothing"
        code = code.replace(large, small)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "export" / "1" / "saved_model.pb").is_file()


def test_the_example_of_ones_own_model_runs(capsys):
    """A user starts from it: each posterior says its line, on a thirtieth of the rows."""
    (code,) = blocks((ROOT / "docs" / "own_model.md").read_text(), "python")
    for large, small in OWN_MODEL.items():
        assert large in code, f"{large} is no longer in own_model.md: the test's size override matches nothing"
        code = code.replace(large, small)
    exec(compile(code, "own_model.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["map", "last_layer", "mean_field", "mc_dropout", "ensemble", "epinet"]
    assert all("nats a row" in line and "nan" not in line for line in lines)


def test_commands_in_configs_are_valid():
    """Each config says on top how to run it, with overrides."""
    seen = 0
    for name in configs.shipped():
        for line in configs.source(name).splitlines():
            if match := re.match(r"#   recbayes run (.*?)(\s{3,}.*)?$", line):
                words = [word for word in shlex.split(match[1]) if "=" in word or word == name]
                done = recbayes("validate", *words)
                assert done.exit_code == 0, f"{line}\n{done.stderr}"
                seen += 1
    assert seen >= 6


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_room_has_its_readme():
    """Ten lines on what lives in a folder and where to start."""
    rooms = [path.parent for folder in ("recbayes", "pipelines", "configs") for path in (ROOT / folder).rglob("__init__.py")]
    lacking = [
        str(room.relative_to(ROOT))
        for room in rooms
        if room.parent == ROOT or room.parent == ROOT / "recbayes"
        if not (room / "README.md").is_file()
    ]
    assert not lacking


def test_make_targets_that_the_texts_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {
        word for path in texts() for word in re.findall(r"(?:^    |`)make ([a-z]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert named >= {"test", "quickstart"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)
