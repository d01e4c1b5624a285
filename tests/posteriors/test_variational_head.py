"""The variational last layer against the closed form of a linear model, and its KL against TensorFlow Probability."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from gaussian import descended, linear_gaussian
from small import network, whole
from tensorflow_probability import distributions as tfd

import recbayes as rb
from recbayes.posteriors import variational_head as variational
from recbayes.posteriors.last_layer import find_layers

SEED = tf.constant([5, 6], tf.int32)


def test_a_linear_model_gets_its_exact_posterior() -> None:
    """Mean, standard deviations and correlations of the closed form, the bias included: a diagonal in the place of L L' would be seen.

    Seed fixed; what remains is the last steps' noise.
    """
    net, batch, mean, precision = linear_gaussian(bias=True)
    state = descended(rb.last_layer(method="variational"), net, batch, steps=2_000)
    layers = find_layers(net.model)
    factor = variational.lower(state.fitted, variational.priors(net, layers, 1.0)).numpy()
    found, exact = factor @ factor.T, np.linalg.inv(precision)
    stddev = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(np.concatenate([w.numpy().ravel() for w in state.fitted.parameters.weights]), mean, atol=0.15 * stddev.min())
    np.testing.assert_allclose(np.sqrt(np.diag(found)), stddev, rtol=0.07)
    np.testing.assert_allclose(found / np.outer(stddev, stddev), exact / np.outer(stddev, stddev), atol=0.1)
    assert np.abs(exact / np.outer(stddev, stddev) - np.eye(5)).max() > 0.3  # there are correlations to be found


def test_draws_have_the_learned_covariance() -> None:
    """20,000 draws; variances within 5 standard errors: alarm 1e-5 for right code, sees a factor of 1.1."""
    net, *_ = linear_gaussian(bias=True)
    posterior = rb.last_layer(method="variational")
    state = posterior.init(net, SEED)
    factor = np.tril(np.random.default_rng(0).normal(size=(5, 5)) * 0.3).astype(np.float32)
    state = state._replace(fitted=state.fitted._replace(factor=tf.constant(factor)))
    draws = posterior.sample(net, state, 20_000, SEED).head.numpy().reshape(20_000, -1)
    wanted = variational.lower(state.fitted, variational.priors(net, find_layers(net.model), 1.0)).numpy()
    np.testing.assert_allclose(draws.var(axis=0), np.diag(wanted @ wanted.T), rtol=5 * np.sqrt(2 / 20_000))


def test_the_divergence_is_that_of_the_distributions() -> None:
    """Head and wide weights, a prior twice as wide: against TensorFlow Probability, the means' part left to the log prior."""
    net, _ = network()
    layers = find_layers(net.model)
    fitted = rb.last_layer(method="variational").init(net, SEED).fitted
    moved = fitted._replace(
        factor=fitted.factor + 0.1 * tf.linalg.band_part(tf.random.stateless_normal(fitted.factor.shape, [1, 2]), -1, 0)
    )
    stddevs = variational.priors(net, layers, 2.0)
    factor = variational.lower(moved, stddevs)
    q, p = tfd.MultivariateNormalTriL(tf.zeros(len(factor)), factor), tfd.MultivariateNormalDiag(tf.zeros(len(factor)), stddevs.head)
    expected = float(tfd.kl_divergence(q, p))
    for prior, spread in zip(stddevs.wide, moved.wide, strict=True):
        expected += float(tf.reduce_sum(tfd.kl_divergence(tfd.Normal(0.0, prior * tf.exp(4.0 * spread)), tfd.Normal(0.0, prior))))
    assert stddevs.wide[0] == pytest.approx(0.04)
    assert float(variational.spread_divergence(moved, stddevs)) == pytest.approx(expected, rel=1e-4)


def test_training_sees_the_draws_that_prediction_makes() -> None:
    """With the spreads next to nothing a step's loss is the MAP's; as they grow it rises: noise that misses the outputs would not."""
    net, rows = network()
    batch, posterior = whole(rows), rb.last_layer(method="variational")
    start = posterior.init(net, SEED)

    def nats(state: variational.State) -> float:
        loss = float(posterior.update(net, state, batch, SEED, tf.constant(0.0))[1])
        kl = variational.spread_divergence(state.fitted, variational.priors(net, find_layers(net.model), 1.0))
        return loss - float(kl) / net.rows

    still = start._replace(
        fitted=start.fitted._replace(factor=-3.0 * tf.eye(len(start.fitted.factor)), wide=tuple(w - 3.0 for w in start.fitted.wide))
    )
    plain = float(rb.map().update(net, rb.map().init(net, SEED), batch, SEED, tf.constant(0.0))[1])
    assert nats(still) == pytest.approx(plain, abs=2e-3)
    wide = start._replace(fitted=start.fitted._replace(factor=0.0 * start.fitted.factor))
    assert nats(wide) > plain + 0.1


def test_an_unknown_method_is_refused_by_the_config() -> None:
    """A misspelt method must not train the other one."""
    from recbayes.config import load
    from recbayes.types import UserError

    with pytest.raises(UserError, match=r"posterior.*method.*variatonal"):
        load("quickstart", ["posterior.method=variatonal"])
    assert load("quickstart", ["posterior.method=variational"]).posterior.build().settings["method"] == "variational"
