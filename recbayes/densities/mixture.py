"""What the mixtures share."""

from __future__ import annotations

import tensorflow as tf

from recbayes.types import Tensor


def from_left(log_weights: Tensor, leaf: Tensor) -> Tensor:
    """Axes of 1 appended to the shape until it has the leaf's rank, so that it broadcasts from the left."""
    missing = len(leaf.shape) - len(log_weights.shape)
    return tf.reshape(log_weights, tf.concat([tf.shape(log_weights), tf.ones([missing], tf.int32)], 0))


def log_sum_exp(values: Tensor) -> Tensor:
    """Over the last axis, component by component: TensorFlow reduces a short last axis slowly. [..., K] -> [...]."""
    parts = tf.unstack(values, axis=-1)
    if len(parts) == 1:
        return parts[0]
    top = parts[0]
    for part in parts[1:]:
        top = tf.maximum(top, part)
    top = tf.stop_gradient(top)
    return top + tf.math.log(tf.add_n([tf.exp(part - top) for part in parts]))


def lognormal_moments(means: Tensor, stddevs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of exp(y), y ~ N(means, stddevs^2)."""
    variances = tf.square(stddevs)
    expected = tf.exp(means + 0.5 * variances)
    return expected, tf.math.expm1(variances) * tf.square(expected)


def start_of_search(weights: Tensor, locations: Tensor, scales: Tensor, q: float) -> tuple[Tensor, Tensor]:
    """First guess of a quantile, and the standard deviation, of the mixture over the first and the last axis: [M, ..., K] -> [...]."""
    middle = tf.reduce_sum(weights * locations, [0, -1])
    spread = tf.reduce_sum(weights * (tf.square(scales) + tf.square(locations - middle[..., None])), [0, -1])
    scale = tf.sqrt(spread)
    return middle + tf.math.ndtri(tf.constant(q, scale.dtype)) * scale, scale
