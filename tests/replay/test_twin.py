"""The twin world: its truth follows the model, time passes as its settings say, and what is earned is what the truth gives."""

import functools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from replay.worlds import Model, log, pages
from scipy import stats
from scipy.special import digamma

import recbayes as rb
from recbayes.densities import BetaMixture, GroupEffect
from recbayes.replay.outcomes import binomials


@functools.cache
def small(**settings):
    return rb.twin(pages(groups=10), Model(), steps=8, truths=16, **settings)


class Plain:
    """One beta an arm, the same for all, and a page effect or none: moments of its truths are known."""

    def __init__(self, tau=None):
        self.group_effect = None if tau is None else GroupEffect(tf.constant(tau))

    def densities(self, rows, *, draws, seed):
        shape = (draws, len(rows), 1)
        return BetaMixture(np.zeros(shape, np.float32), np.full(shape, 0.05, np.float32), np.full(shape, 100.0, np.float32))


def test_truths_follow_the_density():
    """Rates of 40 x 400 arms against the beta they are drawn from (KS: alarm 1e-6), independent between arms of a page."""
    made = rb.twin(log(np.ones(400), np.full(400, 100), np.repeat(np.arange(200), 2)), Plain(), truths=40)
    rates = 1 / (1 + np.exp(-made.logits))
    assert rates.shape == (40, 400)
    assert stats.kstest(rates.ravel(), stats.beta(5, 95).cdf).pvalue > 1e-6
    assert abs(np.corrcoef(rates[:, ::2].ravel(), rates[:, 1::2].ravel())[0, 1]) < 4.9 / np.sqrt(8000)


def test_arms_of_a_page_share_its_effect():
    """The logits of a page's arms move together: their covariance is that of their means given u, by quadrature, to 5 standard errors."""
    made = rb.twin(log(np.ones(400), np.full(400, 100), np.repeat(np.arange(200), 2)), Plain(tau=0.7), truths=40)
    first, second = made.logits[:, ::2].ravel(), made.logits[:, 1::2].ravel()
    u = 0.7 * stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    mean = 1 / (1 + np.exp(-np.log(0.05 / 0.95) - u))
    wanted = np.var(digamma(100 * mean) - digamma(100 * (1 - mean)))
    product = (first - first.mean()) * (second - second.mean())
    assert abs(product.mean() - wanted) < 5 * product.std() / np.sqrt(8000)
    assert abs(product.mean()) > 10 * product.std() / np.sqrt(8000)


def test_clicks_are_binomial():
    """Inversion against SciPy's quantile function, number for number, from none to thousands of showings."""
    rng = np.random.default_rng(0)
    shown, rate, u = rng.integers(0, 3000, 4000).astype(float), rng.beta(1, 20, 4000), rng.random(4000)
    shown[:200], rate[200:300] = rng.integers(0, 4, 200), 0.0
    got = binomials(*(tf.constant(x, tf.float64) for x in (u, shown, rate))).numpy()
    np.testing.assert_array_equal(got, stats.binom(shown.astype(int), rate).ppf(u).clip(0))


def test_what_is_earned_is_what_the_truth_gives():
    """Uniform's clicks and regret in each replica's truth, by plain sums; clicks scatter about their expectation (z < 4.9)."""
    world = small()
    result = rb.replay(world, [rb.uniform(), rb.greedy(rb.counts())], seeds=60)
    last = result.rows[result.rows.share == 1.0]
    rates = 1 / (1 + np.exp(-world.logits))
    means = np.array([[truth[world.segments == g].mean() for g in range(10)] for truth in rates])  # [T, G]
    best = np.array([[truth[world.segments == g].max() for g in range(10)] for truth in rates])
    uniform = last[last.policy == "uniform"]
    wanted = (means * world.horizon).sum(1)
    found = uniform.uniform_clicks.to_numpy()
    which = np.abs(found[:, None] - wanted).argmin(1)
    np.testing.assert_allclose(found, wanted[which], rtol=1e-9)
    assert len(set(which)) > 8  # replicas live in different truths
    np.testing.assert_allclose(uniform.uniform_regret, ((best - means) * world.horizon).sum(1)[which], rtol=1e-9)
    np.testing.assert_allclose(last.regret + last.expected_clicks, (best * world.horizon).sum(1)[np.tile(which, 2)], rtol=1e-9)
    luck = last.clicks - last.expected_clicks
    assert abs(luck.mean()) < 4.9 * luck.std() / np.sqrt(len(luck))
    assert result.over_uniform("counts/greedy").lift > 0.0
    np.testing.assert_allclose(result.over_uniform("uniform").lift, 0.0, atol=0.01)


