"""Exact beta draws against SciPy, and the bound that makes them exact."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes.replay import numbers
from recbayes.replay.betas import betas, log_ratio, proposals

SHAPES = [(0.3, 0.8), (0.5, 40.0), (1.0, 1.0), (1.0, 1000.0), (5.0, 1.0), (2.5, 40.0), (16.0, 1200.0), (300.0, 20_000.0)]


@pytest.mark.parametrize("shapes", SHAPES)
def test_draws_have_the_betas_law(shapes):
    """KS over 900,000 draws of each shape, alarm 1e-6 (neighbours that share a number counted in); sees an error of .004."""
    a, b = (tf.fill([30_000], shape) for shape in shapes)
    draws = betas([1, 2], 30, a, b, boosted=min(shapes) < 1).numpy().ravel().astype(float)
    assert stats.kstest(draws, stats.beta(*shapes).cdf).statistic < 2.7 * np.sqrt(1.25 / 900_000)


@pytest.mark.parametrize("a", [1, 1.1, 1.5, 2, 3, 5, 10, 30, 100, 1e4])
@pytest.mark.parametrize("b", [1, 1.1, 1.5, 2, 3, 5, 10, 100, 1e3, 1e5])
def test_the_bound_holds(a, b):
    """Where the ratio passes the bound, acceptance would be cut off at 1 and the draws be wrong. On a fine grid, in float64."""
    z = tf.constant(np.linspace(-5.6, 5.6, 20_001))
    _, ratio = log_ratio(z, tf.constant(a, tf.float64), tf.constant(b, tf.float64))
    k = min(a, b)
    assert ratio.numpy().max() <= np.log1p(0.091 / k + 0.0355 / k**2)
    assert ratio.numpy().max() >= 0.0


@pytest.mark.parametrize("shapes", [(1.0, 1.0), (2.5, 40.0), (40.0, 2.5)])
def test_the_ratio_is_the_betas_density_over_the_proposals(shapes):
    """Integrated over z it gives the beta's distribution function at Q(z): the identity that the rejection rests on."""
    z = np.linspace(-5.4, 5.4, 200_001)
    log_odds, ratio = (x.numpy() for x in log_ratio(tf.constant(z), *(tf.constant(x, tf.float64) for x in shapes)))
    mass = np.exp(ratio) * stats.norm.pdf(z)
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    inside = mass > 0
    np.testing.assert_allclose(below[inside], stats.beta(*shapes).cdf(1 / (1 + np.exp(-log_odds[inside]))), atol=1e-6)


def test_few_are_rejected():
    """A rejected draw takes its neighbour's number: seldom, or draws would be worth less than they look."""
    u, v = numbers.uniforms([3, 3], [400, 3])
    found = proposals(tf.math.ndtri(u), tf.math.log(v), tf.constant([1.0, 4.0, 30.0]), tf.constant([50.0, 200.0, 3000.0])).numpy() > 0
    assert (found.mean(0) > [0.83, 0.94, 0.98]).all()


def test_numbers_are_uniform_and_independent():
    """Both words of every block: KS and correlations with neighbours, alarm 1e-6; another seed gives others."""
    u, v = (x.numpy().ravel() for x in numbers.uniforms([7, 8], [100, 500]))
    other = numbers.uniforms([7, 9], [100, 500])[0].numpy().ravel()
    for stream in (u, v):
        assert stats.kstest(stream, "uniform").pvalue > 1e-6
        assert ((stream > 0) & (stream < 1)).all()
    streams = np.stack([u, v, other, np.roll(u, 1), np.roll(u, 500)])
    assert np.abs(np.corrcoef(streams) - np.eye(5)).max() < 5.5 / np.sqrt(50_000)
    np.testing.assert_array_equal(numbers.uniforms([7, 8], [100, 500])[0].numpy().ravel(), u)
