"""Worlds of logged events: unbiased on a known simulator, and what a log that cannot be used says."""

import dataclasses
import functools
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import recbayes as rb
from recbayes.policies.shares import TIE
from recbayes.replay.intervals import Resamples
from recbayes.replay.jobs import jobs, play

RATES, EVENTS = (0.2, 0.6), 8


def events(propensities, rows=1000, **columns):
    """A log of two arms shown with these propensities and clicked with RATES, both to the row."""
    shown = [round(p * rows) for p in propensities]
    clicks = [np.repeat([1, 0], [round(rate * n), n - round(rate * n)]) for rate, n in zip(RATES, shown)]
    arm = np.repeat([0, 1], shown)
    frame = pd.DataFrame({"item": arm, "click": np.concatenate(clicks), "p": np.asarray(propensities)[arm], **columns})
    return rb.read_log(frame, clicks="click", item="item", propensity="p", features=list(columns))


@functools.cache
def value(matches, counts=((0, 0), (0, 0))):
    """Expected clicks of greedy on flat counts over so many decisions, by enumeration; a tie is one of both."""
    if not matches:
        return 0.0
    means = [(c + 1) / (n + 2) for c, n in counts]
    best = [m >= max(means) * (1 - TIE) for m in means]
    total = 0.0
    for arm in np.flatnonzero(best):
        c, n = counts[arm]
        for click, chance in ((1, RATES[arm]), (0, 1 - RATES[arm])):
            after = tuple((c + click, n + 1) if a == arm else counts[a] for a in range(2))
            total += chance / sum(best) * (click + value(matches - 1, after))
    return total


@pytest.mark.parametrize(("build", "propensities"), [(rb.rejection, (0.5, 0.5)), (rb.propensity, (0.2, 0.8))])
def test_unbiased_on_a_simulator_with_known_value(build, propensities, monkeypatch):
    """Greedy that learns, 4,000 replicas: clicks after m matches, against enumeration; z below 4.9 for every m (alarm 1e-6 each).

    Counting matches of the propensity log without the bound would show the better arm four times too often: z of 15.
    """
    monkeypatch.setattr(import_module("recbayes.replay.propensity"), "FEWEST", 0)  # replicas are many and short here
    world, policy = build(events(propensities), events=EVENTS), rb.greedy(rb.counts())
    (job,) = jobs(world, [policy], {policy.name: policy.learner.bind(world)}, 4000, 0, 4000)
    curves = play(world, job, "/CPU:0").curves
    matched, clicks = curves["decisions"][-1].round().astype(int), curves["clicks"][-1]
    share = min(propensities)
    assert abs(matched.mean() - EVENTS * share) < 4.9 * np.sqrt(EVENTS * share * (1 - share) / 4000)
    checked = 0
    for m in range(1, EVENTS + 1):
        ours = clicks[matched == m]
        if len(ours) > 200:
            assert abs(ours.mean() - value(m)) < 4.9 * ours.std() / np.sqrt(len(ours))
            checked += 1
    assert checked >= 3


def test_weighting_values_a_fixed_policy():
    """Uniform's clicks a decision from a log that shows one arm four times as often: the mean of the rates, and its own exact lift 0."""
    world = rb.propensity(events((0.2, 0.8)), how="weighting", events=3000, batch=100)
    result = rb.replay(world, [rb.uniform()], seeds=20)
    rates = result.expected["uniform"][:, 0] / 3000
    assert abs(rates.mean() - 0.4) < 4.9 * rates.std() / np.sqrt(20)
    np.testing.assert_allclose(result.expected["uniform"], result.uniform, rtol=1e-5)
    last = result.rows[result.rows.share == 1.0]
    np.testing.assert_allclose(last.share_matched, last.decisions / 3000)


def test_weights_that_rest_on_few_events_are_a_verdict():
    """Four rows of 1,000 bear half of uniform's weight: 3,000 weighted decisions say as much as some 50 whole ones.

    By their sum the verdict would be trust. A notebook shows it, and numbers that are no shares as numbers.
    """
    result = rb.replay(rb.propensity(events((0.004, 0.996)), how="weighting", events=3000, batch=100), [rb.uniform()], seeds=20)
    record = result.to_json()["policies"]["uniform"]
    weights = np.repeat([0.5 / 0.004, 0.5 / 0.996], [12, 2988])
    assert record["effective_decisions"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=0.3)
    assert record["matched"] > 2000
    assert record["verdict"] == "caution"
    assert "effective decisions after weighting" in record["reason"]
    html = result._repr_html_()
    assert "caution" in html
    assert f"{record['matched']:,.4g}" in html


