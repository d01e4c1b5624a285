"""What can't be right: each an error with rows and mend, or a verdict; never a number that looks fine, never 0 for nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from evaluation import logs

import recbayes as rb
from recbayes.types import UserError


def refused(*words, log=None, table=None, **settings):
    def judge():
        policy = rb.table(logs.table() if table is None else table, name="new")
        rb.evaluate(logs.read() if log is None else log, [policy], **settings)

    with pytest.raises(UserError) as caught:
        judge()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


@pytest.mark.parametrize(("wrong", "says"), [(0.0, "chance = 0.0"), (1.5, "chance = 1.5"), (-0.1, "chance = -0.1"), (None, "null")])
def test_propensities_that_cannot_be(wrong, says):
    """Read whole or streamed: the row, the value and what to do."""
    data = logs.frame()
    data.loc[[7, 9], "chance"] = wrong
    with pytest.raises(UserError, match="row 7") as caught:
        logs.read(data)
    assert says in str(caught.value)
    refused("row 7", "2 rows", "Mend or drop", log=data, **logs.ROLES)


def test_propensities_that_are_not_those_of_the_choice():
    """Propensities of twice their size: nothing is wrong with a row, but weights have mean one half."""
    data = logs.frame().assign(chance=lambda f: np.minimum(2 * f.chance, 1.0))
    found = rb.evaluate(logs.read(data), [rb.table(logs.table(), name="new")], estimators=["ips", "snips"])
    for estimate in found.estimates:
        assert estimate.verdict == "do_not_trust"
        assert "should have 1" in estimate.reason


def test_a_policy_that_does_not_sum_to_1():
    table = logs.table()
    table.loc[3, "probability"] = 0.9
    refused("do not sum to 1", "slot 1: 1.7", "whole vector", table=table)
    refused("do not sum to 1", table=logs.table().drop(index=0))


@pytest.mark.parametrize("wrong", [-0.2, 1.7, None])
def test_probabilities_that_cannot_be(wrong):
    table = logs.table()
    table.loc[3, "probability"] = wrong
    refused("probability[3]", "[0, 1]", "1 of 10 rows", table=table)


def test_an_item_twice_in_a_policy():
    table = pd.concat([logs.table(), logs.table().head(1)])
    refused("repeat in 2 rows", "first: 0, 10", table=table)


def test_a_position_that_the_policy_does_not_know():
    refused("no slot 2", "Add the position", table=logs.table().head(5))


def test_a_policy_without_the_logs_columns():
    refused("no column 'item'", table=logs.table().rename(columns={"item": "items"}))
    refused("no column 'probability'", table=logs.table().rename(columns={"probability": "p"}))
    refused("item is", "one type", table=logs.table().assign(item=lambda f: [[1]] * len(f)))


def test_the_shown_item_is_no_candidate():
    data = logs.frame()
    data["could"] = [list(logs.ITEMS)] * len(data)
    data.at[5, "could"] = [item for item in logs.ITEMS if item != data["item"][5]]
    refused("not among its row's could", "1 of 4,000 rows", "row 5", log=logs.read(data, candidates="could"))


def test_a_policy_over_other_candidates():
    """A policy that chooses what could not be shown in a row can't be judged by weighting."""
    data = logs.frame()
    data["could"] = [list(logs.ITEMS)] * len(data)
    rows = np.flatnonzero((data["item"] != "cat").to_numpy())[:3]
    for row in rows:
        data.at[row, "could"] = [item for item in logs.ITEMS if item != "cat"]
    refused("other items than the log", "3 of 4,000 rows", "cat", "same candidates", log=logs.read(data, candidates="could"))


def test_rewards_outside_their_range():
    data = logs.frame().assign(money=lambda f: f.click * 5.0)
    roles = {"reward": "money", "item": "item", "position": "slot", "propensity": "chance"}
    with pytest.raises(UserError, match=r"outside its range \[0, 1\]"):
        rb.read_log(data, reward_range=(0.0, 1.0), features=[], **roles)
    refused("outside its range [0, 1]", "row ", log=data, reward_range=(0.0, 1.0), **roles)
    log = rb.read_log(data, features=[], **roles)
    refused("outside its range", log=log, reward_range=(0.0, 1.0))


