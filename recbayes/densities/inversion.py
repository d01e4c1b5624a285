"""Quantiles of mixtures whose distribution function is at hand."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from recbayes.types import Tensor

_LOWEST, _HIGHEST = -60.0, 15.0


def invert(cdf: Callable[[Tensor], Tensor], q: float, mean: Tensor, stddev: Tensor, *, steps: int = 12) -> Tensor:
    """The click rate x with cdf(x) = q, of the shape of `mean`.

    Secant steps on logit x against the normal score of the cdf, which are nearly a straight line for a unimodal distribution, kept
    inside a bracket that every step narrows, by bisection where a step leaves it. Static and so compilable.

    Args:
      cdf: rises from 0 to 1 over (0, 1).
      q: in (0, 1).
      mean: of the distribution, in (0, 1).
      stddev: of the distribution, > 0.
      steps: evaluations of the cdf.

    Raises: ValueError if q is not strictly between 0 and 1.
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"quantile: q is {q}, must be strictly between 0 and 1")
    mean = tf.clip_by_value(mean, 1e-12, 1.0 - 1e-6)
    scale = tf.clip_by_value(stddev / (mean * (1.0 - mean)), 1e-6, 2.0)
    wanted = tf.math.ndtri(tf.constant(q, mean.dtype))
    x = tf.math.log(mean) - tf.math.log1p(-mean) + wanted * scale - 0.5 * scale * scale
    low, high = tf.fill(tf.shape(x), tf.constant(_LOWEST, x.dtype)), tf.fill(tf.shape(x), tf.constant(_HIGHEST, x.dtype))
    slope, last_x, last_score = 1.0 / scale, x, tf.zeros_like(x)
    for step in range(steps):
        share = cdf(tf.sigmoid(x))
        score = tf.math.ndtri(tf.clip_by_value(share, 1e-6, 1.0 - 1e-6)) - wanted
        low, high = tf.where(share < q, x, low), tf.where(share < q, high, x)
        if step:
            secant = (score - last_score) / tf.where(x == last_x, 1.0, x - last_x)
            slope = tf.where((x != last_x) & (secant * scale > 0.05), secant, slope)
        last_x, last_score = x, score
        x = x - score / slope
        x = tf.where((x >= low) & (x <= high), x, 0.5 * (low + high))
    return tf.sigmoid(x)
