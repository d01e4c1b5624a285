"""Feedback that comes late by a distribution, whole or by its clicks alone: against sequential references in plain NumPy."""

import functools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from replay.worlds import Model, pages
from scipy import stats

import recbayes as rb
from recbayes.policies.shares import TIE
from recbayes.replay import regression, stream
from recbayes.replay.delay import STREAM, delay_of, nothing_waits, passed, told
from recbayes.replay.jobs import jobs, play, streams
from recbayes.replay.learner import Prior, nothing
from recbayes.replay.neural_linear import features
from recbayes.replay.outcomes import uniforms
from recbayes.replay.world import Feedback

SHARES = [0.4, 0.0, 0.35, 0.25]
EVENTS, ARMS = 60, 3


def keyed(seeds, ids, t):
    """The numbers that delays are drawn from, of one replica."""
    return uniforms(tf.constant(seeds ^ np.int32([STREAM, 0])), tf.constant(ids, tf.int32), tf.constant(t, tf.int32)).numpy()


@pytest.mark.parametrize("late", ["feedback", "clicks"])
def test_counts_come_as_a_plain_loop_says(late):
    """Five batches of 2 x 3 arms: every part of every cell put into a list by its day and summed, in Python's own arithmetic.

    All that was shown comes in the end, once; a click never before its showing.
    """
    rng = np.random.default_rng(0)
    seeds, law = np.int32([[3, 4], [5, 6]]), delay_of({"kind": "shares", "shares": SHARES, "late": late})
    shown = np.pad(rng.integers(0, 9, (5, 2, 2, 3)), [(0, 4), *[(0, 0)] * 3]).astype(float)
    clicks = np.floor(shown * rng.random(shown.shape))
    want = np.zeros((2, 13, 2, 2, 3))
    for t, r, a, g in np.ndindex(9, 2, 2, 3):
        u = keyed(seeds[r], [a * 3 + g, 6 + a * 3 + g], t)
        hits, misses = clicks[t, r, a, g], shown[t, r, a, g] - clicks[t, r, a, g]
        hits, misses = (np.diff(np.floor(n * np.cumsum(SHARES) + x), prepend=0.0) for n, x in zip((hits, misses), u))
        for day in range(4):
            want[1, t + day, r, a, g] += hits[day]
            want[0, t + day, r, a, g] += hits[day] + misses[day] if late == "feedback" else shown[t, r, a, g] * (day == 0)
    waiting = nothing_waits(law, Feedback(tf.constant(shown[0]), tf.constant(clicks[0])))
    for t in range(9):
        known, waiting = passed(law, Feedback(tf.constant(shown[t]), tf.constant(clicks[t])), waiting, tf.constant(seeds), tf.constant(t))
        np.testing.assert_array_equal(known.shown, want[0, t])
        np.testing.assert_array_equal(known.clicks, want[1, t])
    np.testing.assert_array_equal(want.sum(1), [shown.sum(0), clicks.sum(0)])
    assert (np.cumsum(want[1], 0) <= np.cumsum(want[0], 0)).all()


def test_a_distribution_on_one_day_is_that_delay():
    """Shares of 0, 0, 1 are a delay of 2, to the number; results say how it was given."""
    rng = np.random.default_rng(0)
    law = delay_of({"kind": "shares", "shares": [0, 0, 1]})
    batches = [Feedback(tf.constant(n), tf.constant(np.floor(n / 3))) for n in np.floor(9 * rng.random((6, 2, 3, 4)))]
    waiting = nothing_waits(law, batches[0])
    for t, batch in enumerate(batches):
        known, waiting = passed(law, batch, waiting, tf.constant([[1, 2], [3, 4]]), tf.constant(t))
        for ours, theirs in zip(known[:2], batches[t - 2][:2] if t >= 2 else (0.0, 0.0)):
            np.testing.assert_array_equal(ours, theirs)
    assert told(law) == {"kind": "shares", "shares": (0, 0, 1), "late": "feedback"}
    assert "feedback 2.0 steps late in the mean" in rb.queue(pages(), delay={"kind": "shares", "shares": [0, 0, 1]})._repr_html_()


