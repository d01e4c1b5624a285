"""Every mistake of a user: exit 2, no traceback, what and where and the mend, and the run folder that was there stays as it was."""

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import listing, recbayes

from recbayes.run_folder import RunFolder

ROWS = 40


def good():
    """Ten pages of four arms."""
    rows = np.arange(ROWS)
    return pd.DataFrame(
        {
            "arm": rows,
            "page": [f"p{row // 4}" for row in rows],
            "at": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(rows // 4, unit="D"),
            "headline": [f"word{row % 7} word{row % 5}" for row in rows],
            "shown": 1000 + rows,
            "clicked": 10 + rows % 9,
        }
    )


def settings(path):
    return {
        "log": {
            "path": str(path),
            "columns": {"clicks": "clicked", "impressions": "shown", "item": "arm", "group": "page", "time": "at"},
        },
        "features": [{"name": "headline", "kind": "text"}],
        "simulate": {"world": {"kind": "queue", "steps": 5}, "policies": [{"kind": "uniform"}, {"kind": "greedy", "learner": "counts"}]},
    }


@pytest.fixture
def desk(tmp_path):
    """A good log with a finished audit in a run folder, and a way to run with something changed."""
    path = tmp_path / "log.parquet"
    good().to_parquet(path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(path)))
    assert recbayes("audit", tmp_path / "config.yaml", "--out", tmp_path / "run").exit_code == 0
    return tmp_path


def refused(desk, *overrides, log=None, command="audit"):
    """The message of a run that must be refused."""
    if log is not None:
        log.to_parquet(desk / "bad.parquet")
        overrides = (f"log.path={desk / 'bad.parquet'}", *overrides)
    before = listing(desk / "run")
    done = recbayes(command, desk / "config.yaml", "--out", desk / "run", *overrides)
    assert done.exit_code == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert listing(desk / "run") == before
    new = recbayes(command, desk / "config.yaml", "--out", desk / "new", *overrides)
    assert (new.exit_code, new.stderr) == (2, done.stderr)
    assert not (desk / "new").exists()
    return done.stderr


def says(message, *words):
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def changed(column, rows, value):
    log = good()
    if isinstance(value, float):
        log[column] = log[column].astype(float)
    log.loc[rows, column] = value
    return log


def test_no_such_file(desk):
    says(refused(desk, f"log.path={desk / 'logg.parquet'}"), "no such file", "logg.parquet", "log.parquet")


def test_empty_file(desk):
    (desk / "empty.parquet").write_bytes(b"")
    says(refused(desk, f"log.path={desk / 'empty.parquet'}"), "empty.parquet", "empty")


def test_not_parquet(desk):
    good().to_csv(desk / "log.csv")
    says(refused(desk, f"log.path={desk / 'log.csv'}"), "log.csv", "not a Parquet file", "read_csv")


def test_cut_off_parquet(desk):
    (desk / "cut.parquet").write_bytes((desk / "log.parquet").read_bytes()[:-200])
    says(refused(desk, f"log.path={desk / 'cut.parquet'}"), "cut.parquet", "Parquet")


def test_no_example(desk):
    says(refused(desk, "log.path=example:upworthi"), "example:upworthi", "upworthy")


def test_a_column_is_missing(desk):
    says(refused(desk, log=good().drop(columns="headline")), "bad.parquet", "'headline'", "feature")


def test_a_column_is_misnamed_in_the_config(desk):
    says(refused(desk, "log.columns.impressions=showm"), "log.parquet", "'showm'", "impressions", "shown")


def test_several_columns_are_misnamed(desk):
    says(refused(desk, "log.columns.impressions=showm", "log.columns.item=arms"), "'showm'", "'arms'")


@pytest.mark.parametrize("column", ["clicked", "shown"])
def test_wrong_type(desk, column):
    log = good()
    log[column] = log[column].astype(str)
    says(refused(desk, log=log), "bad.parquet", f"'{column}'", "string", "number")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("clicked", None, ["clicked is null", "1 of 40 rows"]),
        ("clicked", 5000, ["clicked > shown", "5000"]),
        ("clicked", -1, ["clicked is negative"]),
        ("clicked", float("inf"), ["clicked is infinite"]),
        ("clicked", 1.5, ["clicked is not a whole number"]),
        ("shown", -3, ["shown is negative"]),
        ("shown", float("inf"), ["shown is infinite"]),
        ("arm", None, ["arm is null"]),
        ("at", None, ["at is null"]),
    ],
)
def test_bad_rows_are_named(desk, column, value, words):
    says(refused(desk, log=changed(column, 7, value)), "bad.parquet", "row 7", "quarantine", *words)


def test_propensities_out_of_range(desk):
    log = good().assign(chance=0.25)
    log.loc[3, "chance"] = 0.0
    says(refused(desk, "log.columns.propensity=chance", log=log), "chance", "(0, 1]", "row 3")


def test_bad_rows_can_be_set_aside(desk):
    """The mend that the message names works, and nothing is dropped unseen."""
    changed("clicked", [7, 9], -1).to_parquet(desk / "bad.parquet")
    done = recbayes("audit", desk / "config.yaml", "--out", desk / "q", f"log.path={desk / 'bad.parquet'}", "log.on_bad_rows=quarantine")
    assert done.exit_code == 0, done.stderr
    assert "2 bad ones in quarantine.parquet" in done.stderr
    assert pd.read_parquet(desk / "q" / "quarantine.parquet").arm.tolist() == [7, 9]


def test_all_impressions_zero(desk):
    says(refused(desk, log=good().assign(shown=0, clicked=0)), "'shown'", "0 in all 40 rows")


def test_no_clicks_at_all(desk):
    says(refused(desk, log=good().assign(clicked=0)), "'clicked'", "0 in all 40 rows")