def test_few_matches_are_a_verdict():
    """The open bandit sample: 10,000 events of 80 items and 38 clicks. A number without a verdict would be believed."""
    log = rb.read_log(
        "example:open_bandit", clicks="click", item="item_id", propensity="propensity_score", time="timestamp", features=["position"]
    )
    world = rb.rejection(log, order="logged", batch=100)
    record = rb.replay(world, [rb.uniform()], seeds=3).to_json()["policies"]["uniform"]
    assert record["verdict"] == "do_not_trust"
    assert 60 < record["matched"] < 200
    assert record["share_matched"] == pytest.approx(record["matched"] / 10_000)
    assert "logged decisions matched" in record["reason"]


def test_more_replicas_do_not_make_a_log_longer():
    """One log of 1,000 rows, replayed ever more often: the interval over the log stays as wide, and so does the doubt of who is better.

    Over replicas it would shrink like their root, and after enough of them any two policies would differ.
    """
    policies = [rb.greedy(rb.counts()), rb.epsilon_greedy(rb.counts(), exploration=0.8)]
    many = rb.replay(rb.rejection(events((0.5, 0.5)), batch=50), policies, seeds=60)
    first = {name: values[:15] for name, values in many.expected.items()}
    few = dataclasses.replace(many, expected=first, uniform=many.uniform[:15])
    name, greedy = "counts/epsilon_greedy", "counts/greedy"
    widths, over_replicas = (
        [np.diff(getattr(result.over_uniform(name), what))[0] for result in (few, many)] for what in ("interval", "interval_over_replicas")
    )
    assert 0.6 < widths[1] / widths[0] < 1.5
    assert over_replicas[1] < 0.7 * over_replicas[0]
    assert many.to_json()["comparisons"]["over"] == "resamples of the log"
    assert many.sequence(name, greedy).interval == (-np.inf, np.inf)
    once, worlds = (dataclasses.replace(many, log_order=order) for order in ("logged", ""))
    p = [result.comparisons[0].p for result in (once, many, worlds)]
    assert p[0] == 1.0 > p[1] > p[2]
    assert once.comparisons[0].verdict == "same"
    assert once.to_json()["comparisons"]["over"] == "passes of the log"


