"""Members see different bootstraps of the clusters and keep different priors where there are no data."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small import network

import recbayes as rb
from recbayes.posteriors.ensemble import poisson
from recbayes.training import Schedule, train


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