def test_no_rows(desk):
    says(refused(desk, log=good().head(0)), "no rows")


def test_one_row(desk):
    says(refused(desk, log=good().head(1)), "one row")


def test_one_group(desk):
    says(refused(desk, log=good().assign(page="p0")), "one group", "separate test log")


def test_no_group_with_two_arms_to_simulate(desk):
    lonely = good().assign(page=[f"p{row}" for row in range(ROWS)])
    says(refused(desk, log=lonely, command="simulate"), "bad.parquet", "two")


def test_nothing_to_simulate_is_said(desk):
    says(refused(desk, "simulate=null", command="simulate"), "simulate")


def test_no_features_to_train(desk):
    says(refused(desk, "features=[]", command="train"), "features", "at least one")


def test_an_unknown_key(desk):
    says(refused(desk, "train.epoch=3"), "train.epoch", "Did you mean epochs?")


def test_an_unknown_policy(desk):
    says(refused(desk, "simulate.policies.1.kind=greedi"), "simulate.policies.1.kind", "Did you mean greedy?")


def test_a_policy_of_no_name_to_export(desk):
    says(refused(desk, "export.policy=density/ucb", command="export"), "density/ucb", "uniform", "counts/greedy")
    says(refused(desk, "export.policy=counts/greedy", command="export"), "counts alone")
    says(refused(desk, "simulate.policies=[{kind: greedy, learner: counts}]", command="export"), "no simulated policy", "{kind: ucb}")
    says(refused(desk, "simulate=null", "export.policy=chosen", command="export"), "no such section", "export.policy={kind: ucb}")


def test_a_leak_stops_training_unless_accepted(desk):
    """A column made from the clicks would win every comparison and be missing when it is needed."""
    log = pd.concat([good().assign(page=lambda f, i=i: f.page + f"_{i}", arm=lambda f, i=i: f.arm + 100 * i) for i in range(20)])
    log["clicked"] = np.random.default_rng(0).binomial(log.shown, 0.01)
    log["score"] = log.clicked / log.shown
    leaking = ["features=[{name: score, kind: numeric}]"]
    says(refused(desk, *leaking, log=log, command="train"), "score", "audit.accept=[leaks]")


def test_a_device_that_is_not_there(desk):
    says(refused(desk, "runtime.device=gpu", command="train"), "runtime.device", "gpu")


def test_a_run_folder_of_another_version(desk):
    record = desk / "run" / "stages.json"
    record.write_text(record.read_text().replace('"recbayes": "0.1.0"', '"recbayes": "0.0.1"', 1))
    before = listing(desk / "run")
    done = recbayes("audit", desk / "config.yaml", "--out", desk / "run")
    assert (done.exit_code, listing(desk / "run")) == (2, before)
    says(done.stderr, "written by recbayes 0.0.1", "--out")


def test_two_runs_at_once(desk):
    before = listing(desk / "run")
    with RunFolder.open(desk / "run"):
        done = recbayes("audit", desk / "config.yaml", "--out", desk / "run")
    assert (done.exit_code, listing(desk / "run")) == (2, before)
    says(done.stderr, "another recbayes run is at work", "--out")


@pytest.mark.parametrize("what", ["one arm", "all clicks"])
def test_odd_single_groups_are_warnings(desk, what):
    log = good()
    log = log.drop(index=[1, 2, 3]) if what == "one arm" else log.assign(clicked=log.clicked.where(log.page != "p0", log.shown))
    log.to_parquet(desk / "odd.parquet")
    done = recbayes("audit", desk / "config.yaml", "--out", desk / "odd", f"log.path={desk / 'odd.parquet'}")
    assert done.exit_code == 0, done.stderr
    assert "warn" in done.stderr


def test_nothing_to_evaluate_is_said(desk):
    says(refused(desk, command="evaluate"), "evaluate", "no such section", "kind: table")


def test_a_policy_to_evaluate_that_is_not_there(desk):
    given = "evaluate.policies=[{kind: table, path: %s}]"
    says(refused(desk, given % (desk / "policy.parquet"), command="evaluate"), "no such file", "policy.parquet")
    good()[["arm"]].assign(probability=0.5).to_parquet(desk / "policy.parquet")
    says(refused(desk, given % (desk / "policy.parquet"), command="evaluate"), "policy", "do not sum to 1")
    says(refused(desk, "evaluate.policies=[{kind: tabel}]", command="evaluate"), "evaluate.policies.0.kind", "Did you mean table?")
    says(refused(desk, "evaluate.policies=[{kind: table}]", command="evaluate"), "evaluate.policies.0.path", "needs a value")
    says(refused(desk, "evaluate.policies=[logged, logged]", command="evaluate"), "named logged", "name of its own")
    says(refused(desk, "evaluate.policies=[{kind: exported, policy: counts/greedy}]", command="evaluate"), "counts alone")
    says(refused(desk, "evaluate.policies=[{kind: logged, policy: chosen}]", command="evaluate"), "kind exported")


def test_an_estimator_that_is_not_there(desk):
    wrong = ["evaluate.policies=[logged]", "evaluate.estimators=[ips, {kind: clipped_ips, clap: 3}, sinps]"]
    says(refused(desk, *wrong, command="evaluate"), "Did you mean clip?", "Did you mean snips?", "2 faults")


def test_a_decision_logged_twice(desk):
    log = good().assign(id=range(ROWS), chance=0.25)
    log.loc[3, "id"] = 2
    given = ["evaluate={policies: [logged], decision: id}", "log.columns.propensity=chance"]
    says(refused(desk, *given, log=log, command="evaluate"), "id", "2 of 40 rows", "2, 3", "Drop the copies")
