"""From a log and policies to estimates: the published figures, what is streamed, what is counted, what a policy may be."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from evaluation import logs

import recbayes as rb
from recbayes.evaluation.estimators import clipped_ips, dr, ips, snips
from recbayes.log import example_path
from recbayes.types import UserError

OPEN_BANDIT = {"clicks": "click", "item": "item_id", "position": "position", "propensity": "propensity_score"}


@pytest.fixture(scope="module")
def bts():
    """The production policy of the Open Bandit data, judged on the small random log, and the log's own."""
    policies = [rb.table("example:open_bandit_bts_policy", name="bts"), rb.logged()]
    return rb.evaluate("example:open_bandit", policies, estimators=["ips", "snips", "dm", "sndr", "dr"], **OPEN_BANDIT)


def test_the_published_figures(bts):
    """IPS .004553 (published, 100,000 draws), SNIPS .00479 and DR .004727; DM .003545 by another model: within its own error."""
    assert bts.of("bts", "ips").value == pytest.approx(0.00457, abs=5e-6)
    assert bts.of("bts", "snips").value == pytest.approx(0.00479, abs=5e-6)
    direct, robust = bts.of("bts", "dm"), bts.of("bts", "dr")
    assert abs(direct.value - 0.003545) < direct.stderr
    assert abs(robust.value - 0.004727) < robust.stderr / 10


def test_thirty_eight_clicks_are_not_believed(bts):
    """The figure that other tools print bare: 4.8 effective clicks, one of them 43% of the estimate."""
    for estimator in ("ips", "snips", "dr", "sndr"):
        estimate = bts.of("bts", estimator)
        assert estimate.verdict == "do_not_trust"
        for words in ("38 clicks", "4.8 effective", "43%", "1,643 of 10,000", "0.953"):
            assert words in estimate.reason
    assert bts.of("bts", "dm").verdict == "caution"
    assert bts.of("bts", "ips").ess == pytest.approx(1643, abs=1)


def test_the_truth_is_in_every_interval_that_is_not_refused(bts):
    """The production policy's own log says .0042."""
    truth = pd.read_parquet(example_path("example:open_bandit_bts")).click.mean()
    believed = [e for e in bts.estimates if e.policy == "bts" and e.verdict != "do_not_trust"]
    assert believed
    assert all(e.interval[0] <= truth <= e.interval[1] for e in believed)


def test_positions_add_up(bts):
    """A policy that is good at one slot and bad at another should not be seen as middling."""
    for estimator in ("ips", "dr"):
        estimate = bts.of("bts", estimator)
        sizes, values = zip(*((p["decisions"], p["value"]) for p in estimate.positions))
        assert sum(sizes) == 10_000
        assert np.average(values, weights=sizes) == pytest.approx(estimate.value, rel=1e-9)
    assert [p["position"] for p in bts.of("bts", "ips").positions] == [1, 2, 3]


def test_it_is_json_and_shows_itself(bts):
    record = json.loads(json.dumps(bts.to_json(), allow_nan=False))
    assert {"policy", "estimator", "value", "stderr", "interval", "ess", "effective_clicks", "verdict", "reason"} <= set(
        record["estimates"][0]
    )
    assert "do not trust" in bts._repr_html_()
    assert len(bts.summary()) == 10
    assert set(bts.ranking().columns) >= {"better", "worse", "probability"}


def test_every_estimator_finds_a_known_value():
    """60,000 rows with known value: each estimator that is not biased by design is within 4 of its errors (alarm 1e-3 for right code)."""
    log = logs.read(logs.frame(60_000))
    names = ["ips", "snips", "dr", "sndr", "dm"]
    found = rb.evaluate(log, [rb.table(logs.table(), name="target")], estimators=names)
    for estimate in found.estimates:
        assert abs(estimate.value - logs.value()) < 4 * estimate.stderr, estimate.estimator
    assert found.of("target", "snips").verdict == "trust"
    assert "All checks pass" in found.of("target", "snips").reason


def test_streaming_is_the_same_as_memory(tmp_path):
    """A log that does not fit in memory gets the same figures, with the same buckets and folds."""
    logs.frame(6000).to_parquet(tmp_path / "log.parquet", row_group_size=1000)
    policies = [rb.table(logs.table(), name="target"), rb.logged()]
    streamed = rb.evaluate(tmp_path / "log.parquet", policies, **logs.ROLES)
    whole = rb.evaluate(logs.read(logs.frame(6000)), policies)
    for a, b in zip(streamed.estimates, whole.estimates):
        np.testing.assert_allclose(a[2:4], b[2:4], rtol=1e-10)
        np.testing.assert_allclose(a.interval, b.interval, rtol=1e-6)
        assert a.verdict == b.verdict