def test_no_overlap_is_not_a_value_of_0():
    """A policy of items that the log never shows: no estimate, a reason, a mend; and JSON that holds."""
    table = logs.table().assign(item=lambda f: f["item"] + "s")
    found = rb.evaluate(logs.read(), [rb.table(table, name="new"), rb.logged()], estimators=["ips", "snips", "dm", "dr", "replay"])
    for estimate in found.estimates:
        if estimate.policy == "new" and estimate.estimator != "dm":
            assert math.isnan(estimate.value)
            assert estimate.verdict == "do_not_trust"
            assert "No overlap" in estimate.reason
            assert "4,000 rows" in estimate.reason
            assert "named alike" in estimate.reason
    direct = found.of("new", "dm")
    assert direct.verdict == "do_not_trust"
    assert "100.0% of the policy's choices" in direct.reason
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["estimates"][0]["value"] is None
    assert not found.pairs


def test_no_overlap_at_a_position_is_not_a_value_of_0():
    """Items of one slot named otherwise than in the log: no value there by any estimator that weights, and a reason; dm has its model's."""
    table = logs.table().assign(item=lambda f: np.where(f.slot == 2, f["item"] + "s", f["item"]))
    names = ["ips", "snips", "clipped_ips", "dr", "sndr", "replay", "dm"]
    found = rb.evaluate(logs.read(), [rb.table(table, name="new")], estimators=names)
    for estimate in found.estimates:
        first, second = estimate.positions
        assert math.isfinite(first["value"])
        assert first["reason"] == ""
        if estimate.estimator == "dm":
            assert math.isfinite(second["value"])
            continue
        assert all(math.isnan(figure) for figure in (second["value"], second["stderr"], *second["interval"]))
        assert "No overlap here" in second["reason"]
        assert f"{second['decisions']:,.0f} rows" in second["reason"]
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))["estimates"][0]["positions"][1]
    assert (record["value"], record["stderr"], record["interval"]) == (None, None, [None, None])


def test_a_half_without_overlap_is_not_a_value_of_0():
    """The log's second half shows other items than the policy: drift can't be judged, and nothing says 0."""
    data = logs.frame().assign(item=lambda f: np.where(f.decision < 2000, f["item"], f["item"] + "s"))
    found = rb.evaluate(logs.read(data), [rb.table(logs.table(), name="new")], estimators=["ips", "dr"])
    for estimate in found.estimates:
        assert math.isfinite(estimate.figures["first_half"])
        assert math.isnan(estimate.figures["second_half"])
        assert "Drift can't be judged: the second half" in estimate.reason
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["estimates"][0]["figures"]["second_half"] is None


def test_items_without_support():
    """A tenth of the policy's choices is on an item that the log never shows."""
    table = pd.concat([logs.table(logs.TARGET * 0.9), pd.DataFrame({"item": "new", "slot": [1, 2], "probability": 0.1})])
    estimate = rb.evaluate(logs.read(), [rb.table(table, name="new")], estimators=["snips"]).estimates[0]
    assert estimate.verdict == "do_not_trust"
    assert "10.0% of the policy's choices (2 items" in estimate.reason


def test_one_row():
    refused("one row", "Give more rows", log=logs.read().take([0]))


def test_a_decision_that_is_logged_twice():
    data = pd.concat([logs.frame(), logs.frame().head(2)], ignore_index=True)
    refused(
        "decision and slot repeat in 4 of 4,002 rows", "first: 0, 1, 4,000", "Drop the copies", log=logs.read(data), decision="decision"
    )
    found = rb.evaluate(logs.read(), [rb.logged()], estimators=["ips"], decision="decision")
    assert found.about["rows"] == 4000


def test_a_decision_that_is_logged_twice_far_apart(tmp_path):
    """In another batch of a stream, which was told nothing of the first one; the column has no other role. Nulls don't change ids."""
    data = pd.concat([logs.frame(400), logs.frame(400).iloc[[5]]], ignore_index=True)
    data["decision"] = data["decision"].astype("Int64")
    data.to_parquet(tmp_path / "twice.parquet", row_group_size=50)
    refused("decision and slot repeat in 2 of 401 rows", "first: 5, 400", log=tmp_path / "twice.parquet", decision="decision", **logs.ROLES)
    data.loc[399, "decision"] = None  # the last batch but one holds a null
    data.loc[[5, 400], "decision"] = [352, 5]  # 352 is in that batch
    data.loc[352, "slot"] = data["slot"][5]
    data.to_parquet(tmp_path / "null.parquet", row_group_size=50)
    refused("repeat in 2 of 401 rows", "first: 5, 352", log=tmp_path / "null.parquet", decision="decision", **logs.ROLES)
    data.drop(index=5).to_parquet(tmp_path / "once.parquet", row_group_size=50)
    found = rb.evaluate(tmp_path / "once.parquet", [rb.logged()], estimators=["ips"], decision="decision", **logs.ROLES)
    assert found.about["rows"] == 400


