"""The audit: each oddity is a finding with its rows, and the gravest gives the verdict."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from log.logs import ROLES, UPWORTHY, frame, upworthy

from recbayes.log import Finding, audit, read_log
from recbayes.log.audit import Audit


def found(check, source, **roles):
    """The findings of one check."""
    return [finding for finding in audit(source, **roles).findings if finding.check == check]


def test_the_quickstarts_log():
    """The example is fit to learn from, with two cautions, and what the test part lacks is told."""
    log = upworthy("headline", "eyecatcher_id", "test_created_at")
    train, test = log.split()
    result = audit(log, train=train, test=test)
    assert result.verdict == "warn"
    assert [f.check for f in result.findings if f.severity == "warn"] == ["randomisation", "same_arms"]
    unseen = {f.message.split()[0]: f.rows for f in result.findings if f.check == "unseen_values"}
    assert unseen == {"source_row": 3990, "headline": 3985, "eyecatcher_id": 3978}


def test_audit_json():
    """The form that reports read."""
    record = json.loads(json.dumps(audit(upworthy()).to_dict()))
    assert record["verdict"] == "warn"
    assert set(record["findings"][0]) == {"check", "severity", "rows", "first", "message"}
    assert record["aa"]["chi2_per_dof"] > 1
    assert "aa" not in audit(frame(), **ROLES).to_dict()


def test_the_gravest_comes_first_and_gives_the_verdict():
    """A reader of the first line knows what matters."""
    findings = tuple(Finding(check, severity, "<b>") for check, severity in (("a", "ok"), ("b", "warn"), ("c", "fail"), ("d", "info")))
    result = Audit("log", findings)
    assert str(result).splitlines()[:2] == ["log: fail", "  fail  c: <b>"]
    assert "&lt;b&gt;" in result._repr_html_()
    assert [Audit("log", findings[:n]).verdict for n in (0, 1, 2, 3)] == ["ok", "ok", "warn", "fail"]


def test_a_log_that_cannot_be_read_is_a_finding(tmp_path):
    """An audit answers even where reading raises."""
    result = audit(tmp_path / "nothing.parquet", **ROLES)
    assert result.verdict == "fail"
    assert "no such file" in result.findings[0].message
    assert "Did you mean 'shown'?" in audit(frame(), **(ROLES | {"impressions": "shwn"})).findings[0].message


@pytest.mark.parametrize(("on_bad_rows", "severity"), [("fail", "fail"), ("quarantine", "warn")])
def test_bad_rows(on_bad_rows, severity):
    """Impossible rows are listed with their numbers, and are as grave as the user says."""
    findings = found("bad_rows", frame(clicks=[1, 99, 0, None, 1, 50]), **ROLES, on_bad_rows=on_bad_rows)
    assert [(f.severity, f.rows, f.first) for f in findings] == [(severity, 2, (1, 5)), (severity, 1, (3,))]


def test_missing_values():
    """Nulls in features are told, and weigh when most rows have them."""
    findings = found("missing_values", frame(colour=["red", None, "red", "red", "red", "red"], size=[1.0, *[np.nan] * 5]), **ROLES)
    assert [(f.severity, f.rows) for f in findings] == [("info", 1), ("warn", 5)]
    assert "competes with no other" in found("missing_values", frame(test=["x", None, "y", "y", "z", "z"]), **ROLES)[0].message


def test_constant_features():
    """A feature of one value cannot teach anything."""
    findings = found("constant", frame(country="de", size=[None] * 6, n=1.5), **ROLES)
    assert findings[0].message.startswith("country, size, n: the same value")


def test_duplicates():
    """A log that was written twice counts every click twice."""
    twice = pd.concat([frame(), frame().iloc[:2]])
    assert [(f.severity, f.first) for f in found("duplicates", twice, **ROLES)] == [("warn", (6, 7))]
    assert found("duplicates", frame(), **ROLES)[0].severity == "ok"
    assert found("duplicates", twice, **(ROLES | {"item": None})) == []


@pytest.mark.parametrize(("late", "severity"), [(0, "ok"), (1, "warn"), (300, "info")])
def test_time_order(late, severity):
    """A few rows out of order are late; many are a log in another order."""
    at = np.arange(1_000)
    at[np.random.default_rng(0).choice(np.arange(1, 1_000), late, replace=False)] = 0
    log = pd.DataFrame({"clicks": at % 2, "at": at})
    assert [f.severity for f in found("time_order", log, clicks="clicks", time="at", features=[])] == [severity]


def test_ids_that_a_feature_table_lacks():
    """Rows that a join left empty are told apart from rows with a missing value."""
    findings = found("unmatched", frame(size=[1.0, None, 2.0, 2.0, None, 1.0], colour=["red", None, None, "red", "b", "c"]), **ROLES)
    assert [(f.severity, f.first) for f in findings] == [("warn", (1,))]


def test_candidates_that_lack_the_item_shown():
    """A candidate set without the item shown cannot have been the set."""
    shelves = {"shelf": [["a", "b"], ["b"], ["b"], ["c"], [], ["c", None]]}
    findings = found("candidates", frame(**shelves), **ROLES, candidates="shelf")
    assert [(f.severity, f.first) for f in findings] == [("fail", (2, 4))]
    whole = {"shelf": [["a", "b", "c"]] * 6}
    assert found("candidates", frame(**whole), **ROLES, candidates="shelf")[0].severity == "ok"


def test_odd_groups_are_warnings():
    """Groups with one arm, and groups in which everything was clicked."""
    single = frame(test=["x", "x", "x", "y", "z", "z"])
    assert [(f.severity, f.first) for f in found("single_arm", single, **ROLES)] == [("warn", (3,))]
    assert "None has two" in found("single_arm", frame(test=[*"uvwxyz"]), **ROLES)[0].message
    full = frame(clicks=[10, 20, 0, 3, 1, 0])
    assert [(f.severity, f.first) for f in found("all_clicks", full, **ROLES)] == [("warn", (0, 1))]


def test_rows_never_shown():
    """A row without impressions is no mistake, but says nothing."""
    assert [(f.severity, f.first) for f in found("never_shown", frame(shown=[10, 20, 0, 30, 10, 5]), **ROLES)] == [("info", (2,))]


@pytest.mark.parametrize(
    ("features", "expected"),
    [(["user"], "spread not identified"), (["page"], "hardly identified"), ([], "can be known")],
)
def test_spread(features, expected):
    """With one impression a row the spread of click rates cannot be told from their mean, and the audit says so."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {"click": rng.random(2_000) < 0.05, "item": rng.integers(0, 10, 2_000), "user": range(2_000), "page": rng.integers(0, 100, 2_000)}
    )
    assert expected in found("spread", events, clicks="click", item="item", features=features)[0].message