def test_geometric_delays_are_geometric():
    """Shares against SciPy but for the thousandth that is cut, and 20,000 drawn delays of single decisions by chi^2 (alarm 1e-6)."""
    law = delay_of({"kind": "geometric", "mean": 3})
    np.testing.assert_allclose(law.shares[:-1], stats.geom(0.25).pmf(np.arange(1, len(law.shares))))
    assert law.shares[-1] < 1e-3
    assert law.mean == pytest.approx(3.0, abs=0.005)
    u = keyed(np.int32([1, 2]), np.zeros(20_000), np.arange(20_000))
    drawn = np.bincount((u[:, None] >= np.array(law.below)).sum(1), minlength=len(law.shares))
    many = 20_000 * np.array(law.shares) > 10
    assert (
        stats.chisquare(
            np.r_[drawn[many], drawn[~many].sum()], 20_000 * np.r_[np.array(law.shares)[many], np.array(law.shares)[~many].sum()]
        ).pvalue
        > 1e-6
    )


@functools.cache
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(50, 2)), columns=list("ab")).assign(label=rng.integers(0, ARMS, 50))


def reference(seeds, law):
    """LinUCB over decisions whose feedback comes when it is due: all sums made anew before each decision, in float64."""
    x = table()[list("ab")].to_numpy()
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))].astype(np.float32).astype(float)
    row, choice, _ = (u.numpy()[0] for u in stream.luck(tf.constant(seeds[None, 0]), tf.range(EVENTS), 3))
    delay = [int((keyed(seeds[0], 0, t) >= np.array(law.below)).sum()) for t in range(EVENTS)]
    done, clicks = [], []
    for t in range(EVENTS):
        precision, moments = np.tile(0.5 * np.eye(3), (ARMS, 1, 1)), np.zeros((ARMS, 3))
        for s, (arm, context, click) in enumerate(done):
            due = s + delay[s] < t
            if due or law.late == "clicks":
                precision[arm] += np.outer(context, context)
            if due:
                moments[arm] += context * click
        context = x[int(row[t] * len(x))]
        inverses = np.linalg.inv(precision)
        score = np.einsum("kij,kj,i->k", inverses, moments, context) + np.sqrt(np.einsum("kij,i,j->k", inverses, context, context))
        best = score >= score.max() - TIE * abs(score.max())
        arm = int((np.cumsum(best / best.sum()) <= choice[t]).sum())
        done.append((arm, context, float(table().label[int(row[t] * len(x))] == arm)))
        clicks.append(done[-1][2])
    return np.array(clicks)


@pytest.mark.parametrize("late", ["feedback", "clicks"])
def test_decisions_come_as_a_plain_loop_says(late):
    """The same arm in every decision of both replicas: one that came early, twice or for another decision would change some."""
    given = {"kind": "geometric", "mean": 2, "late": late}
    world = rb.classification(table(), label="label", events=EVENTS, delay=given)
    learner = rb.linear_learner(precision=0.5, noise=1.0, dtype="float64")
    policy = rb.ucb(learner)
    (job,) = jobs(world, [policy], {policy.name: learner.bind(world)}, 2, 0, 2)
    curves = play(world, job, "/CPU:0").curves
    got = np.diff(curves["clicks"], axis=0, prepend=0.0)
    for replica in range(2):
        np.testing.assert_array_equal(got[:, replica], reference(streams(0, 2)[replica], delay_of(given)))


def test_a_reward_that_joins_is_as_if_it_had_been_told_at_once():
    """Exact regression: decisions told with reward 0 and their rewards joined after later decisions, in float64, weights and all."""
    rng = np.random.default_rng(1)
    x, reward, weight = rng.normal(size=(1, 6, 3)), rng.random((1, 6)), np.float64([[1, 2, 1, 0.5, 1, 1]])
    start, which = regression.unseen(1, 2, 3, tf.constant(0.5, tf.float64)), np.int32([[0, 1, 0, 1, 0, 1]])
    want = regression.told(start, tf.constant(which), *map(tf.constant, (x, reward, weight)))
    order = [3, 0, 5, 1, 4, 2]
    lanes = [np.concatenate([values, values[:, order]], 1) for values in (which, x, weight)]
    rewards, joins = np.concatenate([0 * reward, reward[:, order]], 1), np.arange(12)[None] >= 6
    got = regression.told(start, *(tf.constant(v) for v in (lanes[0], lanes[1], rewards, lanes[2])), tf.constant(joins))
    for ours, theirs in zip(got, want):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("late", ["feedback", "clicks"])
