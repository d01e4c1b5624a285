"""Gamma-function differences: digits where float32 would lose them all, and gradients."""

import numpy as np
import pytest
import tensorflow as tf
from exact import beta_binomial_by_quadrature
from scipy import stats
from scipy.special import digamma, gammaln

from recbayes.densities.special import log_beta_binomial, log_binomial, log_gamma_ratio, rest


def cases(highest, n=300):
    """Means, concentrations, clicks and impressions from 1 to 10^highest, half in the bulk and half anywhere."""
    rng = np.random.default_rng(0)
    mean = (1 / (1 + np.exp(rng.uniform(-2, 6, n)))).astype(np.float32).astype(np.float64)
    concentration = (10 ** rng.uniform(-0.5, highest, n)).astype(np.float32).astype(np.float64)
    impressions = np.round(10 ** rng.uniform(0, highest, n))
    rate = rng.beta(np.maximum(mean * concentration, 0.01), (1 - mean) * concentration)
    clicks = rng.binomial(impressions.astype(int), rate).astype(np.float64)
    clicks[::2] = np.round(clicks[::2] * rng.uniform(0.5, 1, len(clicks[::2])))
    clicks[:10], clicks[10:20] = 0, impressions[10:20]
    return mean, concentration, clicks, impressions


# float32: about the mean's own rounding where counts and concentrations are 1e6; see the docstring.
@pytest.mark.parametrize(("dtype", "highest", "error"), [("float64", 6, 1e-7), ("float32", 4, 2e-5), ("float32", 6, 1e-4)])
def test_beta_binomial_against_quadrature(dtype, highest, error):
    """Acceptance 1: in float64 within 1e-5, as asked; float32 plain lgamma is off by several nats here."""
    arguments = cases(highest)
    exact = beta_binomial_by_quadrature(*arguments)
    found = log_beta_binomial(*(tf.constant(x, dtype) for x in arguments)).numpy()
    assert found.dtype == dtype
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1.0)) < error


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-6), ("float32", 3e-4)])
def test_beta_binomial_gradient(dtype, error):
    """In float32 too, at concentrations of 1e5, where differences of digammas fail: the last-layer posterior is made of these."""
    mean, concentration, clicks, impressions = cases(6 if dtype == "float64" else 5)
    x = [tf.constant(v, dtype) for v in (np.log(mean / (1 - mean)), np.log(concentration))]
    with tf.GradientTape() as tape:
        tape.watch(x)
        counts = tf.constant(clicks, dtype), tf.constant(impressions, dtype)
        value = tf.reduce_sum(log_beta_binomial(tf.sigmoid(x[0]), tf.exp(x[1]), *counts))
    found = tape.gradient(value, x)
    a, b = mean * concentration, (1 - mean) * concentration
    by_a = digamma(a + clicks) - digamma(a)
    by_b = digamma(b + impressions - clicks) - digamma(b)
    by_whole = digamma(concentration + impressions) - digamma(concentration)
    exact = (concentration * mean * (1 - mean) * (by_a - by_b), concentration * (mean * by_a + (1 - mean) * by_b - by_whole))
    for one, other in zip(found, exact, strict=True):
        scale = np.maximum(np.abs(other), 1.0)
        if dtype == "float32":  # what the rounding of the mean itself moves: some 1e-4 of a standard error
            scale += 0.3 * np.sqrt(np.minimum(concentration, impressions))
        assert np.max(np.abs(one - other) / scale) < error


def test_gradient_is_summed_over_what_was_broadcast():
    mean, concentration = tf.fill([3, 1], 0.1), tf.constant([20.0, 50.0])
    with tf.GradientTape() as tape:
        tape.watch((mean, concentration))
        value = log_beta_binomial(mean, concentration, 2.0, 10.0)
    by_mean, by_concentration = tape.gradient(value, (mean, concentration))
    assert (value.shape, by_mean.shape, by_concentration.shape) == ((3, 2), (3, 1), (2,))
    with tf.GradientTape() as tape:
        whole = tf.fill([3, 2], 0.1)
        tape.watch(whole)
        value = log_beta_binomial(whole, concentration, 2.0, 10.0)
    np.testing.assert_allclose(by_mean[:, 0], tf.reduce_sum(tape.gradient(value, whole), 1), rtol=1e-6)


def test_probabilities_of_all_counts_sum_to_one():
    clicks = tf.range(201.0)
    for mean, concentration in ((0.01, 0.3), (0.3, 40.0), (0.9, 1e5)):
        assert abs(float(tf.reduce_sum(tf.exp(log_beta_binomial(mean, concentration, clicks, 200.0)))) - 1.0) < 1e-5


def test_no_impressions_say_nothing():
    value = log_beta_binomial(tf.constant([0.01, 0.5]), tf.constant([0.1, 1e6]), 0.0, 0.0)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(log_binomial(tf.constant([0.01, 0.5]), 0.0, 0.0), 0.0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-9), ("float32", 5e-5)])
def test_binomial_against_scipy(dtype, error):
    mean, _, clicks, impressions = cases(6)
    exact = stats.binom.logpmf(clicks, impressions, mean)
    found = log_binomial(*(tf.constant(x, dtype) for x in (mean, clicks, impressions)))
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1.0)) < max(error, 1e-7)
    rate = tf.constant(mean, dtype)
    with tf.GradientTape() as tape:
        tape.watch(rate)
        found = log_binomial(rate, tf.constant(clicks, dtype), tf.constant(impressions, dtype))
    exact = clicks / mean - (impressions - clicks) / (1 - mean)
    np.testing.assert_allclose(tape.gradient(found, rate), exact, rtol=1e-3, atol=error * np.max(impressions))


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-8), ("float32", 2e-6)])
def test_log_gamma_ratio(dtype, error):
    rng = np.random.default_rng(1)
    a, c = (10 ** rng.uniform(low, 6, 2000) for low in (-2, -1))
    a, c = (x.astype(np.float32).astype(np.float64) for x in (a, c))
    exact = np.where(c < a * 1e-3, c * digamma(a + c / 2), gammaln(a + c) - gammaln(a))  # gammaln's difference loses small ones
    arguments = [tf.constant(x, dtype) for x in (a, c)]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        found = log_gamma_ratio(*arguments)
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1.0)) < max(error, 1e-6)
    by_a, by_c = tape.gradient(found, arguments)
    np.testing.assert_allclose(by_c, digamma(a + c), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_a, digamma(a + c) - digamma(a), rtol=1e-4, atol=1e-5)


def test_rest_is_what_is_left_of_lgamma():
    x = 10.0 ** np.linspace(-6, 3, 500)
    np.testing.assert_allclose(rest(tf.constant(x)), gammaln(x) - x * np.log(x) + x, atol=1e-8)
