"""What the mixtures share."""

from __future__ import annotations

import tensorflow as tf

from recbayes.types import Tensor


def from_left(log_weights: Tensor, leaf: Tensor) -> Tensor:
    """Axes of 1 appended to the shape until it has the leaf's rank, so that it broadcasts from the left."""
    missing = len(leaf.shape) - len(log_weights.shape)
    return tf.reshape(log_weights, tf.concat([tf.shape(log_weights), tf.ones([missing], tf.int32)], 0))


def lognormal_moments(means: Tensor, stddevs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of exp(y), y ~ N(means, stddevs^2)."""
    variances = tf.square(stddevs)
    expected = tf.exp(means + 0.5 * variances)
    return expected, tf.math.expm1(variances) * tf.square(expected)