def test_time_passes_as_the_settings_say():
    """Late arms are offered from their step on, the first two from the start; the odds of a click halve in a half-life of age."""
    world = small(arrivals=1.0, half_life=0.25)
    ranks = pd.Series(world.segments).groupby(world.segments).cumcount().to_numpy()
    assert (world.arrivals[ranks < 2] == 0).all()
    assert ((world.arrivals[ranks >= 2] >= 1) & (world.arrivals[ranks >= 2] < 8)).all()
    result = rb.replay(world, [rb.uniform()], seeds=4)
    rows = result.rows[result.rows.seed == 0].set_index("checkpoint")
    steps = np.diff(rows.uniform_clicks.to_numpy(), prepend=0.0)
    odds = np.exp(world.logits)
    wanted = np.zeros((16, 8))
    for t in range(8):
        batch = world.decisions(t + 1) - world.decisions(t)
        for g in range(10):
            there = (world.segments == g) & (world.arrivals <= t)
            aged = odds[:, there] * 0.5 ** ((t - world.arrivals[there]) / 8 / 0.25)
            wanted[:, t] += batch[g] * (aged / (1 + aged)).mean(1)
    assert np.abs(wanted - steps).sum(1).min() < 1e-6


def test_drift_moves_rates_and_leaves_the_start():
    """The first step is as without drift; later regret of who stands still grows, and a replica's walk is the same for every policy."""
    still, moving = (rb.replay(small(drift=drift), [rb.uniform(), rb.greedy(rb.counts())], seeds=6) for drift in (0.0, 2.0))
    first = [result.rows[result.rows.checkpoint == 1].uniform_clicks.to_numpy() for result in (still, moving)]
    np.testing.assert_allclose(*first)
    last = moving.rows[moving.rows.share == 1.0]
    assert (last.uniform_clicks.to_numpy() != still.rows[still.rows.share == 1.0].uniform_clicks.to_numpy()).all()
    np.testing.assert_allclose(*(last[last.policy == name].uniform_clicks for name in ("uniform", "counts/greedy")))


def test_a_horizon_may_be_longer_than_the_log():
    """What the queue refuses, naming the twin as the mend; and a log without groups is one page of all its items."""
    with pytest.raises(rb.UserError, match=r"longer than the queues.*twin of the log.*\{kind: twin, horizon: 10.0\}"):
        rb.queue(pages(), horizon=10.0)
    np.testing.assert_allclose(small(horizon=10.0).horizon, 10 * small().horizon, rtol=0.01)
    assert (small(decisions=77).horizon == 77).all()
    frame = pd.DataFrame({"clicked": [1, 0, 1], "item": ["a", "b", "a"], "headline": ["x", "y", "x"]})
    bare = rb.read_log(frame, clicks="clicked", item="item", features=["headline"])
    world = rb.twin(bare, Plain(), decisions=100)
    assert (len(world.segments), world.horizon.tolist()) == (2, [100])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0, "truths": 0}, "steps is 0, must be at least 1; truths is 0"),
        ({"horizon": 0.0}, "horizon is 0.0, must be above 0"),
        ({"drift": -1.0}, "drift is -1.0"),
        ({"half_life": -1.0}, "half_life is -1.0"),
        ({"decisions": 0}, "decisions is 0"),
        ({"delay": -1}, "delay is -1"),
    ],
)
def test_mistakes_say_so(settings, message):
    """The command line shows these lines to its user."""
    with pytest.raises(rb.UserError, match=message):
        rb.twin(pages(), Plain(), **settings)


def test_nothing_to_play_says_so():
    """Groups of one arm each."""
    with pytest.raises(rb.UserError, match=r"no group of .* has two arms and a decision to play \(3 groups with one arm"):
        rb.twin(log([1, 1, 1], [9, 9, 9], [0, 1, 2]), Plain())