def test_the_buffer_of_neural_linear_keeps_decisions_by_their_number(late):
    """After all has come, the regressions and the rows to train on are those of the decisions themselves, whatever order they came in."""
    world = rb.classification(table(), label="label", events=6, delay={"kind": "shares", "shares": SHARES, "late": late})
    bound = rb.neural_linear_learner(units=4, train_every=100).bind(world)
    prior = Prior(None, tf.nest.map_structure(tf.constant, bound.settings), tf.ones([ARMS, 1], tf.bool))
    rng = np.random.default_rng(2)
    context, arm = rng.normal(size=(6, 2, 1, 2)).astype(np.float32), rng.integers(0, ARMS, (6, 2, 1)).astype(np.int32)
    reward, seeds = rng.integers(0, 2, (6, 2, 1)).astype(np.float32), tf.constant([[3, 4], [5, 6]])

    def step(t, weight):
        at = min(t, 5)
        return stream.told(*(tf.constant(v[at]) for v in (arm, reward)), tf.fill([2, 1], weight), ARMS, tf.constant(context[at]))

    state, waiting = bound.start(prior, 2), nothing_waits(world.delay, step(0, 1.0))
    for t in range(9):
        known, waiting = passed(world.delay, step(t, float(t < 6)), waiting, seeds, tf.constant(t))
        state = bound.update(state, prior, known)
    np.testing.assert_array_equal(state.buffer.context[:6], context[:, :, 0])
    np.testing.assert_array_equal(state.buffer.reward[:6], reward[..., 0])
    np.testing.assert_array_equal(state.buffer.arm[:6], arm[..., 0])
    np.testing.assert_array_equal(state.buffer.weight, [[1, 1]] * 6 + [[0, 0]])
    z = features(state.weights, tf.constant(context[:, :, 0].swapaxes(0, 1)))
    z = tf.concat([z, tf.ones_like(z[..., :1])], -1)
    ones = np.ones((2, 6), np.float32)
    start = regression.unseen(2, ARMS, 5, prior.settings.precision)
    want = regression.told(start, *(tf.constant(v) for v in (arm[..., 0].T, z, reward[..., 0].T, ones)))
    np.testing.assert_allclose(state.lines.regression.mean, want.mean, atol=1e-5)
    np.testing.assert_allclose(state.lines.regression.events, want.events)
    np.testing.assert_allclose(state.lines.regression.errors, want.errors, atol=1e-5)


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        (-1, "delay is -1, must be at least 0 steps, or a distribution such as {kind: geometric"),
        (1.5, "delay is 1.5, must be at least 0 steps"),
        ("soon", "delay is 'soon', must be at least 0 steps"),
        ({"kind": "normal", "mean": 3}, "delay is {'kind': 'normal', 'mean': 3}, must be a number of steps, or one of"),
        ({"kind": "geometric"}, "delay is {'kind': 'geometric'}, must be a number of steps, or one of"),
        ({"kind": "geometric", "mean": 0}, "delay.mean is 0, must be above 0"),
        ({"kind": "geometric", "mean": 2, "late": "never"}, "delay.late is 'never', must be feedback or clicks"),
        ({"kind": "shares", "shares": [0.5, 0.4]}, r"delay.shares is \[0.5, 0.4\], must be shares .* that sum to 1"),
    ],
)
def test_what_is_no_delay_says_so(delay, message):
    """Together with whatever else is wrong with the world."""
    with pytest.raises(rb.UserError, match=f"steps is 0, must be at least 1; {message}"):
        rb.queue(pages(), steps=0, delay=delay)


def test_what_cannot_join_is_refused():
    """Numbers are no clicks; and a click that joins a showing that is half forgotten would be worth more than it."""
    late = {"kind": "geometric", "mean": 2, "late": "clicks"}
    with pytest.raises(rb.UserError, match=r"wheel: delay.late is clicks, but rewards of this world are numbers"):
        rb.wheel(delay=late)
    world = rb.queue(pages(), delay=late)
    for learner in (rb.counts(discount=0.9), rb.density(Model(), discount=0.9)):
        with pytest.raises(rb.UserError, match="clicks that join late would count more than their forgotten showings"):
            learner.bind(world)
    with pytest.raises(rb.UserError, match="linear: clicks that join late"):
        rb.linear_learner(discount=0.9).bind(rb.classification(table(), label="label", delay=late))


def test_the_luck_of_delays_does_not_hang_on_the_number_of_seeds():
    """Long studies are laid out in two blocks, and random delays are drawn by place: more seeds would change the first one's figures."""
    seeds, policy = 60_000, rb.uniform()
    worlds = [rb.queue(pages(groups=40), steps=40, delay=delay) for delay in (0, {"kind": "shares", "shares": SHARES})]
    parts = [len(jobs(world, [policy], {policy.name: nothing().bind(world)}, seeds, 0, seeds)) for world in worlds]
    assert parts == [2, 1]
