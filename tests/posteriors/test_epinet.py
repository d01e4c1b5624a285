"""The epinet: what an index does, the bootstrap that goes with it, and doubt where there are no rows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from small import network, whole

import recbayes as rb
from recbayes.posteriors import Network, base
from recbayes.posteriors import epinet as method
from recbayes.posteriors.epinet import Draws, unit_vectors
from recbayes.training import Rows, Schedule, train

SEED = tf.constant([5, 6], tf.int32)


@pytest.fixture(scope="module")
def fitted() -> Any:
    net, rows = network()
    return net, rows, train(net, rb.epinet(draws=8), rows, Schedule(epochs=3, batch_size=16)).state


def test_outputs_are_those_of_the_formula_in_numpy(fitted: Any) -> None:
    """An index at the wrong axis would give every row a draw of its own, and identical candidates different ones."""
    net, rows, state = fitted
    posterior, inputs = rb.epinet(draws=8), whole(rows).inputs
    draws = posterior.sample(net, state, 8, SEED)
    got = posterior.outputs(net, draws, inputs).numpy()
    (learned, fixed), z = (tf.nest.map_structure(np.asarray, part) for part in ((draws.learned, draws.fixed), draws.indices))
    head = net.model.get_layer("head")
    below = keras.Model(net.model.input, head.input)
    places = {id(v): i for i, v in enumerate(net.model.trainable_variables)}
    phi = base.call_model(below, [draws.weights[places[id(v)]] for v in below.trainable_variables], inputs).numpy()
    own = net.call(draws.weights, inputs).numpy()
    for s in range(8):
        hidden = np.maximum(phi @ learned.features + z[s] @ learned.index + learned.bias, 0.0)
        change = (hidden @ learned.out).reshape(len(phi), 6, 8) @ z[s]
        for d in range(8):
            inner = np.maximum(np.c_[phi, np.ones(len(phi))] @ fixed.first[:, d], 0.0)
            change = change + z[s, d] * (inner @ fixed.second[d])
        np.testing.assert_allclose(got[s], own + change / np.sqrt(8), atol=3e-5)


def test_index_zero_is_the_base(fitted: Any) -> None:
    net, rows, state = fitted
    inputs = whole(rows).inputs
    draws = rb.epinet().sample(net, state, 2, SEED)
    none = Draws(draws.weights, draws.learned, draws.fixed, tf.zeros([1, 8]))
    np.testing.assert_allclose(rb.epinet().outputs(net, none, inputs)[0], net.call(draws.weights, inputs), atol=1e-6)


def test_the_bootstrap_is_exponential_and_remembers_its_index() -> None:
    """40,000 clusters under one index: Kolmogorov-Smirnov below its 1 - 1e-6 quantile (2.69 / sqrt(n)); sees a mean of 1.03."""
    vectors = unit_vectors(SEED, tf.range(40_000), 8)
    np.testing.assert_allclose(tf.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(unit_vectors(SEED, tf.range(300, 310), 8), vectors[300:310], atol=1e-6)
    index = tf.random.stateless_normal([40_000, 8], [1, 2])
    weights = -np.log(stats.norm.cdf(np.sum(vectors.numpy() * index.numpy(), axis=1)))
    assert stats.kstest(weights, "expon").statistic < 2.69 / np.sqrt(40_000)


def test_doubt_grows_where_there_are_no_rows() -> None:
    """Rows at x in (-1, 1), asked at 0 and at 6: a posterior that is as sure there has learned nothing of its ignorance."""
    generator = np.random.default_rng(0)
    entry = {"x": keras.Input((1,), name="x")}
    keras.utils.set_random_seed(0)
    features = keras.layers.Dense(16, activation="relu")(entry["x"])
    model = keras.Model(entry, keras.layers.Dense(1, name="head")(features))

    def log_likelihood(outputs: Any, extras: Any, batch: Any) -> Any:
        return -0.5 * tf.square((batch.clicks - outputs[:, 0]) / 0.3)

    x = generator.uniform(-1.0, 1.0, (200, 1)).astype(np.float32)
    y = (0.5 * x[:, 0] + 0.3 * generator.normal(size=200)).astype(np.float32)
    each = np.arange(200, dtype=np.int32)
    rows = Rows({"x": x}, y, np.ones(200, np.float32), each, each)
    net = Network(model, (1.0, float("inf"), 1.0, float("inf")), log_likelihood, {}, 200, 200)
    posterior = rb.epinet(draws=64)
    state = train(net, posterior, rows, Schedule(epochs=250, batch_size=50, learning_rate=0.02)).state
    asked = {"x": tf.constant([[0.0], [6.0]])}
    near, far = posterior.outputs(net, posterior.sample(net, state, 64, SEED), asked).numpy()[:, :, 0].std(axis=0)
    assert 0.3 / np.sqrt(200) / 3 < near < 0.1  # of the order of the exact 0.02 to 0.04
    assert far > 3.0 * near


def test_file_and_function_share_the_name() -> None:
    assert method is rb.epinet
