"""What each policy ranks candidates by, against the formula in NumPy and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes import policies
from recbayes.densities import BetaMixture
from recbayes.policies.knowledge_gradient import best_other
from recbayes.policies.one_normal import beta_at, quantile
from recbayes.policies.shares import best_share, with_floor
from recbayes.predictive import Predictive
from recbayes.types import Clock

RNG = np.random.default_rng(0)
B, A = 400, 4
MEANS, SIZES = RNG.beta(2, 60, (B, A)), RNG.uniform(50, 5000, (B, A))
GIVEN = Predictive.from_density(BetaMixture(*(tf.constant(x[..., None], tf.float32) for x in (np.zeros((B, A)), MEANS, SIZES))))
STDDEVS = np.sqrt(MEANS * (1 - MEANS) / (SIZES + 1))
ALL = tf.ones([B, A], tf.bool)


def clock(step=7.0, remaining=3000.0, batch=40.0):
    return Clock(*(tf.fill([B], x) for x in (step, remaining, batch)))


def chosen(policy, at=None):
    return policy.probabilities(GIVEN, ALL, at or clock(), [0, 0]).numpy().argmax(-1)


@pytest.mark.parametrize("stddev", ["contrast", "total"])
def test_ucb_is_mean_plus_deviations(stddev):
    """One density a candidate: contrast and total agree, and both are the beta's."""
    np.testing.assert_array_equal(chosen(policies.ucb(exploration=1.5, stddev=stddev)), (MEANS + 1.5 * STDDEVS).argmax(-1))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_quantile_ucb_takes_the_betas_quantile(power):
    """With t = 8 of T = 8 + 74 updates: 1 - 1 / (t log^c T); it agrees with SciPy's quantiles but where two are within the error."""
    tail = 1 / (8 * np.log(8 + 74) ** power)
    exact = stats.beta(MEANS * SIZES, (1 - MEANS) * SIZES).isf(tail)
    apart = np.sort(exact / exact.max(-1, keepdims=True), -1)
    clear = apart[:, -1] - apart[:, -2] > 0.01
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(chosen(policies.quantile_ucb(log_power=power))[clear], exact.argmax(-1)[clear])


def test_knowledge_gradient_is_the_worth_of_a_batch():
    """The formula of methods: q mean + (n - q) tau (z Phi(z) + phi(z))."""
    n, q = 3000.0, 40.0
    others = np.stack([np.delete(MEANS, a, 1).max(1) for a in range(A)], 1)
    worth = MEANS * (1 - MEANS) / STDDEVS**2 - 1
    tau = STDDEVS * np.sqrt(q / (q + worth))
    z = -np.abs(MEANS - others) / tau
    value = q * MEANS + (n - q) * tau * (z * stats.norm.cdf(z) + stats.norm.pdf(z))
    np.testing.assert_array_equal(chosen(policies.knowledge_gradient()), value.argmax(-1))


def test_knowledge_gradient_stops_exploring_at_the_end():
    """With nothing left to play, a lesson is worth nothing."""
    np.testing.assert_array_equal(chosen(policies.knowledge_gradient(), clock(remaining=40.0)), MEANS.argmax(-1))


def test_epsilon_greedy_mixes():
    """The best candidate gets 1 - epsilon and its even share of epsilon."""
    shares = policies.epsilon_greedy(exploration=0.2).probabilities(GIVEN, ALL, clock(), [0, 0]).numpy()
    np.testing.assert_allclose(np.sort(shares, -1), [[0.05, 0.05, 0.05, 0.85]] * B, atol=1e-6)


def alone(policy, means, allowed):
    """A policy's probabilities of one decision with these means."""
    density = BetaMixture(*(tf.constant(x[None, :, None], tf.float32) for x in (np.zeros(len(means)), means, np.full(len(means), 99.0))))
    now = Clock(*(tf.zeros([1]) for _ in range(3)))
    return policy.probabilities(Predictive.from_density(density), allowed[None], now, [0, 0]).numpy()[0]


