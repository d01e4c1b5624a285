"""Gamma-function differences that stay exact in float32.

A beta-binomial's log probability is a difference of numbers of the size r log r, of which nearly all cancels. Here what cancels
is left out before anything is rounded. With v(x) = lgamma(x) - x log x + x, prior mean m and concentration n, a = n m,
b = n (1 - m), d = r - c, the pooled rate p = (a + c) / (n + r):

    log P(c) = g(r) - g(c) - g(d) - J + v(a + c) - v(a) + v(b + d) - v(b) - v(n + r) + v(n)
    J = r KL(c / r || p) + n KL(m || p),   g(x) = lgamma(x + 1) - x log x + x

J is what the observed rate and the prior's mean disagree by, written in log1p of c - r m. As p minimises J, its gradient is
that at a fixed p: n log(m / p) - n log((1 - m) / (1 - p)) in m and KL(m || p) in n.

Source: the binomial case is Loader 2000, Fast and accurate computation of binomial probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from recbayes.types import Tensor

_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
"""lgamma(z) - [(z - 1/2) log z - z + log(2 pi) / 2] = sum of these over z, z^3, z^5 ...: 5e-10 at z = 4."""
_SLOPES = tuple(-(2 * i + 1) * c for i, c in enumerate(_SERIES))


def log_gamma_ratio(a: Tensor, c: Tensor) -> Tensor:
    """log Gamma(a + c) - log Gamma(a), for a > 0 and c >= 0 that broadcast.

    Relative error 3e-6 in float32. A difference of several such ratios cancels: use `log_beta_binomial` for that. Gradient: the
    digamma function at a + c, less that at a in the first argument.

    >>> round(float(log_gamma_ratio(tf.constant(1e6), tf.constant(2.0))), 3)   # log(1e6 * 1000001)
    27.631
    """
    a, c = _alike(a, c)
    return _log_gamma_ratio(a, c)


@tf.custom_gradient
def _log_gamma_ratio(a: Tensor, c: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    whole = a + c
    growth = tf.math.log1p(c / a)  # log((a + c) / a)
    value = a * growth + c * tf.math.log(whole) - c + rest(whole) - rest(a)

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        slope = rest_slope(whole)
        return upstream * (growth + slope - rest_slope(a)), upstream * (tf.math.log(whole) + slope)

    return value, gradient


def log_beta_binomial(mean: Tensor, concentration: Tensor, clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the beta-binomial probability of `clicks` among `impressions`, the binomial coefficient included.

    Arguments broadcast. Absolute error in float32 below 1e-4 nats for counts and concentrations up to 1e6 near the distribution's
    bulk, relative error 1e-5 in its tails. Differentiable in mean and concentration, also in float32 at large concentrations.

    Args:
      mean: of the beta prior, in (0, 1).
      concentration: of the beta prior, > 0.
      clicks: at most `impressions`.
      impressions: 0 or more.

    >>> round(float(tf.exp(log_beta_binomial(tf.constant(0.5), 2.0, 3.0, 9.0))), 4)   # uniform prior: 1 / 10
    0.1
    """
    mean, concentration, clicks, impressions = _alike(mean, concentration, clicks, impressions)
    return _log_binomial_rest(clicks, impressions) + _log_beta_binomial(mean, concentration, clicks, impressions)


