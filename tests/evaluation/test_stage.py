"""The stage: from a config to evaluation.json and the report, for tables and for policies that the run trains."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest
import small
import yaml
from helpers import recbayes

from recbayes.engine.local import Local
from recbayes.pipelines import engines


@pytest.fixture(scope="module")
def open_bandit(tmp_path_factory):
    """The shipped config's evaluation; nothing is trained for it."""
    out = tmp_path_factory.mktemp("runs") / "open_bandit"
    done = recbayes("run", "open_bandit", "--out", out, "features=[]", "export=null")
    assert done.exit_code == 0, done.stderr
    return out, done


def test_the_shipped_config(open_bandit):
    """The figures of the issue, from the command line, without a model: IPS .00457, SNIPS .00479, and that they are not to be trusted."""
    out, done = open_bandit
    record = json.loads((out / "evaluation.json").read_text())
    found = {(e["policy"], e["estimator"]): e for e in record["estimates"]}
    assert round(found["bts", "ips"]["value"], 5) == 0.00457
    assert round(found["bts", "snips"]["value"], 5) == 0.00479
    assert all(e["verdict"] == "do_not_trust" for (p, kind), e in found.items() if p == "bts" and kind != "dm")
    assert found["random", "ips"]["value"] == pytest.approx(0.0038)
    assert record["ranking"]["pairs"][0]["better"] == "bts"
    assert not (out / "model").exists()
    assert "4.8 effective" in done.stderr


def test_the_report_says_why(open_bandit):
    page = (open_bandit[0] / "report.html").read_text()
    assert 'id="evaluation"' in page
    for words in ("4.8 effective ones", "43% of the estimate", "do not trust", "order is right", "0 of 10 estimates can be trusted"):
        assert words in page


def test_it_is_skipped_until_something_changes(open_bandit):
    out, _ = open_bandit
    same = recbayes("evaluate", "open_bandit", "--out", out, "features=[]", "export=null")
    assert "evaluate up to date" in same.stderr.replace("  ", " ")
    changed = recbayes(
        "evaluate", "open_bandit", "--out", out, "features=[]", "export=null", "evaluate.estimators=[{kind: clipped_ips, clip: 2}]"
    )
    assert changed.exit_code == 0, changed.stderr
    (first, *_) = json.loads((out / "evaluation.json").read_text())["estimates"]
    assert (first["estimator"], first["setting"]) == ("clipped_ips", 2.0)


class Apart(Local):
    """This process as if it were others, which get what tasks share through a pickle."""

    apart = True

    def __init__(self):
        super().__init__()
        self.done = Counter()

    def run(self, work, numbers):
        function, shared = pickle.loads(pickle.dumps((work.function, work.shared)))
        for number in reversed(numbers):
            self.done[function.__name__] += 1
            yield number, function(shared, number)


def test_the_configs_engine_does_it(tmp_path, monkeypatch):
    """Click models without each fold and bootstraps are the engine's tasks, and every byte of the result is that of this process."""
    data = {
        "log": small.section(tmp_path),
        "features": [{"name": "image", "kind": "categorical"}],
        "model": "linear",
        "density": {"kind": "point", "group_effect": False},
        "posterior": "map",
        "train": {"epochs": 2},
        "evaluate": {"policies": ["logged"], "estimators": ["dr", "snips"], "reward_model": "fitted", "folds": 2, "interval": "bootstrap"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    apart = Apart()
    for out in ("here", "apart"):
        done = recbayes("evaluate", tmp_path / "config.yaml", "--out", tmp_path / out)
        assert done.exit_code == 0, done.stderr
        monkeypatch.setattr(engines, "_engine", lambda kind, address: apart)
    assert (tmp_path / "apart" / "evaluation.json").read_bytes() == (tmp_path / "here" / "evaluation.json").read_bytes()
    assert apart.done == {"without": 2, "task": 2}


def test_a_policy_of_the_run(tmp_path):
    """Trained, exported for it, judged on the test rows by its own `decide`; propensities are fitted within tests, and marked."""
    data = {
        "log": small.section(tmp_path, groups=40),
        "features": [{"name": "image", "kind": "categorical"}],
        "model": "linear",
        "density": {"kind": "point", "group_effect": False},
        "posterior": "map",
        "train": {"epochs": 1, "held_out": 0},
        "evaluate": {"policies": [{"kind": "exported", "policy": {"kind": "greedy"}}, "logged"], "estimators": ["snips"]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    done = recbayes("evaluate", tmp_path / "config.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    ours, logged = record["estimates"]
    assert (ours["policy"], logged["policy"]) == ("density/greedy", "logged")
    assert record["rows"] == 32  # the newest fifth of 40 tests of four
    assert "fitted, not logged" in ours["reason"]
    assert record["propensities"] == "fitted"
    assert any("Not identified" in line for line in record["identified"])
    assert not (tmp_path / "run" / "export").exists()