@pytest.mark.parametrize("temperature", [0.003, 0.05])
def test_boltzmann_is_a_softmax_of_means(temperature):
    """Plain loops over the candidates, in float64; what may not be shown is no part of the sum."""
    shares = policies.boltzmann(exploration=temperature).probabilities(GIVEN, ALL, clock(), [0, 0]).numpy()
    for row in range(B):
        weights = [np.exp((m - max(MEANS[row])) / temperature) for m in MEANS[row]]
        np.testing.assert_allclose(shares[row], np.array(weights) / sum(weights), rtol=2e-4, atol=1e-7)
    means, allowed = np.array([0.02, 0.03, 0.05]), np.array([True, True, False])
    raised = np.exp(means[:2] / temperature)
    np.testing.assert_allclose(alone(policies.boltzmann(exploration=temperature), means, allowed), [*raised / raised.sum(), 0.0], rtol=1e-5)


@pytest.mark.parametrize("gamma", [10.0, 2000.0])
def test_square_cb_is_inverse_gap_weighting(gamma):
    """Plain loops: 1 / (A + gamma gap) for all but the best, which has the rest."""
    shares = policies.square_cb(exploration=1 / gamma).probabilities(GIVEN, ALL, clock(), [0, 0]).numpy()
    for row in range(B):
        best = int(np.argmax(MEANS[row]))
        expected = [0.0 if a == best else 1 / (A + gamma * (MEANS[row, best] - MEANS[row, a])) for a in range(A)]
        expected[best] = 1.0 - sum(expected)
        np.testing.assert_allclose(shares[row], expected, rtol=2e-4, atol=1e-7)


def test_square_cb_counts_candidates_and_shares_between_bests():
    """Two that may be shown make A = 2, not 4; two equal bests get the same."""
    means, allowed = np.array([0.03, 0.02, 0.05, 0.05]), np.array([True, True, False, False])
    np.testing.assert_allclose(alone(policies.square_cb(exploration=0.01), means, allowed), [1 - 1 / 3, 1 / 3, 0, 0], rtol=1e-5)
    shares = alone(policies.square_cb(exploration=0.01), means, np.ones(4, bool))
    np.testing.assert_allclose(shares, [1 / 6, 1 / 7, (1 - 1 / 6 - 1 / 7) / 2, (1 - 1 / 6 - 1 / 7) / 2], rtol=1e-5)


def test_best_other():
    """Of two equal bests each is the other's rival; a candidate alone has itself."""
    allowed = tf.constant([[True] * 3, [True, False, False], [True, True, False]])
    got = best_other(tf.constant([[2.0, 2.0, 1.0], [1.0, 5.0, 5.0], [1.0, 3.0, 9.0]]), allowed).numpy()
    np.testing.assert_array_equal(got[0], [2, 2, 2])
    assert got[1, 0] == 1.0
    np.testing.assert_array_equal(got[2, :2], [3, 1])


def test_ties_and_negative_scores():
    """Knowledge-gradient values and logits may be negative: the tie rule holds there too."""
    scores = tf.constant([[-2.0, -1.0, -1.0 - 1e-8], [-1e-3, -2e-3, -3.0]])
    np.testing.assert_allclose(best_share(scores, tf.ones([2, 3], tf.bool)), [[0, 0.5, 0.5], [1, 0, 0]])


def test_floor_keeps_the_sum():
    """A floor of 1 is uniform, whatever the policy says."""
    np.testing.assert_allclose(with_floor(tf.constant([[1.0, 0, 0]]), tf.constant([[True, True, False]]), 1.0), [[0.5, 0.5, 0]])


@pytest.mark.parametrize(("a", "error"), [(1, 0.0125), (4, 0.0017), (12, 5.5e-4), (60, 2e-4)])
@pytest.mark.parametrize("mean", [0.5, 0.1, 0.013])
def test_one_normals_distribution(a, error, mean):
    """The stated distance from the beta's distribution function; draws in replay and quantiles rest on it."""
    z = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    b = a * (1 - mean) / mean
    drawn = quantile(tf.constant(a, tf.float32), tf.constant(b, tf.float32), tf.constant(z, tf.float32)).numpy()
    assert np.abs(stats.beta(a, b).cdf(drawn) - stats.norm.cdf(z)).max() < error
    same = beta_at(tf.constant(mean, tf.float32), tf.constant(mean * (1 - mean) / (a + b + 1), tf.float32), tf.constant(z, tf.float32))
    np.testing.assert_allclose(same, drawn, rtol=2e-3, atol=1e-6)
