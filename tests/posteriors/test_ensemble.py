"""Members see different bootstraps of the clusters and keep different priors where there are no data."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small import network, whole

import recbayes as rb
from recbayes.posteriors import base
from recbayes.posteriors.ensemble import poisson
from recbayes.training import Schedule, train

SEED = tf.constant([5, 6], tf.int32)


def test_bootstrap_weights_are_poisson_and_stay_with_their_cluster() -> None:
    """20,000 clusters: chi^2 over 0..4+ below its 1 - 1e-6 quantile; sees a Bernoulli or a mean of 1.05."""
    seed, clusters = tf.constant([1, 2], tf.int32), tf.range(20_000)
    weight = poisson(seed, clusters).numpy()
    seen = np.bincount(np.minimum(weight.astype(int), 4), minlength=5)
    share = np.exp(-1.0) / np.array([1.0, 1.0, 2.0, 6.0])
    expected = 20_000 * np.append(share, 1.0 - share.sum())
    assert ((seen - expected) ** 2 / expected).sum() < 33.4
    np.testing.assert_array_equal(poisson(seed, clusters[500:510]), weight[500:510])
    assert np.abs(poisson(tf.constant([1, 3], tf.int32), clusters).numpy() - weight).max() > 0


def test_members_disagree_about_an_image_they_never_saw() -> None:
    """Image 5 against image 1, and image 2 against image 1: the first keeps the prior's spread, the other has 30 rows to agree on."""
    net, rows = network(rb.linear(wide_stddev=1.0), rows=200)
    images = np.where(rows.inputs["image"] == 5, 1, rows.inputs["image"]).astype(np.int32)
    rows = rows._replace(inputs={**rows.inputs, "image": images})
    posterior = rb.ensemble(members=8, prior_function=1.0)
    state = train(net, posterior, rows, Schedule(epochs=60, batch_size=64, learning_rate=0.1, oov_share=0.0)).state
    same = {k: tf.constant(np.repeat(v[:1], 3, axis=0)) for k, v in rows.inputs.items()}
    outputs = posterior.outputs(
        net, posterior.sample(net, state, 8, tf.constant([0, 0])), {**same, "image": tf.constant([1, 2, 5])}
    ).numpy()
    rates = rb.beta_mixture(components=2).density(outputs).mean.numpy()  # [M, 3]
    logits = np.log(rates / (1.0 - rates))
    seen, unseen = (logits[:, other] - logits[:, 0] for other in (1, 2))
    assert unseen.std() > 3.0 * seen.std()
    assert unseen.std() == pytest.approx(1.0, rel=0.6)  # 8 members: a standard error of 25%


def test_a_step_is_that_of_members_trained_one_by_one() -> None:
    """Rows of weight 0 are left out and members run together: gradients must be those of the plain sum over members and all groups."""
    net, rows = network()
    posterior, batch = rb.ensemble(members=3, prior_function=1.0), whole(rows)
    state = posterior.init(net, SEED)
    moved, loss = posterior.update(net, state, batch, SEED, tf.constant(0.01))
    with tf.GradientTape() as tape:
        tape.watch(state.parameters)
        losses = []
        for m in range(3):
            own, prior = ([w[m] for w in weights] for weights in (state.parameters.weights, state.priors))
            outputs = net.call(own, batch.inputs) + net.call(prior, batch.inputs)
            log_likelihood = poisson(state.seeds[m], batch.clusters) * net.log_likelihood(outputs, state.parameters.extras, batch)
            losses.append(base.loss(net, log_likelihood, base.log_prior(net, own), batch))
        total = tf.add_n(losses)
    gradients = tape.gradient(total, tf.nest.flatten(state.parameters))
    assert float(loss) == pytest.approx(float(total) / 3, rel=1e-5)
    for mean, gradient in zip(tf.nest.flatten(moved.optimizer.mean), gradients, strict=True):
        expected = 0.1 * np.asarray(tf.convert_to_tensor(gradient))
        np.testing.assert_allclose(mean, expected, rtol=2e-3, atol=2e-3 * max(np.abs(expected).max(), 1e-4))


def test_outputs_are_the_members_and_their_prior_functions() -> None:
    """A member with another's prior function is no draw of anything."""
    net, rows = network()
    posterior, inputs = rb.ensemble(members=10), whole(rows).inputs  # more than run at once
    state = posterior.init(net, SEED)
    outputs = posterior.outputs(net, posterior.sample(net, state, 10, SEED), inputs).numpy()
    for m in range(10):
        own, prior = ([w[m] for w in weights] for weights in (state.parameters.weights, state.priors))
        np.testing.assert_allclose(outputs[m], net.call(own, inputs) + net.call(prior, inputs), atol=2e-5)


def test_a_batch_in_which_no_group_has_weight_changes_nothing_but_the_prior() -> None:
    """Small batches come with weight 0 for all members now and then: no rows must not mean no number."""
    net, rows = network()
    posterior = rb.ensemble(members=2)
    state, batch = posterior.init(net, SEED), whole(rows.take(np.arange(4)))
    clusters = next(c for c in range(200) if all(float(poisson(seed, tf.constant([c]))[0]) == 0 for seed in tf.unstack(state.seeds)))
    moved, loss = posterior.update(net, state, batch._replace(clusters=tf.constant([clusters])), SEED, tf.constant(0.01))
    assert np.isfinite(float(loss))
    assert all(np.isfinite(np.asarray(t)).all() for t in tf.nest.flatten(moved))
