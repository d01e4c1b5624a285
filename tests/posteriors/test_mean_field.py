"""Mean-field variational inference against the closed form of a linear model, and flipout against the network run with each draw."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from gaussian import descended, linear_gaussian
from small import network, whole
from tensorflow_probability import distributions as tfd

import recbayes as rb
from recbayes.posteriors import Batch, Network, flipout
from recbayes.posteriors import mean_field as method
from recbayes.posteriors.mean_field import Gaussians, divergence, standard_normals, stddevs
from recbayes.training import Schedule, train

SEED = tf.constant([5, 6], tf.int32)


def test_a_linear_model_gets_the_best_independent_gaussian() -> None:
    """In closed form: the exact mean, and standard deviations 1 / sqrt(precision_ii), below the exact marginal ones.

    Seed fixed; what remains is the last steps' noise. A KL scaled wrongly by 2 or noise of the wrong size moves the standard
    deviations by 40% or more.
    """
    net, batch, mean, precision = linear_gaussian()
    state = descended(rb.mean_field(), net, batch, steps=1_500)
    found, stddev = state.fitted.means[0].numpy()[:, 0], stddevs(net, state.fitted)[0].numpy()[:, 0]
    best, exact = 1 / np.sqrt(np.diag(precision)), np.sqrt(np.diag(np.linalg.inv(precision)))
    np.testing.assert_allclose(found, mean, atol=0.15 * best.min())
    np.testing.assert_allclose(stddev, best, rtol=0.05)
    assert (best < 0.9 * exact).all()  # the price of independence is real here


def test_the_batch_is_scaled_to_all_rows() -> None:
    """A tenth of the rows a step must weigh as much against the KL as all of them: else the prior's strength follows the batch size."""
    net, batch, *_ = linear_gaussian()
    state = rb.mean_field().init(net, SEED)
    part = Batch({"x": batch.inputs["x"][:6]}, *(leaf[:6] for leaf in batch[1:]))
    repeated = Batch({"x": tf.tile(part.inputs["x"], [10, 1])}, *(tf.tile(leaf, [10]) for leaf in part[1:]))
    repeated = repeated._replace(segments=tf.range(60))
    posterior = rb.mean_field(anneal=0)
    still = state._replace(fitted=state.fitted._replace(spreads=tuple(s - 10.0 for s in state.fitted.spreads)))  # no noise
    few, many = (float(posterior.update(net, still, b, SEED, tf.constant(0.0))[1]) for b in (part, repeated))
    assert few == pytest.approx(many, rel=1e-5)


@pytest.mark.parametrize("prior_scale", [1.0, 2.0])
def test_divergence_is_that_of_the_distributions(prior_scale: float) -> None:
    """Against TensorFlow Probability, flat priors as normal with standard deviation 10."""
    net, _ = network()
    fitted = some_gaussians(net)
    expected = 0.0
    for prior, mean, stddev in zip(net.prior_stddev, fitted.means, stddevs(net, fitted), strict=True):
        scale = 10.0 if prior == float("inf") else prior * prior_scale
        expected += float(tf.reduce_sum(tfd.kl_divergence(tfd.Normal(mean, stddev), tfd.Normal(0.0, scale))))
    assert float(divergence(net, fitted, prior_scale=prior_scale, learn_prior=False)) == pytest.approx(expected, rel=1e-4)


def test_a_learned_prior_is_the_best_of_all_scales() -> None:
    """One tensor: the smallest KL over a fine grid of prior scales is what the learned one gives."""
    net, *_ = linear_gaussian()
    fitted = Gaussians((tf.constant([[0.5], [-0.8], [0.1], [1.2]]),), (tf.fill([4, 1], -0.3),), {})
    grid = [float(divergence(net, fitted, prior_scale=float(s), learn_prior=False)) for s in np.geomspace(0.3, 30.0, 400)]
    assert float(divergence(net, fitted, prior_scale=1.0, learn_prior=True)) == pytest.approx(min(grid), abs=1e-3)
    assert 0 < int(np.argmin(grid)) < 399


