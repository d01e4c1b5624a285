"""Thompson sampling against an oracle, and whether its logged propensities are what they say."""

import numpy as np
import tensorflow as tf
from scipy import stats

from recbayes import policies
from recbayes.densities import BetaMixture
from recbayes.policies import choose
from recbayes.predictive import Predictive
from recbayes.types import Clock

LEFT = Clock(tf.zeros([1]), tf.fill([1], 100.0), tf.ones([1]))


def wins(a, b, weights=None):
    """Probability that each candidate's draw is the best, by quadrature. a, b: [Q, A] under each shared node, weights [Q]."""
    x = np.linspace(0, 1, 200_001)[1:-1]
    weights = np.ones(1) if weights is None else weights
    total = np.zeros(a.shape[1])
    for node in range(len(a)):
        below = np.stack([stats.beta(p, q).cdf(x) for p, q in zip(a[node], b[node])])
        density = np.stack([stats.beta(p, q).pdf(x) for p, q in zip(a[node], b[node])])
        total += weights[node] * np.array([np.trapezoid(density[i] * np.delete(below, i, 0).prod(0), x) for i in range(len(density))])
    return total


def given(a, b, weights):
    """A predictive of one decision whose candidates share the nodes."""
    density = BetaMixture(*(tf.constant(x[:, None, None, :, None], tf.float32) for x in (np.zeros_like(a), a / (a + b), a + b)))
    return Predictive(density, tf.constant(np.log(weights)[:, None, None], tf.float32), tf.zeros([1]), tf.ones([1, a.shape[1]], tf.bool))


A = np.array([[3.0, 4.0, 2.0, 30.0], [8.0, 4.0, 2.0, 30.0]])
B = np.array([[40.0, 40.0, 20.0, 500.0], [40.0, 60.0, 20.0, 500.0]])
WEIGHTS = np.array([0.3, 0.7])


def test_frequencies_converge_to_the_oracle():
    """chi^2 of 60,000 draws against quadrature: alarm 1e-6; sees a win probability off by .02 for sure."""
    draws = 60_000
    shares = policies.thompson(draws=draws).probabilities(given(A, B, WEIGHTS), [[True] * 4], LEFT, [1, 2]).numpy()[0]
    truth = wins(A, B, WEIGHTS)
    np.testing.assert_allclose(truth.sum(), 1.0, atol=1e-4)
    assert (draws * (shares - truth) ** 2 / truth).sum() < stats.chi2(3).isf(1e-6)
    assert (draws * (np.roll(truth, 1) - truth) ** 2 / truth).sum() > 100 * stats.chi2(3).isf(1e-6)


def test_candidates_that_may_not_be_shown_win_nothing():
    """The oracle over the candidates alone: leaving one out is not the same as giving its wins away in proportion."""
    shares = policies.thompson(draws=40_000).probabilities(given(A, B, WEIGHTS), [[True, True, False, True]], LEFT, [1, 2]).numpy()[0]
    keep = [0, 1, 3]
    truth = wins(A[:, keep], B[:, keep], WEIGHTS)
    assert shares[2] == 0.0
    assert (40_000 * (shares[keep] - truth) ** 2 / truth).sum() < stats.chi2(2).isf(1e-6)


def test_actions_follow_the_logged_propensities():
    """chi^2 of 40,000 actions against the probabilities they were drawn from: alarm 1e-6. The propensity is the probability, to the bit."""
    shares = policies.thompson(draws=50, floor=0.05).probabilities(given(A, B, WEIGHTS), [[True, True, False, True]], LEFT, [1, 2])
    decision = choose(tf.repeat(shares, 40_000, axis=0), [5, 6])
    counts = np.bincount(decision.action.numpy(), minlength=4)
    expected = 40_000 * shares.numpy()[0]
    assert counts[2] == 0
    assert ((counts - expected)[expected > 0] ** 2 / expected[expected > 0]).sum() < stats.chi2(2).isf(1e-6)
    np.testing.assert_array_equal(decision.propensity, decision.probabilities.numpy()[np.arange(40_000), decision.action.numpy()])
    assert decision.action.dtype == tf.int32


def test_choose_never_takes_what_has_no_probability():
    """Zeros at either end and in between, over many seeds."""
    shares = tf.constant(np.tile([0.0, 0.2, 0.0, 0.8, 0.0], (50_000, 1)), tf.float32)
    assert set(np.unique(choose(shares, [0, 7]).action)) == {1, 3}


def test_ips_recovers_a_known_value_only_with_a_floor():
    """Logs of Thompson with 8 draws each: IPS of the uniform policy is right with a floor, and low without one.

    z < 4.9 with the floor (alarm 1e-6); at floor 0 the candidates that no draw chose are missing: the bias is 20 standard errors.
    """
    rates, decisions = np.array([0.2, 0.4, 0.3]), 40_000
    a = np.array([[6.0, 12.0, 9.0]])
    one = given(a, 30.0 - a, np.ones(1))
    many = one._replace(
        density=tf.nest.map_structure(lambda leaf: tf.repeat(leaf, decisions, axis=2), one.density),
        node_log_weights=tf.repeat(one.node_log_weights, decisions, axis=2),
        present=tf.ones([decisions, 3], tf.bool),
    )
    clock = Clock(*(tf.zeros([decisions]) for _ in range(3)))
    errors = {}
    for floor in (0.0, 0.1):
        shares = policies.thompson(draws=8, floor=floor).probabilities(many, tf.ones([decisions, 3], tf.bool), clock, [2, 3])
        decision = choose(shares, [4, 5])
        clicks = np.random.default_rng(0).random(decisions) < rates[decision.action]
        values = clicks / decision.propensity.numpy() / 3
        errors[floor] = (values.mean() - rates.mean()) / (values.std() / np.sqrt(decisions))
    assert abs(errors[0.1]) < 4.9
    assert errors[0.0] < -20
