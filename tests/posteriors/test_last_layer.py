"""The last layer's Gaussian against plain linear algebra, and against the network run with moved weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import network, whole

import recbayes as rb
from recbayes.posteriors import Network
from recbayes.posteriors import last_layer as method
from recbayes.posteriors import point_estimate as point
from recbayes.posteriors.last_layer import one_of_each_entry, one_of_each_output
from recbayes.training import Schedule, train

SEED = tf.constant([5, 6], tf.int32)


@pytest.fixture(scope="module")
def fitted() -> Any:
    net, rows = network()
    return net, rows, train(net, rb.last_layer(draws=8, curvature="scores"), rows, Schedule(epochs=3, batch_size=16)).state


def test_draws_equal_the_network_run_with_moved_weights(fitted: Any) -> None:
    """The shortcut through features must be the network itself: a wrong gather would move doubt to other items."""
    net, rows, state = fitted
    posterior, inputs = rb.last_layer(draws=8), whole(rows).inputs
    draws = posterior.sample(net, state, 8, SEED)
    fast = posterior.outputs(net, draws, inputs).numpy()
    for s in range(8):
        moved = []
        for variable, weight in zip(net.model.trainable_variables, draws.weights, strict=True):
            drawn = {"head/kernel": draws.head[s, :-1], "head/bias": draws.head[s, -1]}
            drawn |= {f"{layer.name}/embeddings": w[:, s, None] for layer, w in zip(find(net).wide, draws.wide, strict=True)}
            moved.append(drawn.get(variable.path, weight))
        assert drawn.keys() < {variable.path for variable in net.model.trainable_variables}
        np.testing.assert_allclose(fast[s], net.call(moved, inputs), atol=2e-5)


def test_head_precision_is_prior_plus_outer_products_of_group_scores(fitted: Any) -> None:
    """Against scores taken one group at a time by differentiating through the whole network."""
    net, rows, state = fitted
    at = state.fitted.parameters
    kernel, bias = (i for i, v in enumerate(net.model.trainable_variables) if v.path in ("head/kernel", "head/bias"))
    prior = np.concatenate([np.full(at.weights[kernel].shape[0] * 6, 1 / 0.3**2), np.full(6, 0.01)])
    expected = np.diag(prior)
    wide = next(i for i, v in enumerate(net.model.trainable_variables) if v.path == "wide_headline/embeddings")
    tokens = np.full(12, 1 / 0.02**2)
    batch = whole(rows)
    for g in range(len(batch.groups)):
        with tf.GradientTape() as tape:
            tape.watch(at.weights)
            value = net.log_likelihood(net.call(at.weights, batch.inputs), at.extras, batch)[g]
        slopes = tape.gradient(value, [at.weights[kernel], at.weights[bias], at.weights[wide]])
        score = np.concatenate([slopes[0].numpy().ravel(), slopes[1].numpy()])
        expected += np.outer(score, score)
        tokens += np.square(tf.convert_to_tensor(slopes[2]).numpy()[:, 0])
    np.testing.assert_allclose(state.head, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    which = [layer.name for layer in find(net).wide].index("wide_headline")
    np.testing.assert_allclose(state.wide[which], tokens, rtol=2e-3)


def test_draws_have_the_covariance_of_the_precision(fitted: Any) -> None:
    """20,000 draws; every variance within 5 standard errors of chi^2: alarm 1e-4 for right code, sees a factor of 1.1."""
    net, _, state = fitted
    draws = rb.last_layer().sample(net, state, 20_000, SEED).head.numpy().reshape(20_000, -1)
    covariance = np.linalg.inv(np.asarray(state.head, np.float64))
    np.testing.assert_allclose(draws.var(axis=0), np.diag(covariance), rtol=5 * np.sqrt(2 / 20_000))
    scale = np.sqrt(np.diag(covariance))
    off = (np.cov(draws.T) - covariance) / np.outer(scale, scale)
    assert np.abs(off).max() < 5.5 / np.sqrt(20_000) * np.sqrt(2)


def test_more_data_shrinks_the_doubt() -> None:
    """The same rows 25 times over: the head's standard deviations fall towards a fifth wherever the data speak."""
    net, rows = network()
    state = point.init(net, SEED)
    posterior = rb.last_layer(prior_scale=100.0, curvature="scores")
    start = posterior.init(net, SEED)._replace(fitted=state)
    once = posterior.finish(net, start, [whole(rows)])
    often = posterior.finish(net, start, [whole(rows)] * 25)
    ratio = np.asarray(often.wide[0]) / np.asarray(once.wide[0])
    assert np.median(ratio) == pytest.approx(25.0, rel=0.05)


def test_a_model_without_a_head_says_what_to_do() -> None:
    entry = {"x": keras.Input((2,), name="x")}
    model = keras.Model(entry, keras.layers.Dense(1, name="out")(entry["x"]))
    with pytest.raises(ValueError, match=r"no dense layer named 'head'.*name='head'"):
        rb.last_layer().init(Network(model, (1.0, 1.0), None, {}, 1), SEED)  # type: ignore[arg-type]


def test_dropout_must_share_its_mask() -> None:
    entry = {"x": keras.Input((2,), name="x")}
    model = keras.Model(entry, keras.layers.Dense(1, name="head")(keras.layers.Dropout(0.5, name="rowwise")(entry["x"])))
    with pytest.raises(ValueError, match=r"rowwise draw a mask a row.*noise_shape"):
        rb.mc_dropout().init(Network(model, (1.0, 1.0), None, {}, 1), SEED)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no dropout layer.*dropout: 0.1"):
        rb.mc_dropout().init(network()[0], SEED)


def find(net: Network) -> Any:
    """The parts that carry the posterior."""
    from recbayes.posteriors.last_layer import find_layers

    return find_layers(net.model)


def test_file_and_function_share_the_name() -> None:
    assert method is rb.last_layer


def test_differences_of_scores_are_the_curvature():
    """Scores that hang on one row's outputs alone, and scores that hang on all rows': X'AX, to the rounding of float32."""
    numbers = np.random.default_rng(0)
    features, outputs = numbers.normal(size=[7, 3]).astype(np.float32), numbers.normal(size=[7, 2]).astype(np.float32)
    rows = numbers.normal(size=[7, 2, 2])
    own = np.zeros([7, 2, 7, 2])
    own[np.arange(7), :, np.arange(7)] = rows + rows.transpose(0, 2, 1)
    coupled = numbers.normal(size=[14, 14])
    for matrix, functions in [
        (own, (one_of_each_output, one_of_each_entry)),
        ((coupled + coupled.T).reshape(7, 2, 7, 2), (one_of_each_entry,)),
    ]:
        exact = np.einsum("nj,npmq,mk->jpkq", features, matrix, features).reshape(6, 6)
        for function in functions:
            found = function(lambda at, a=matrix: tf.tensordot(a, tf.cast(at, tf.float64), 2), tf.constant(features), tf.constant(outputs))
            np.testing.assert_allclose(found, exact, atol=2e-3)
