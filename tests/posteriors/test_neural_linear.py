"""The exact regression against dense linear algebra in NumPy, and what it says when it can't be run or trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small import network, whole

import recbayes as rb
from recbayes.posteriors import point_estimate as point
from recbayes.types import UserError

SEED = tf.constant([5, 6], tf.int32)
KERNEL_STDDEV, NOISE_ROWS, TAU = 0.3, 30.0, np.exp(-1.0)


@pytest.fixture(scope="module")
def finished() -> Any:
    """A network of random weights, its regression, and the same by NumPy: features, errors, covariance of the errors."""
    net, rows = network(rb.linear())
    method = rb.neural_linear(draws=8, noise_rows=NOISE_ROWS)
    at = point.init(net, SEED)
    weights = [w + 0.1 * np.random.default_rng(i).normal(size=w.shape).astype(np.float32) for i, w in enumerate(at.parameters.weights)]
    at = at._replace(parameters=at.parameters._replace(weights=tuple(weights)))
    halves = [whole(rows.take(np.arange(*part))) for part in ((0, 20), (20, 48))]
    state = method.finish(net, method.init(net, SEED)._replace(fitted=at), halves)
    features = np.concatenate([rows.inputs["at"], np.ones((48, 1))], 1).astype(np.float64)
    density = rb.beta_mixture(components=2).density(net.call(weights, whole(rows).inputs))
    mean, variance = np.asarray(density.mean, np.float64), np.asarray(density.variance, np.float64)
    slope = mean * (1 - mean)
    errors = (rows.clicks / rows.impressions - mean) / slope
    known = (variance + (slope - variance) / rows.impressions) / slope**2
    covariance = np.diag(known) + TAU**2 * (rows.segments[:, None] == rows.segments)
    return net, method, state, (features, errors, covariance)


def test_equals_generalised_least_squares_with_the_prior(finished: Any) -> None:
    """The page effect is taken off group by group; dense matrices of all rows must give the same."""
    net, _, state, (features, errors, covariance) = finished
    kernel, bias = (i for i, v in enumerate(net.model.trainable_variables) if v.path in ("head/kernel", "head/bias"))
    weights = state.fitted.parameters.weights
    towards = np.append(-np.asarray(weights[kernel])[:, 2:4].mean(axis=1), 0.0)
    prior = np.diag([1 / KERNEL_STDDEV**2, 0.01])
    precision = prior + features.T @ np.linalg.solve(covariance, features)
    mean = np.linalg.solve(precision, prior @ towards + features.T @ np.linalg.solve(covariance, errors))
    left, back = errors - features @ mean, mean - towards
    assert bias == kernel + 1
    np.testing.assert_allclose(state.precision, precision, rtol=1e-5)
    np.testing.assert_allclose(state.mean, mean, rtol=1e-4, atol=1e-6)
    assert float(state.shape) == (NOISE_ROWS + 48) / 2
    squares = left @ np.linalg.solve(covariance, left) + back @ prior @ back
    assert float(state.rate) == pytest.approx((NOISE_ROWS + squares) / 2, rel=1e-4)


def test_draws_are_student_t(finished: Any) -> None:
    """Mean and variance of 40,000 draws within 5 standard errors: alarm 1e-5 for right code; sees sigma^2 left out (a factor of 1.1)."""
    net, method, state, _ = finished
    shift = method.sample(net, state, 40_000, SEED).shift.numpy()
    covariance = float(state.rate / (state.shape - 1)) * np.linalg.inv(state.precision.numpy())
    stddev = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((shift.mean(axis=0) - state.mean) / stddev, 0.0, atol=5 / np.sqrt(40_000))
    np.testing.assert_allclose(shift.var(axis=0) / stddev**2, 1.0, atol=5 * np.sqrt(2.3 / 40_000))


def test_draws_move_the_location_alone(finished: Any) -> None:
    """Weights and concentrations of the mixture stay where the network put them."""
    net, method, state, (features, _, _) = finished
    inputs = whole(network(rb.linear())[1]).inputs
    draws = method.sample(net, state, 8, SEED)
    moved = (method.outputs(net, draws, inputs) - net.call(draws.weights, inputs)).numpy()
    expected = np.einsum("sh,nh->sn", draws.shift, features)
    np.testing.assert_allclose(moved[:, :, 2:4], np.stack([expected] * 2, -1), atol=2e-6)
    np.testing.assert_array_equal(moved[:, :, [0, 1, 4, 5]], 0.0)


def test_counts_that_scatter_more_than_the_density_are_told(finished: Any) -> None:
    net, method, state, _ = finished
    assert method.warnings(net, state) == []
    (told,) = method.warnings(net, state._replace(rate=3.0 * state.shape))
    assert "3.00 times" in told
    assert "group effect" in told


def test_a_likelihood_without_a_density_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no density of the click rate.*Use last_layer"):
        rb.neural_linear().init(network(rb.linear())[0]._replace(family=None), SEED)
