"""The cost planner: clicks behind greedy step by step and item by item, against sums by hand."""

import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pytest
from replay.worlds import pages

import recbayes as rb
from recbayes.replay.planning import planned


def rows(greedy, policy):
    """Curves of two replicas, the second ten clicks above the first."""
    shares = np.linspace(0, 1, len(greedy) + 1)[1:]
    frames = [
        pd.DataFrame({"policy": name, "seed": seed, "share": shares, "expected_clicks": np.array(values) + 10.0 * seed})
        for name, values in (("greedy", greedy), ("ucb", policy))
        for seed in (0, 1)
    ]
    return pd.concat(frames).assign(decisions=lambda f: f.share * 1000, uniform_clicks=lambda f: f.share * 50)


def arms(greedy, policy, rates, groups):
    """Showings under two policies, clicks at known rates."""
    frames = [
        pd.DataFrame({"policy": name, "group": groups, "item": list("abcde")[: len(shown)], "shown": shown, "clicks": shown * rates})
        for name, shown in (("greedy", np.array(greedy, float)), ("ucb", np.array(policy, float)))
    ]
    return pd.concat(frames, ignore_index=True)


ARMS = arms([90, 5, 5, 60, 40], [60, 30, 10, 60, 40], np.array([0.10, 0.04, 0.12, 0.1, 0.1]), [0, 0, 0, 1, 1])


def test_a_cost_that_is_paid_back():
    """Behind by 6 at the half, ahead by 4 at the end."""
    plan = planned(rows([10, 20, 30, 40], [8, 14, 30, 44]), ARMS, "ucb", "greedy")
    assert plan.by_step.behind.tolist() == [2.0, 6.0, 0.0, -4.0]
    assert (plan.worst, plan.worst_at, plan.paid_back) == (6.0, 0.5, 0.75)
    np.testing.assert_allclose(plan.by_step.of_uniform, np.array([2.0, 6.0, 0.0, -4.0]) / (plan.by_step.share * 50))
    assert "at worst 6 clicks behind greedy, after 50% of the horizon, and has paid that back after 75%" in plan.says()
    assert plan.says().endswith("it is 4 clicks ahead.")


@pytest.mark.parametrize(
    ("policy", "paid_back", "words"),
    [
        ([8, 14, 20, 35], None, "has not paid that back: at the horizon's end it is 5 clicks behind"),
        ([11, 22, 33, 44], 0.0, "never behind"),
        ([8, 14, 31, 38], None, "has not paid that back: at the horizon's end it is 2 clicks behind"),
    ],
)
def test_a_cost_that_is_not(policy, paid_back, words):
    """Null and 0 are different answers: behind at the end, be it again, and never behind."""
    plan = planned(rows([10, 20, 30, 40], policy), ARMS, "ucb", "greedy")
    assert plan.paid_back == paid_back
    assert words in plan.says()


def test_what_is_not_known_is_no_figure():
    """Before a replica's first match its clicks are unknown, and where uniform earns nothing there is no share of it: null, valid JSON."""
    early = rows([10, 20, 30, 40], [8, 14, 30, 44])
    early.loc[(early.policy == "ucb") & (early.share == early.share.min()) & (early.seed == early.seed.min()), "expected_clicks"] = np.nan
    figures = planned(early.assign(uniform_clicks=0.0), ARMS, "ucb", "greedy").to_json()
    assert [row["behind"] for row in figures["by_step"]] == [6.0, 0.0, -4.0]
    assert {row["of_uniform"] for row in figures["by_step"]} == {None}
    json.dumps(figures, allow_nan=False)


def test_days_are_updates():
    """With four updates of two a day the horizon is two days."""
    figures = planned(rows([10, 20, 30, 40], [8, 14, 30, 44]), ARMS, "ucb", "greedy").to_json(steps_a_day=2, steps=4)
    assert [row["day"] for row in figures["by_step"]] == [0.5, 1.0, 1.5, 2.0]
    assert figures["paid_back_day"] == 1.5


def test_items_lost_clicks_sum_to_the_difference():
    """Arm b takes 25 showings from a at 6 points less a showing, arm c 5 at 2 points more: 1.5 clicks lost and .1 won."""
    plan = planned(rows([1, 2], [1, 2]), ARMS, "ucb", "greedy")
    assert plan.by_item["item"].tolist() == ["b", "c"]
    np.testing.assert_allclose(plan.by_item.lost, [1.5, -0.1])
    np.testing.assert_allclose(plan.by_item.more, [25, 5])
    clicks = ARMS.groupby("policy").clicks.sum()
    np.testing.assert_allclose(plan.by_item.lost.sum(), clicks["greedy"] - clicks["ucb"])


@functools.cache
def result():
    return rb.replay(rb.queue(pages(), steps=5), [rb.greedy(rb.counts()), rb.ucb(rb.counts(), exploration=2.0), rb.uniform()], seeds=4)


def test_a_replays_own_plan():
    """The curve is the rows', showings of a group sum to its horizon, and the end agrees with the lift over greedy."""
    found, plan = result(), result().plan("counts/ucb")
    clicks = {name: found.expected[name].sum(1).mean() for name in found.policies}
    np.testing.assert_allclose(plan.by_step.behind.iloc[-1], clicks["counts/greedy"] - clicks["counts/ucb"])
    for _, one in found.arms.groupby("policy"):
        np.testing.assert_allclose(one.groupby("group").shown.sum(), rb.queue(pages(), steps=5).horizon)
    np.testing.assert_allclose(found.arms.groupby("policy").clicks.sum(), found.rows[found.rows.share == 1].groupby("policy").clicks.mean())
    assert plan.to_json()["by_item"][0]["lost"] >= plan.to_json()["by_item"][-1]["lost"]
    assert found.cost("counts/ucb") == pytest.approx(plan.worst / found.uniform.sum())
    early = (found.rows.checkpoint == 1) & (found.rows.policy == "counts/ucb") & (found.rows.seed > 0)  # unmatched but in one replica
    unlike = dataclasses.replace(found, rows=found.rows.assign(expected_clicks=found.rows.expected_clicks.mask(early)))
    assert unlike.cost("counts/ucb") == pytest.approx(unlike.plan("counts/ucb").worst / found.uniform.sum())


def test_without_greedy_there_is_no_plan():
    """A cost needs something to cost against."""
    with pytest.raises(rb.UserError, match="uniform has no greedy policy over its learner"):
        result().plan("uniform")
    with pytest.raises(rb.UserError, match="no policy is named 'ucb'"):
        result().plan("ucb")