def test_real_propensities_pass():
    """The Open Bandit logs, uniform and adaptive, are consistent by position."""
    for name in ("open_bandit", "open_bandit_bts"):
        roles = {"clicks": "click", "item": "item_id", "propensity": "propensity_score", "position": "position", "features": []}
        assert [f.severity for f in found("propensities", f"example:{name}", **roles)] == ["ok"]


def test_propensities_that_do_not_sum_to_one():
    """Propensities of a third too much or over a wrong set are seen in the mean of their inverses.

    alarm 1e-6 for right code; sees a factor of 1.1 with power above .999.
    """
    rng = np.random.default_rng(0)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    item = rng.choice(4, 20_000, p=p)
    roles = {"clicks": "clicks", "item": "item", "propensity": "p", "features": []}
    log = pd.DataFrame({"clicks": rng.random(20_000) < 0.1, "item": item, "p": p[item]})
    assert found("propensities", log, **roles)[0].severity == "ok"
    assert found("propensities", log.assign(p=log.p * 1.1), **roles)[0].severity == "warn"
    listed = pa.Table.from_pandas(log).append_column("shelf", pa.array([[0, 1, 2, 3]] * 20_000))
    assert found("propensities", listed, **roles, candidates="shelf")[0].severity == "ok"
    five = listed.set_column(3, "shelf", pa.array([[0, 1, 2, 3, 4]] * 20_000))
    assert found("propensities", five, **roles, candidates="shelf")[0].severity == "warn"


def test_propensities_above_one_together():
    """Items of one choice cannot have been more likely than certain."""
    findings = found("propensities", frame(p=[0.6, 0.6, 0.5, 0.5, 0.2, 0.8]), **ROLES, propensity="p")
    assert [(f.severity, f.first) for f in findings if f.severity == "fail"] == [("fail", (0, 1))]


def test_without_propensities_what_is_not_identified_is_said():
    """A user who wants an off-policy value learns that the log cannot give it, and what it can."""
    assert "replay compares policies without them" in found("propensities", frame(), **ROLES)[0].message
    alone = found("propensities", frame(), **(ROLES | {"group": None}))
    assert (alone[0].severity, "simulated twin" in alone[0].message) == ("warn", True)


def test_a_reward_log_is_audited_too():
    """Checks that need clicks are silent, the others are not."""
    log = read_log(frame(sales=[0.0, 1.0, 0.5, 2.0, 0.0, 3.0]), reward="sales", item="item", group="test", time="at", features=["colour"])
    assert audit(log).verdict in ("ok", "warn")


def test_only_the_features_asked_for():
    """Columns that a split follows are no features: leaks among them do not matter."""
    log = read_log("example:upworthy", **UPWORTHY, features=["headline", "significance"])
    assert audit(log).verdict == "fail"
    assert audit(log, features=["headline"]).verdict == "warn"
