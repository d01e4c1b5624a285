"""The DDN paper's Gaussians: what its settings change."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.optimize import minimize

from recbayes.densities import gaussian_mixture


def fitted(family, clicks, impressions):
    """The family's density at its own maximum likelihood, without features."""

    @tf.function
    def loss(outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            rows = family.density(outputs + tf.zeros([len(clicks), 1], tf.float64)).log_marginal(clicks, impressions)
            value = -tf.reduce_mean(rows)
        return value, tape.gradient(value, outputs)

    start = family.start(clicks, impressions).astype(np.float64)
    best = minimize(lambda x: [np.asarray(v, np.float64) for v in loss(tf.constant(x))], start, jac=True, method="L-BFGS-B")
    return family.density(tf.constant(best.x))


@pytest.fixture(scope="module")
def log():
    """20,000 items with a log-rate spread of .30 about e^-4, shown some 20 expected clicks each."""
    rng = np.random.default_rng(0)
    impressions = np.full(20_000, 1100.0)
    clicks = rng.binomial(1100, np.exp(-4.0 + 0.3 * rng.normal(size=20_000))).astype(float)
    return clicks, impressions


def test_ddn_finds_the_spread_that_mdn_overstates(log):
    """The paper's point: few impressions scatter the observed rates, and only DDN takes that off."""
    ddn = fitted(gaussian_mixture(components=1), *log)
    mdn = fitted(gaussian_mixture(components=1, measurement_noise=False), *log)
    assert abs(float(ddn.stddevs[0]) - 0.30) < 0.03
    assert float(mdn.stddevs[0]) > 0.36
    assert abs(float(ddn.means[0]) + 4.0) < 0.05


def test_regs_likelihood_is_squared_error(log):
    clicks, impressions = log[0][:50], log[1][:50]
    family = gaussian_mixture(components=1, measurement_noise=False, constant_sigma=True)
    assert family.size == 2
    shown = clicks > 0
    values = [family.density(tf.constant([0.0, mean], tf.float64)).log_marginal(clicks, impressions).numpy() for mean in (-4.0, -3.0)]
    observed = np.log(clicks[shown] / impressions[shown])
    np.testing.assert_allclose((values[0] - values[1])[shown], 0.5 * ((observed + 3.0) ** 2 - (observed + 4.0) ** 2), rtol=1e-9)


def test_a_row_without_clicks_is_the_event_below_half_a_click():
    """It has no logarithm: probability and moments are those of the censored observation."""
    density = gaussian_mixture(components=1).density(tf.constant([0.0, -4.0, np.log(0.4)], tf.float64))
    shown = 150.0
    noise = float(density.noise(tf.constant([shown], tf.float64))[0])
    limit, total = np.log(0.5 / shown), np.sqrt(0.16 + noise)
    np.testing.assert_allclose(density.log_marginal(0.0, shown), stats.norm.logcdf((limit + 4.0) / total), rtol=1e-6)
    y = np.linspace(-8, 0, 40_001)
    weight = stats.norm.pdf(y, -4.0, 0.4) * stats.norm.cdf((limit - y) / np.sqrt(noise))
    mean = (weight * y).sum() / weight.sum()
    after = density.condition(0.0, shown)
    np.testing.assert_allclose(after.means[0], mean, rtol=1e-6)
    np.testing.assert_allclose(after.stddevs[0], np.sqrt((weight * (y - mean) ** 2).sum() / weight.sum()), rtol=1e-6)


def test_probabilities_of_all_counts_sum_to_nearly_one():
    """The density at log(c / r) stands for a cell of counts."""
    density = gaussian_mixture(components=2).density(tf.constant([0.0, 0.3, -3.0, -3.2, -1.0, -1.2], tf.float64))
    total = tf.reduce_sum(tf.exp(density.log_marginal(tf.range(2001, dtype=tf.float64), tf.fill([2001], tf.constant(2000.0, tf.float64)))))
    assert abs(float(total) - 1.0) < 0.01


def test_a_portion_without_clicks_and_one_with_some_in_either_order():
    """A portion without clicks keeps two moments, so the order matters, a little: for 99% of the rows drawn by less than stated."""
    rng = np.random.default_rng(0)
    outputs = np.stack([np.zeros(3000), rng.uniform(-7, -2, 3000), np.log(rng.uniform(0.05, 0.8, 3000))], -1)
    density = gaussian_mixture(components=1).density(tf.constant(outputs))
    mean, none = density.mean.numpy(), np.zeros(3000)
    first, second = (np.maximum(np.round(10 ** rng.uniform(low, high, 3000) / mean), 1) for low, high in ((-1.5, 0.7), (0.0, 2.3)))
    rates = np.exp(outputs[:, 1] + np.exp(outputs[:, 2]) * rng.normal(size=3000))
    clicks = np.maximum(rng.poisson(second * rates), 1).astype(float)
    likely = rng.random(3000) < np.exp(-first * rates)
    one, other = density.condition(none, first), density.condition(clicks, second)
    one_way = density.log_marginal(none, first) + one.log_marginal(clicks, second)
    other_way = density.log_marginal(clicks, second) + other.log_marginal(none, first)
    one, other = one.condition(clicks, second), other.condition(none, first)
    apart = np.abs(one.means - other.means)[likely, 0] / other.stddevs.numpy()[likely, 0]
    assert np.quantile(np.abs(one_way - other_way)[likely], 0.99) < 0.03
    assert np.quantile(apart, 0.99) < 0.025