def test_clusters_are_drawn_whole():
    """Rows of one page view come together or not at all: drawn one by one they would pass for independent, and intervals be too narrow."""
    frame = pd.DataFrame(
        {"item": [0, 1] * 60, "click": [0, 1, 1] * 40, "p": 0.5, "view": np.repeat(np.arange(30), [2, 6] * 15)[np.r_[60:120, :60]]}
    )
    roles = {"clicks": "click", "item": "item", "propensity": "p", "cluster": "view"}
    log = rb.read_log(frame, **roles)
    world = rb.rejection(log, events=400)
    scene = tf.nest.map_structure(tf.constant, world.parts()[0].scene)
    rows = world.rules.start(scene, tf.constant([[0, 1], [0, 2]])).numpy()
    first, size = scene.data.first.numpy(), scene.data.size.numpy()
    assert rows.shape == (2, 400)
    assert sorted(size) == [2] * 15 + [6] * 15
    for one in rows:
        place, met = 0, []
        while place < 400:
            cluster = int(np.flatnonzero(first == one[place]).item())
            met.append(cluster)
            end = min(place + size[cluster], 400)
            np.testing.assert_array_equal(one[place:end], first[cluster] + np.arange(end - place))
            place = end
        assert len(set(met)) > 20
    assert (rows[0] != rows[1]).any()
    alone = rb.rejection(rb.read_log(frame.assign(view=np.r_[np.arange(60) // 2, 40:99, 98]), **roles), events=400)
    assert alone.rules.key != world.rules.key  # another number of draws: a program of the one would run out of rows in the other
    offer = world.rules.offer(scene, tf.constant(rows), tf.constant([[0, 1], [0, 2]]), tf.constant(7))
    assert offer.candidates.shape == (2, 1, 2)


def test_intervals_over_a_log_cover():
    """300 logs of 400 clicks at .2, each resampled in 20 replicas: the 95% interval of the lift over a known rate holds the truth.

    Above .91 (alarm 1e-3 for an interval that is right); with the replicas' error of the mean it holds it in a third of the logs.
    """
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        rate = rng.binomial(400, 0.2) / 400
        clicks = rng.binomial(400, rate, (20, 1)).astype(float)
        low, high = Resamples.of(np.zeros(1, int), of_log=True).lift(clicks, np.full((1, 1), 80.0)).interval
        held += low <= 0.0 <= high
    assert held / 300 > 0.91


def test_the_clock_counts_the_policys_own_decisions():
    """Of 1,000 events with a bound of .2, 200 decisions are the policy's: with 1,000 ahead knowledge gradient explored five times more."""
    world = rb.propensity(events((0.2, 0.8)), batch=1)
    first, later = (_clock(world, t) for t in (0, 500))
    np.testing.assert_allclose(first, [0.0, 200.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(later, [100.0, 100.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(_clock(rb.propensity(events((0.2, 0.8)), how="weighting", batch=10), 50), [50.0, 500.0, 10.0])


def _clock(world, t):
    offer = world.rules.offer(world.parts()[0].scene, (), tf.zeros([1, 2], tf.int32), tf.constant(t))
    return [float(values[0, 0]) for values in offer.clock]


def test_no_match_is_an_error():
    """Nothing to average must not be a zero."""
    with pytest.raises(rb.UserError, match=r"uniform matched no logged event in \d+ of 3 replicas"):
        rb.replay(rb.rejection(events((0.5, 0.5)), events=1), [rb.uniform()], seeds=3)


def refusals():
    frame = pd.DataFrame({"item": [0, 1] * 50, "click": [0, 1] * 50, "p": [0.5] * 100, "offered": [[0, 1]] * 100})
    read = functools.partial(rb.read_log, clicks="click", item="item")
    skewed = frame.assign(item=[0] * 90 + [1] * 10)[["item", "click"]]
    yield rb.rejection, events((0.2, 0.8)), {}, "propensities of .* are not uniform: row .* The propensity world fits"
    yield rb.rejection, read(skewed), {}, "has no propensities, and its 2 items were not shown equally often"
    yield rb.propensity, read(frame[["item", "click"]]), {}, "has no propensities. Name their column"
    yield (
        rb.propensity,
        events((0.01, 0.99)),
        {},
        "overlap too thin: the smallest propensity is 0.01, so of 1,000 .* 10.0, under 30",
    )
    yield rb.propensity, events((0.2, 0.8)), {"how": "magic"}, "how is 'magic', must be rejection or weighting"
    yield rb.propensity, events((0.2, 0.8)), {"events": 2000, "order": "logged"}, "events is 2,000, the log has 1,000"
    yield rb.propensity, events((0.2, 0.8)), {"context": ["hour"]}, "was read without hour: name them"
    yield rb.rejection, rb.read_log(frame, clicks="click", propensity="p"), {}, "has no item column"
    outside = frame.assign(offered=[[0]] * 100)
    yield rb.rejection, read(outside, propensity="p", candidates="offered"), {}, "row 1 shows an item that is not among its candidates"
    yield rb.propensity, read(frame, propensity="p", features=["offered"]), {}, "offered of .* holds lists"
    counted = frame.assign(shown=[3] * 100)
    yield rb.rejection, read(counted, impressions="shown"), {}, "holds counts.*fit the queue world"


@pytest.mark.parametrize(("build", "log", "settings", "message"), list(refusals()))
def test_a_log_that_cannot_be_used_says_so(build, log, settings, message):
    """The reason, and the world that would fit."""
    with pytest.raises(rb.UserError, match=message):
        build(log, **settings)


def test_candidates_and_contexts_are_the_rows():
    """What was offered, in what context, in the order of time."""
    frame = pd.DataFrame(
        {
            "item": list("abca"),
            "click": [1, 0, 0, 1],
            "p": 0.5,
            "offered": [["a", "b"], ["b", "c"], ["c", "a"], ["a", "b"]],
            "at": [3, 1, 2, 4],
        }
    ).assign(hour=[1.0, 2.0, 3.0, 4.0])
    log = rb.read_log(frame, clicks="click", item="item", propensity="p", candidates="offered", time="at", features=["hour"])
    world = rb.rejection(log, order="logged")
    data = world.parts()[0].scene.data
    assert world.names == ("a", "b", "c")
    assert data.arm.tolist() == [1, 2, 0, 0]
    assert data.candidates.astype(int).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 0]]
    assert (np.diff(data.context[:, 0]) > 0).tolist() == [True, False, True]
    assert world.context_width == 1