def test_flipout_is_the_network_run_with_each_groups_own_draw() -> None:
    """Towers, embeddings, bags and wide weights: a sign on the wrong axis would train on draws that are none of the posterior's."""
    net, rows = network()
    batch, fitted = whole(rows), some_gaussians(net)
    drawn = standard_normals(SEED, fitted.means)
    deviations = [s * e for s, e in zip(stddevs(net, fitted), drawn, strict=True)]
    fast = flipout.call(net, fitted.means, flipout.Noise(deviations, batch.segments, tf.constant(12), SEED), batch.inputs).numpy()
    slots, width = flipout.find_slots(net.model)
    assert len(slots) == sum(isinstance(layer, keras.layers.Dense | keras.layers.Embedding) for layer in net.model.layers)
    signs = flipout.random_signs(SEED, tf.constant(12), width).numpy()
    for g in range(12):
        weights = [m.numpy() + d.numpy() for m, d in zip(fitted.means, deviations, strict=True)]
        for slot in slots.values():
            ins, outs = signs[g, slot.inputs], signs[g, slot.outputs]
            for i in slot.variables:
                flips = np.outer(ins, outs) if weights[i].ndim == 2 and len(ins) else outs
                weights[i] = fitted.means[i].numpy() + deviations[i].numpy() * flips
        mine = batch.segments.numpy() == g
        np.testing.assert_allclose(fast[mine], net.call(weights, batch.inputs).numpy()[mine], atol=2e-5)


def test_signs_are_fair_and_independent() -> None:
    """64,000 signs: mean and correlation of neighbours within 5 standard errors, alarm 2e-6; a stuck bit would be seen."""
    signs = flipout.random_signs(SEED, tf.constant(1_000), 64).numpy()
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(signs.mean(axis=0)).max() < 5.5 / np.sqrt(1_000)
    assert abs((signs[:, 1:] * signs[:, :-1]).mean()) < 5 / np.sqrt(63_000)


def test_layers_that_do_not_map_rows_to_rows_get_one_draw() -> None:
    """A user's model may fold its words into the batch axis: signs by row would land on the wrong rows or fail."""
    entry = {"x": keras.Input((3, 2), name="x")}
    folded = keras.layers.Dense(4, name="folded")(keras.ops.reshape(entry["x"], (-1, 2)))
    model = keras.Model(entry, keras.layers.Dense(1, name="head")(keras.ops.reshape(folded, (-1, 12))))
    net = Network(model, (0.3, float("inf")) * 2, None, {}, 5)  # type: ignore[arg-type]
    slots, _ = flipout.find_slots(model)
    assert [layer.name for layer in model.layers if id(layer) in slots] == ["head"]
    start = net.start().weights
    noise = flipout.Noise([tf.zeros_like(w) for w in start], tf.range(5), tf.constant(5), SEED)
    x = tf.random.stateless_normal([5, 3, 2], [0, 1])
    np.testing.assert_allclose(flipout.call(net, start, noise, {"x": x}), model({"x": x}), atol=1e-6)


def test_a_training_shorter_than_the_annealing_is_a_warning() -> None:
    """The doubt of an unfinished annealing is anyone's guess."""
    net, rows = network()
    short = rb.mean_field(draws=4, anneal=50)
    state = train(net, short, rows, Schedule(epochs=1, batch_size=16)).state
    (told,) = short.warnings(net, state)
    assert "ended after 3 steps" in told
    assert "Lower posterior.anneal or raise train.epochs" in told
    assert rb.mean_field(draws=4, anneal=3).warnings(net, state) == []


def some_gaussians(net: Network) -> Gaussians:
    """Means and spreads away from their start."""
    start = net.start()
    shapes = [tf.TensorSpec(w.shape) for w in start.weights]
    means = tuple(w + 0.1 * e for w, e in zip(start.weights, standard_normals(tf.constant([1, 1]), shapes), strict=True))
    return Gaussians(means, tuple(0.1 * e - 0.3 for e in standard_normals(tf.constant([1, 2]), shapes)), start.extras)


def test_file_and_function_share_the_name() -> None:
    assert method is rb.mean_field