def test_counts_are_what_their_events_are():
    """A log of counts (clicks of impressions) says what its events would."""
    events = logs.frame(5000)
    counts = events.groupby(["item", "slot", "chance"]).agg(click=("click", "sum"), shown=("click", "size")).reset_index()
    few = rb.evaluate(logs.read(counts, impressions="shown", features=[]), [rb.table(logs.table(), name="t")], estimators=["ips", "snips"])
    many = rb.evaluate(logs.read(events), [rb.table(logs.table(), name="t")], estimators=["ips", "snips"])
    for a, b in zip(few.estimates, many.estimates):
        assert a.value == pytest.approx(b.value, rel=1e-12)
        assert a.ess == pytest.approx(b.ess, rel=1e-12)


def test_clusters_widen_the_error():
    """Every row ten times over, one cluster each: nothing new is known, and the error must not shrink by root ten."""
    once = logs.frame(1500)
    ten = pd.concat([once.assign(copy=i) for i in range(10)])
    policy = rb.table(logs.table(), name="t")
    alone = rb.evaluate(logs.read(once), [policy], estimators=["snips"]).estimates[0]
    clustered = rb.evaluate(logs.read(ten, cluster="decision", features=[]), [policy], estimators=["snips"]).estimates[0]
    assert clustered.stderr == pytest.approx(alone.stderr, rel=0.15)


def test_a_reward_instead_of_clicks():
    data = logs.frame().assign(money=lambda f: 3.0 * f.click + 1.0)
    log = rb.read_log(data, reward="money", item="item", position="slot", propensity="chance", features=[])
    found = rb.evaluate(log, [rb.table(logs.table(), name="t")], estimators=["snips", "dr"], reward_range=(1.0, 4.0))
    clicks = rb.evaluate(logs.read(), [rb.table(logs.table(), name="t")], estimators=["snips"])
    assert found.of("t", "snips").value == pytest.approx(1.0 + 3.0 * clicks.of("t", "snips").value)


@pytest.mark.parametrize("method", ["normal", "bootstrap", "bernstein"])
def test_intervals_of_each_kind(method):
    """Each holds its estimate; empirical Bernstein, which promises most, is the widest."""
    policy = rb.table(logs.table(), name="t")
    found = rb.evaluate(logs.read(), [policy], estimators=[ips(), snips(), dr(), clipped_ips(clip=2.0)], interval=method)
    usual = rb.evaluate(logs.read(), [policy], estimators=["ips", "snips", "dr", clipped_ips(clip=2.0)], interval="normal")
    for a, b in zip(found.estimates, usual.estimates):
        assert a.method == method
        width, normal = a.interval[1] - a.interval[0], b.interval[1] - b.interval[0]
        assert a.interval[0] < a.value < a.interval[1]
        assert width > 1.2 * normal if method == "bernstein" else width == pytest.approx(normal, rel=0.15)


def test_order_of_rows_and_names_does_not_matter():
    policy = rb.table(logs.table().sample(frac=1.0, random_state=1), name="t")
    a = rb.evaluate(logs.read(), [policy], estimators=["snips"]).estimates[0]
    b = rb.evaluate(logs.read(), [rb.table(logs.table(), name="t")], estimators=["snips"]).estimates[0]
    assert a.value == pytest.approx(b.value, rel=1e-12)


def test_candidates_of_each_row():
    """Where rows name their candidates, a policy over the same ones is judged; another is refused (see test_bad_input.py)."""
    data = logs.frame().assign(could=lambda f: [list(logs.ITEMS)] * len(f))
    found = rb.evaluate(logs.read(data, candidates="could"), [rb.table(logs.table(), name="t")], estimators=["ips", "dr"])
    plain = rb.evaluate(logs.read(), [rb.table(logs.table(), name="t")], estimators=["ips", "dr"])
    np.testing.assert_allclose([e.value for e in found.estimates], [e.value for e in plain.estimates])


def test_a_click_model_as_reward_model():
    """DM and DR by a network of ours, fitted anew without each fold: close to the truth, and DR as good as with rates."""
    log = logs.read(logs.frame(4000), features=["item", "slot"])
    features = [rb.categorical("item"), rb.categorical("slot", side="context")]
    model = rb.modelled(
        lambda train: rb.fit(
            train, features=features, model=rb.linear(), density=rb.point(), posterior=rb.map(), epochs=2, held_out=0.0, learning_rate=0.1
        ),
        folds=2,
    )
    found = rb.evaluate(log, [rb.table(logs.table(), name="t")], estimators=["dm", "dr"], reward_model=model)
    assert found.about["reward_model"] == "fitted"
    assert found.of("t", "dm").value == pytest.approx(logs.value(), abs=0.06)
    assert abs(found.of("t", "dr").value - logs.value()) < 4 * found.of("t", "dr").stderr
    with pytest.raises(UserError, match="in memory"):
        rb.evaluate(logs.frame(), [rb.logged()], estimators=["dr"], reward_model=model, **logs.ROLES)