def test_a_decision_column_that_is_not_there(tmp_path):
    """Streamed or in memory: the nearest name, not a KeyError."""
    refused("no column 'decison'", "Did you mean 'decision'?", log=logs.frame(), decision="decison", **logs.ROLES)
    refused("no column 'decison'", "Did you mean 'decision'?", "among its features", log=logs.read(), decision="decison")


def test_the_row_of_a_stream_that_shows_no_candidate(tmp_path):
    """Counted from the log's first row, not the batch's."""
    data = logs.frame(400)
    data["could"] = [list(logs.ITEMS)] * len(data)
    data.at[377, "could"] = [item for item in logs.ITEMS if item != data["item"][377]]
    data.to_parquet(tmp_path / "log.parquet", row_group_size=50)
    refused("not among its row's could", "row 377 shows", log=tmp_path / "log.parquet", candidates="could", **logs.ROLES)


def test_settings_that_cannot_be():
    refused("no estimator 'ipz'", "snips", estimators=["ipz"])
    refused("asked for twice", estimators=["ips", "ips"])
    refused("no estimator", estimators=[])
    refused("level is 95", level=95)
    refused("no item column", log=rb.read_log(logs.frame(), clicks="click", propensity="chance", features=[]))
    with pytest.raises(UserError, match="no policy"):
        rb.evaluate(logs.read(), [])
    with pytest.raises(UserError, match="named logged"):
        rb.evaluate(logs.read(), [rb.logged(), rb.logged()])
    refused("no propensities", "propensities=fitted", log=logs.read(propensity=None), propensities="logged")
    refused("the outcome", log=logs.read(propensity=None), given=["click"])
    refused("interval is 'foo'", "auto, normal, bootstrap, bernstein", interval="foo")
    refused("propensities is 'foo'", "auto, logged, fitted", propensities="foo")
    for wrong in ((1, 0), (0.5, 0.5), (0.0, math.inf), (math.nan, 1.0), (0.0, 1.0, 2.0), "ab", 1.0):
        refused("reward_range is", "the smaller one first", reward_range=wrong)


@pytest.mark.parametrize("asked", [["snips"], ["dr"]])
def test_a_position_that_is_missing(asked):
    """Read whole or streamed, propensities logged or fitted: the rows and what to do, not an error of Arrow's."""
    data = logs.frame()
    data["slot"] = data["slot"].astype("Int64")
    data.loc[[7, 9], "slot"] = pd.NA
    says = ("slot is null in 2 of the rows 0 to 3,999", "first: 7, 9", "drop those rows")
    refused(*says, log=data, estimators=asked, **logs.ROLES)
    refused(*says, log=logs.read(data), estimators=asked)
    refused(*says, log=logs.read(data, propensity=None), estimators=asked)
    refused(*says, log=logs.read(data.assign(slot=data["slot"].astype(str).where(data["slot"].notna()))), estimators=asked)


def test_drift_in_a_few_rows_cannot_be_judged():
    """Three rows: one half has no error, and that is said rather than passed."""
    estimate = rb.evaluate(logs.read().take([0, 1, 2]), [rb.logged()], estimators=["ips"]).estimates[0]
    assert "Drift can't be judged" in estimate.reason


def test_replay_of_a_log_that_is_not_uniform():
    """Replay's matches lean to what was shown often; the estimate is off, and says so."""
    estimate = rb.evaluate(logs.read(), [rb.table(logs.table(), name="new")], estimators=["replay"]).estimates[0]
    assert estimate.verdict == "do_not_trust"
    assert "equal propensities" in estimate.reason
    uniform = logs.read(logs.frame(20_000, logging=np.full((2, 5), 0.2)))
    fair = rb.evaluate(uniform, [rb.table(logs.table(), name="new")], estimators=["replay"]).estimates[0]
    assert fair.verdict != "do_not_trust"
    assert abs(fair.value - logs.value()) < 4 * fair.stderr