def log_binomial(rate: Tensor, clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the binomial probability of `clicks` among `impressions`: the beta-binomial's limit at infinite concentration.

    Arguments broadcast. Differentiable in the rate.

    Args:
      rate: in (0, 1).
      clicks: at most `impressions`.
      impressions: 0 or more.

    >>> round(float(tf.exp(log_binomial(tf.constant(0.5), 1.0, 2.0))), 4)
    0.5
    """
    rate, clicks, impressions = _alike(rate, clicks, impressions)
    return _log_binomial_rest(clicks, impressions) + _log_binomial(rate, clicks, impressions)


@tf.custom_gradient
def _log_binomial(rate: Tensor, clicks: Tensor, impressions: Tensor) -> tuple[Tensor, Callable[..., tuple[Tensor, None, None]]]:
    """- r KL(c / r || rate), all arguments of one shape."""
    misses, miss_rate = impressions - clicks, 1.0 - rate
    excess = clicks - impressions * rate
    above, size, sign = excess > 0.0, tf.abs(excess), tf.sign(excess)
    log_c = tf.math.log1p(size / tf.where(above, impressions * rate, tf.where(clicks > 0.0, clicks, 1.0)))
    log_d = tf.math.log1p(size / tf.where(above, tf.where(misses > 0.0, misses, 1.0), tf.maximum(impressions, 1.0) * miss_rate))

    def gradient(upstream: Tensor) -> tuple[Tensor, None, None]:
        return upstream * (clicks / rate - misses / miss_rate), None, None

    return sign * (misses * log_d - clicks * log_c), gradient


def _log_binomial_rest(clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the binomial coefficient less its entropy part r log r - c log c - d log d: only data."""
    return tf.stop_gradient(_factorial_rest(impressions) - _factorial_rest(clicks) - _factorial_rest(impressions - clicks))


@tf.custom_gradient
def _log_beta_binomial(mean: Tensor, concentration: Tensor, clicks: Tensor, impressions: Tensor) -> tuple[Tensor, Callable[..., tuple[Tensor, Tensor, None, None]]]:
    """- J + v(a + c) - v(a) + v(b + d) - v(b) - v(n + r) + v(n), all arguments of one shape."""
    misses, miss_mean = impressions - clicks, 1.0 - mean
    a, b, whole = concentration * mean, concentration * miss_mean, concentration + impressions
    a_post, b_post = a + clicks, b + misses
    excess = clicks - impressions * mean
    above, size, sign = excess > 0.0, tf.abs(excess), tf.sign(excess)
    # Each log of a ratio as log1p of something >= 0, so that neither small nor large disagreement loses digits.
    log_a = tf.math.log1p(size / tf.where(above, whole * mean, a_post))
    log_b = tf.math.log1p(size / tf.where(above, b_post, whole * miss_mean))
    scaled = concentration * size
    log_c = tf.math.log1p(scaled / tf.where(above, impressions * a_post, whole * tf.where(clicks > 0.0, clicks, 1.0)))
    log_d = tf.math.log1p(scaled / tf.where(above, whole * tf.where(misses > 0.0, misses, 1.0), tf.maximum(impressions, 1.0) * b_post))
    disagreement = sign * (clicks * log_c - a * log_a - misses * log_d + b * log_b)
    value = rest(a_post) - rest(a) + rest(b_post) - rest(b) - rest(whole) + rest(concentration) - disagreement

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_a = sign * log_a + rest_slope(a_post) - rest_slope(a)
        by_b = -sign * log_b + rest_slope(b_post) - rest_slope(b)
        by_whole = rest_slope(whole) - rest_slope(concentration)
        return upstream * concentration * (by_a - by_b), upstream * (mean * by_a + miss_mean * by_b - by_whole), None, None

    return value, gradient


def rest(x: Tensor) -> Tensor:
    """lgamma(x) - x log x + x for x > 0: below 4 by way of x + 4, then Stirling's series."""
    small = x < 4.0
    z = tf.where(small, x + 4.0, x)
    y = x * (x + 3.0)
    rising = tf.where(small, y * (y + 2.0), 1.0)  # x (x + 1) (x + 2) (x + 3)
    log_z = tf.math.log(z)
    shift = tf.where(small, x * tf.math.log(z / x) + 4.0 * log_z - 4.0 - tf.math.log(rising), 0.0)
    return shift - 0.5 * log_z + _HALF_LOG_2_PI + _odd_series(1.0 / z, _SERIES)


def rest_slope(x: Tensor) -> Tensor:
    """digamma(x) - log x for x > 0, the derivative of `rest`."""
    small = x < 4.0
    z = tf.where(small, x + 4.0, x)
    y = x * (x + 3.0)
    shift = tf.where(small, tf.math.log(z / x) - 2.0 * (y + 1.0) * (2.0 * x + 3.0) / tf.where(small, y * (y + 2.0), 1.0), 0.0)
    inverse = 1.0 / z
    return shift - 0.5 * inverse + inverse * _odd_series(inverse, _SLOPES)


def _factorial_rest(x: Tensor) -> Tensor:
    """lgamma(x + 1) - x log x + x, 0 at 0."""
    positive = tf.where(x > 0.0, x, 1.0)
    return tf.where(x > 0.0, rest(positive) + tf.math.log(positive), 0.0)


def _odd_series(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Sum of coefficients[i] x^(2i + 1)."""
    square, total = x * x, coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return total * x


def _alike(*values: Tensor) -> list[Tensor]:
    """The values as tensors of one type and one shape; the type is that of the first tensor among them."""
    dtype = next((v.dtype for v in values if tf.is_tensor(v) and v.dtype.is_floating), tf.float32)
    tensors = [tf.cast(v, dtype) for v in values]
    shape = tf.shape(tensors[0])
    for tensor in tensors[1:]:
        shape = tf.broadcast_dynamic_shape(shape, tf.shape(tensor))
    return [tf.broadcast_to(t, shape) for t in tensors]
