"""The recipes: which stages a config asks for, who is chosen, and what several of them share."""

import ast
from pathlib import Path

import pandas as pd
import pytest
from helpers import recbayes

from recbayes.config import load, parse
from recbayes.pipelines import inputs, players, recipe, served
from recbayes.pipelines.run import planned
from recbayes.runtime import start
from recbayes.types import UserError

ROOT = Path(__file__).parent.parent
ALL = ["audit", "train", "simulate", "export", "report"]
STAGES = [*ALL, "evaluate", "compare"]
LEAST = {"log": {"path": "example:upworthy", "columns": {"clicks": "clicks"}}}


@pytest.mark.parametrize(
    ("name", "overrides", "until", "plan"),
    [
        ("quickstart", [], "report", ALL),
        ("quickstart", [], "export", ALL[:-1]),
        ("quickstart", ["export.policy={kind: ucb}"], "export", ["audit", "train", "export"]),
        ("quickstart", ["export.policy=density/ucb"], "export", ["audit", "train", "export"]),
        ("quickstart", [], "audit", ["audit"]),
        ("quickstart", ["simulate.policies=[uniform, {kind: greedy, learner: counts}]"], "simulate", ["audit", "simulate"]),
        ("quickstart", ["simulate=null", "export=null"], "report", ["audit", "train", "report"]),
        ("quickstart", ["features=[]", "simulate=null", "export=null"], "report", ["audit", "report"]),
        ("open_bandit", [], "report", ["audit", "train", "evaluate", "export", "report"]),
        ("open_bandit", [], "evaluate", ["audit", "evaluate"]),
        ("open_bandit", ["features=[]", "export=null"], "report", ["audit", "evaluate", "report"]),
        ("open_bandit", ["evaluate.policies=[{kind: exported, policy: {kind: ucb}}]"], "evaluate", ["audit", "train", "evaluate"]),
        ("quickstart", ["evaluate={policies: [exported]}"], "evaluate", ["audit", "train", "simulate", "evaluate"]),
        ("upworthy", [], "report", ALL),
        ("compare", [], "compare", ["audit", "compare"]),
        ("compare", [], "report", ["audit", "train", "simulate", "compare", "report"]),
        ("quickstart", [], "compare", ["audit", "compare"]),
    ],
)
def test_a_config_gets_the_stages_it_asks_for(name, overrides, until, plan):
    """A stage that is not needed costs minutes; one that is missing costs the result."""
    assert planned(load(name, overrides), until) == plan


def test_the_best_policy_that_an_export_can_serve_is_chosen():
    config = load("quickstart")
    figures = {policy.name: {"expected_clicks": 100.0 + i} for i, policy in enumerate(config.simulate.policies)}
    figures["counts/greedy"]["expected_clicks"] = 300.0
    assert served.best(config, figures) == "density/knowledge_gradient"
    figures["density/ucb"]["expected_clicks"] = 200.0
    assert served.best(config, figures) == "density/ucb"
    alone = load("quickstart", ["simulate.policies=[{kind: greedy, learner: counts}]"])
    assert served.best(alone, figures) == "counts/greedy"
    beside = load("quickstart", ["simulate.policies=[uniform, {kind: greedy, learner: counts}]"])
    assert served.best(beside, figures) == "counts/greedy"


def test_halving_chooses_among_those_that_are_left():
    """`policies: auto` over a model: most of the family has no figures after the last round, and the choice must not stumble over them."""
    config = load("quickstart", ["simulate.policies=auto"])
    left = {name: {"expected_clicks": clicks} for name, clicks in (("uniform", 1.0), ("density/greedy", 2.0), ("density/ucb@0.5", 3.0))}
    assert served.best(config, left) == "density/ucb@0.5"


def test_arms_differ_by_item_side_features_unless_the_config_says_otherwise():
    """Context changes from row to row: by it, A/A tests would look like tests of two arms."""
    config = load("quickstart")
    test = inputs.logs(config)[1]
    assert players.world(config, test).groups == 638
    by_image = load("quickstart", ["simulate.world.distinct=[eyecatcher_id]"])
    assert players.world(by_image, test).groups < 638


def test_a_separate_test_log_replaces_the_split(tmp_path):
    log = pd.read_parquet(ROOT / "recbayes" / "log" / "examples" / "upworthy.parquet")
    log.head(3000).to_parquet(tmp_path / "old.parquet")
    log.iloc[3000:3500].to_parquet(tmp_path / "new.parquet")
    config = load("quickstart", [f"log.path={tmp_path / 'old.parquet'}", f"log.test_path={tmp_path / 'new.parquet'}"])
    train, test = inputs.logs(config)
    assert (len(train), len(test)) == (3000, 500)
    done = recbayes(
        "audit", "quickstart", "--out", tmp_path / "run", *(f"log.{key}={getattr(config.log, key)}" for key in ("path", "test_path"))
    )
    assert done.exit_code == 0, done.stderr
    assert "test:" in (tmp_path / "run" / "config.yaml").read_text()


def test_missing_features_say_what_to_write():
    with pytest.raises(UserError, match="kind: text"):
        inputs.features(parse(LEAST))


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(UserError, match=r"recbayes\[gpu\]"):
        start("gpu")
    start("cpu")


def test_recipes_are_short_and_hold_no_mathematics():
    """Logic lives in the library, where people in notebooks have it too."""
    files = [path for path in (ROOT / "pipelines").glob("*.py") if path.name != "__init__.py"]
    assert len(files) >= 9
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 81, path.name
        imported = {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names}
        assert not imported & {"numpy", "scipy", "tensorflow", "keras"}, path.name


def test_every_recipe_says_what_it_reads():
    """A section that is read but not named would leave a stage up to date after it changed."""
    for stage in STAGES:
        text = (ROOT / "pipelines" / f"{stage}.py").read_text(encoding="utf-8")
        used = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "config"}
        used -= {"model_dump", "model_dump_json", "runtime", "audit"}  # what is written down, where it runs, which failures are accepted
        assert used <= set(recipe(stage).READS), stage
