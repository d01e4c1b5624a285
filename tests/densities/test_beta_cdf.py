"""The beta's distribution function and the quantiles of mixtures, against scipy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes.densities import BetaMixture, Point
from recbayes.densities.beta_cdf import beta_cdf


@pytest.mark.parametrize(("lowest", "error"), [(0.05, 4.5e-3), (0.7, 1.4e-3), (2.0, 4e-4), (12.0, 3e-5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cdf_is_within_the_stated_error(lowest, error, dtype):
    rng = np.random.default_rng(0)
    a, b = lowest * 10 ** rng.uniform(0, 3, (2, 3000))
    a[:1000], b[1000:2000] = lowest, lowest
    law = stats.beta(a, b)
    x = law.ppf(rng.uniform(0.001, 0.999, 3000)).astype(dtype)
    inside = (x > 1e-30) & (x < 0.999)  # above that float32 has lost 1 - x
    found = beta_cdf(tf.constant(a, dtype), tf.constant(b, dtype))(tf.constant(x)).numpy()
    assert np.max(np.abs(found - law.cdf(x.astype(float)))[inside]) < (max(error, 2e-4) if dtype == "float32" else error)


def test_cdf_of_tiny_click_rates():
    """Overflow here once made the lower end of an interval 1e-35."""
    x = tf.constant([1e-30, 1e-22, 1e-15, 1e-8])
    np.testing.assert_allclose(beta_cdf(tf.constant(0.4), tf.constant(60.0))(x), stats.beta(0.4, 60.0).cdf(x.numpy()), atol=2e-3)


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("q", [0.01, 0.05, 0.5, 0.95, 0.99])
def test_quantiles_also_where_components_are_needles_apart(spread, q):
    """Within 1e-4 of a click rate whose share is within 1.5e-3: secant steps alone miss by everything between two needles."""
    rng = np.random.default_rng(0)
    log_weights = np.log(rng.dirichlet(np.ones(3), 500))
    means = 1 / (1 + np.exp(4 - spread * rng.normal(size=(500, 3))))
    concentrations = np.maximum(10 ** rng.uniform(0, 5, (500, 3)), 0.7 / means)
    leaves = [x.astype(np.float32) for x in (log_weights, means, concentrations)]
    found = BetaMixture(*map(tf.constant, leaves)).quantile(q).numpy().astype(float)
    log_weights, means, concentrations = (x.astype(float) for x in leaves)

    def share(x):
        laws = stats.beta(means * concentrations, (1 - means) * concentrations)
        return (np.exp(log_weights) * laws.cdf(x[:, None])).sum(1)

    assert (share(found * (1 - 1e-4)) < q + 1.5e-3).all()
    assert (share(found * (1 + 1e-4)) > q - 1.5e-3).all()


def test_mixture_quantile_weighs_the_first_axis():
    """A predictive's draws and nodes stand there."""
    rng = np.random.default_rng(1)
    means, weights = rng.uniform(0.01, 0.2, (9, 4, 1)), rng.dirichlet(np.ones(9))
    density = BetaMixture(*(tf.constant(x) for x in (np.zeros((9, 4, 1)), means, np.full((9, 4, 1), 300.0))))
    found = density.mixture_quantile(0.9, tf.math.log(weights)).numpy()
    share = (weights[:, None] * stats.beta(300 * means[..., 0], 300 * (1 - means[..., 0])).cdf(found)).sum(0)
    np.testing.assert_allclose(share, 0.9, atol=4e-4)


def test_points_quantile_is_one_of_them():
    rates = np.array([[0.3, 0.1], [0.1, 0.2], [0.2, 0.3]])[..., None]
    point = Point(tf.constant(rates))
    weights = tf.math.log(tf.constant([0.5, 0.2, 0.3], tf.float64))
    np.testing.assert_array_equal(point.mixture_quantile(0.45, weights), [0.2, 0.1])
    np.testing.assert_array_equal(point.mixture_quantile(0.9, weights), [0.3, 0.3])
