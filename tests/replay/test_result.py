"""Figures of a replay: lifts, pairs, curves, and the contract of simulation.json and simulation.parquet."""

import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pytest
from replay.worlds import Model, pages

import recbayes as rb
from recbayes.replay.intervals import Resamples, over_replicas


@functools.cache
def result():
    world = rb.queue(pages(groups=40), steps=20)
    model, learner = Model(tau=None), rb.counts()
    policies = [rb.uniform(), rb.greedy(learner), rb.greedy(model), rb.ucb(model), rb.thompson(learner, exploration=0.25)]
    return rb.replay(world, policies, seeds=4)


def test_json_is_the_contract():
    """What the report, the pipelines and `check` read."""
    figures = json.loads(json.dumps(result().to_json()))
    assert set(figures) >= {"chosen", "groups", "groups_left_out", "policies", "steps", "delay", "seeds"}
    assert figures["chosen"] == result().best
    assert set(figures["policies"]) == {"uniform", "counts/greedy", "density/greedy", "density/ucb", "counts/thompson"}
    assert figures["reference"] == "density/greedy"
    for name, record in figures["policies"].items():
        low, high = record["interval"]
        assert low <= record["lift_over_uniform"] <= high, name
        assert record["lift_over_uniform"] == result().over_uniform(name).lift
    assert figures["policies"]["uniform"]["exploration"] is None
    assert figures["policies"]["counts/thompson"]["exploration"] == 0.25
    assert figures["policies"]["density/greedy"]["lift_over_greedy"] == 0.0


def test_rows_are_cumulative():
    """A row a (policy, seed, checkpoint), 20 points of the horizon; the last ones are the totals."""
    rows = result().rows
    assert len(rows) == 5 * 4 * 20
    assert set(rows.columns) >= {"policy", "seed", "checkpoint", "share", "decisions", "clicks", "expected_clicks"}
    for _, one in rows.groupby(["policy", "seed"]):
        assert (one[["share", "decisions", "clicks", "expected_clicks"]].diff().dropna() >= 0).all().all()
    last = rows[rows.share == 1.0].groupby("policy").expected_clicks.mean()
    for name in result().policies:
        np.testing.assert_allclose(last[name], result().expected[name].sum(1).mean())
    assert rows.decisions.max() == result().about["decisions"]


def test_early_lifts_are_of_the_first_tenth():
    """The curve at a tenth and the early lift say the same."""
    curve = result().curves()
    for name in result().policies:
        np.testing.assert_allclose(curve.loc[0.1, name], result().over_uniform(name, early=True).lift, rtol=1e-9)
        np.testing.assert_allclose(curve.loc[1.0, name], result().over_uniform(name).lift, rtol=1e-9)


def test_pairs_are_tighter_than_singles():
    """Paired intervals leave out what groups have in common: two policies over one learner differ by less than each from uniform."""
    apart = result().compare("density/ucb", "density/greedy").interval
    alone = result().over_uniform("density/ucb").interval
    assert apart[1] - apart[0] < alone[1] - alone[0]
    forth, back = result().compare("density/ucb", "density/greedy").lift, result().compare("density/greedy", "density/ucb").lift
    np.testing.assert_allclose((1 + forth) * (1 + back), 1.0)


def test_cost_of_exploration_is_against_the_same_learners_greedy():
    """None where that greedy was not replayed; never below 0."""
    assert result().cost("uniform") is None
    assert result().cost("density/greedy") == 0.0
    assert result().cost("counts/thompson") >= 0.0
    assert result().baselines == {n: f"{n.split('/')[0]}/greedy" for n in result().policies if n != "uniform"}


def test_without_greedy_there_is_no_reference():
    """Null, not a number."""
    alone = rb.replay(rb.queue(pages(), steps=2), [rb.uniform()], seeds=1)
    record = alone.to_json()["policies"]["uniform"]
    assert alone.greedy is None
    assert record["lift_over_greedy"] is None
    assert record["interval_over_replicas"] == (record["lift_over_uniform"],) * 2


def test_summary_and_pictures():
    """What a notebook shows."""
    table = result().summary()
    assert table.index[0] == result().best
    assert isinstance(table, pd.DataFrame)
    html = result()._repr_html_()
    assert "density/ucb" in html
    assert "nan" not in html.lower()
    axes = result().plot().axes[0]
    assert len(axes.get_legend().get_texts()) == 5


def test_an_unknown_policy_is_named():
    """A misspelt name is the user's mistake."""
    with pytest.raises(rb.UserError, match=r"no policy is named 'ucb'. Replayed were uniform, "):
        result().compare("ucb", "uniform")


def test_intervals_cover():
    """95% intervals over groups hold the true lift in 95% of 400 simulated replays: outside [0.915, 0.98] alarm 1e-3."""
    rng = np.random.default_rng(0)
    held, truth, resamples = 0, 1.1, Resamples.of(np.arange(300))
    for _ in range(400):
        base = rng.gamma(2.0, 5.0, 300)
        clicks = base * truth + rng.normal(0, 3.0, (3, 300)) + 2.0 * rng.normal(size=300)
        low, high = resamples.lift(clicks, base[None]).interval
        held += low <= truth - 1 <= high
    assert 0.915 <= held / 400 <= 0.98


def test_clusters_are_resampled_whole():
    """Groups that move together are worth one: the interval over clusters of ten is wider by about sqrt(10)."""
    rng = np.random.default_rng(0)
    base = np.full(1000, 10.0)
    clicks = base + np.repeat(rng.normal(0, 1, 100), 10)
    widths = [
        np.ptp(Resamples.of(clusters).lift(clicks[None], base[None]).interval) for clusters in (np.arange(1000), np.arange(1000) // 10)
    ]
    assert 2.5 < widths[1] / widths[0] < 4.0


def test_many_clusters_are_cheap_and_alike():
    """Above 5,000 clusters they are pooled at random: the width stays."""
    rng = np.random.default_rng(0)
    base, clicks = np.full(20_000, 10.0), rng.normal(11, 3, 20_000)
    _, (low, high), _ = Resamples.of(np.arange(20_000)).lift(clicks[None], base[None])
    np.testing.assert_allclose(high - low, 2 * 1.96 * 0.3 / np.sqrt(20_000), rtol=0.1)


def test_a_sequence_looks_after_every_group_however_many():
    """Pooled for the bootstrap, 6,000 groups are still 6,000 looks, in their order: `decided` counts groups."""
    rng = np.random.default_rng(0)
    base = rng.gamma(4.0, 5.0, (2, 6000))
    whole = dataclasses.replace(result(), expected={"a": 1.3 * base, "b": base}, clusters=np.arange(6000), uniform=base.mean(0))
    found = whole.sequence("a", "b")
    assert len(found.lift) == 6000
    np.testing.assert_allclose(found.lift[0], 0.3)


def test_one_cluster_has_only_replicas():
    """Nothing to resample: the interval over replicas stands in."""
    figures = Resamples.of(np.zeros(3, int)).lift(np.array([[1.0, 2, 3], [2, 3, 4]]), np.array([[1.0, 1, 1]]))
    assert figures.interval == figures.interval_over_replicas
    assert over_replicas(np.array([2.0]), np.array([1.0])) == (1.0, 1.0)
