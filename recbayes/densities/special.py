"""Gamma-function differences that stay exact in float32.

A beta-binomial's log probability is a difference of numbers of the size r log r, of which nearly all cancels. Here what cancels is
left out before anything is rounded. With mean m, concentration n, a = n m + 3, b = n (1 - m) + 3, d = r - c, A = a + c, B = b + d,
(x)_3 = x (x + 1) (x + 2) and Stirling's lgamma(z) = (z - 1/2) log z - z + log(2 pi) / 2 + s(z), good from z = 3 on,

    log P(c) = - J + s(A) - s(a) + s(B) - s(b) + log [a b / (A B)] / 2
               + log [(a - 3)_3 (b - 3)_3 / ((A - 3)_3 (B - 3)_3)] + terms in n, r and c
    J = r KL(c / r || p) + (a + b) KL(a / (a + b) || p),   p = A / (A + B)

J is what the observed rate and the prior's mean disagree by, written in log1p of e = c - r a / (a + b). As p minimises J, the
gradient of J is that at a fixed p: log(a / (a + b)) - log p in a, and likewise in b.

Source: the binomial case is Loader 2000, Fast and accurate computation of binomial probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from recbayes.elementwise import elementwise
from recbayes.types import Tensor

_Gradient = Callable[..., tuple[Tensor | None, ...]]
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_SLOPES = tuple((2 * i + 1) * c for i, c in enumerate(_SERIES))
_SHIFT = 3.0
"""Gamma(x) is taken at x + 3, where Stirling's series is good however small x, and divided by x (x + 1) (x + 2)."""


def log_gamma_ratio(a: Tensor, c: Tensor) -> Tensor:
    """The difference log Gamma(a + c) - log Gamma(a), for a > 0 and c >= 0 that broadcast.

    Error in float32: 1e-6 relatively, or absolutely where that is more. Of several such ratios little may be left: for those of a
    beta-binomial use `log_beta_binomial`. Gradient: the digamma function at a + c, less that at a in the first argument.

    >>> round(float(log_gamma_ratio(tf.constant(1e6), tf.constant(2.0))), 3)   # log(1e6 * 1000001)
    27.631
    """
    return _log_gamma_ratio(*_tensors(a, c))


@tf.custom_gradient
def _log_gamma_ratio(a: Tensor, c: Tensor) -> tuple[Tensor, _Gradient]:
    low, high = a + _SHIFT, a + c + _SHIFT
    growth = tf.math.log1p(c / low)  # log(high / low)
    log_high = tf.math.log(high)
    value = (low - 0.5) * growth + c * log_high - c + (stirling(high) - stirling(low)) + tf.math.log(_rising(a) / _rising(a + c))

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        top = _slope(high, a + c, _rising(a + c))
        return _sum_to(upstream * (growth + top - _slope(low, a, _rising(a))), a), _sum_to(upstream * (log_high + top), c)

    return value, gradient


def log_beta_binomial(mean: Tensor, concentration: Tensor, clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the beta-binomial probability of `clicks` among `impressions`, the binomial coefficient included.

    Arguments broadcast; what does not depend on the mean is computed before it is broadcast against it. Differentiable in mean and
    concentration.

    Args:
      mean: of the beta prior, in (0, 1).
      concentration: of the beta prior, > 0.
      clicks: at most `impressions`.
      impressions: 0 or more.

    Returns: log probabilities of the broadcast shape. For counts and concentrations up to 1e4 the error in float32 is 1e-5, relatively
    or absolutely where that is more, up to 1e6 it is 5e-5 (the mean's own rounding moves it as much); in float64 1e-8.

    >>> round(float(tf.exp(log_beta_binomial(tf.constant(0.5), 2.0, 3.0, 9.0))), 4)   # uniform prior: 1 / 10
    0.1
    """
    given = _tensors(mean, concentration, clicks, impressions)
    return elementwise(_log_beta_binomial, *given, inline=False)


def _log_beta_binomial(mean: Tensor, concentration: Tensor, clicks: Tensor, impressions: Tensor) -> Tensor:
    fixed = _log_binomial_rest(clicks, impressions) - _rising_rest(concentration, impressions)
    return fixed + _disagreement(mean, concentration, clicks, impressions)


@tf.custom_gradient
def _disagreement(mean: Tensor, concentration: Tensor, clicks: Tensor, impressions: Tensor) -> tuple[Tensor, _Gradient]:
    """The terms that depend on the mean."""
    misses, prior = impressions - clicks, concentration + 2.0 * _SHIFT
    whole = prior + impressions
    a, b = concentration * mean, concentration * (1.0 - mean)
    a_prior, b_prior = a + _SHIFT, b + _SHIFT
    a_post, b_post = a_prior + clicks, b_prior + misses
    excess = clicks - impressions * mean - (impressions * _SHIFT / prior) * (1.0 - 2.0 * mean)
    size, sign, growth = tf.abs(excess), tf.sign(excess), whole / prior
    # Each log of a ratio is log1p of something >= 0, so that neither small nor large disagreement loses digits; of the two
    # denominators that the sign of the excess chooses from, the right one is the smaller.
    log_a = tf.math.log1p(size / tf.minimum(a_post, growth * a_prior))
    log_b = tf.math.log1p(size / tf.minimum(b_post, growth * b_prior))
    scaled, shown = prior * size, tf.maximum(impressions, 1.0)
    log_c = tf.math.log1p(scaled / tf.minimum(shown * a_post, whole * _or_one(clicks)))
    log_d = tf.math.log1p(scaled / tf.minimum(shown * b_post, whole * _or_one(misses)))
    divergence = sign * (clicks * log_c - a_prior * log_a - misses * log_d + b_prior * log_b)
    low_a, low_b, high_a, high_b = _rising(a), _rising(b), _rising(a + clicks), _rising(b + misses)
    log_low = tf.math.log(low_a / high_a * tf.sqrt(a_prior / a_post)) + tf.math.log(low_b / high_b * tf.sqrt(b_prior / b_post))
    value = log_low - divergence + (stirling(a_post) - stirling(a_prior)) + (stirling(b_post) - stirling(b_prior))

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        by_a = sign * log_a + _slope(a_post, a + clicks, high_a) - _slope(a_prior, a, low_a)
        by_b = _slope(b_post, b + misses, high_b) - _slope(b_prior, b, low_b) - sign * log_b
        by_mean, by_concentration = upstream * concentration * (by_a - by_b), upstream * (by_b + mean * (by_a - by_b))
        return _sum_to(by_mean, mean), _sum_to(by_concentration, concentration), None, None

    return value, gradient


@tf.custom_gradient
def _rising_rest(concentration: Tensor, impressions: Tensor) -> tuple[Tensor, _Gradient]:
    """The log of Gamma(n + r) / Gamma(n) less its entropy part in the shifted arguments."""
    low, high = concentration, concentration + impressions
    low_z, high_z = low + 2.0 * _SHIFT, high + 2.0 * _SHIFT
    ratio = _rising(high) / _rising(low) * (_rising(high + _SHIFT) / _rising(low + _SHIFT))
    value = stirling(high_z) - stirling(low_z) - 0.5 * tf.math.log(high_z / low_z) - tf.math.log(ratio)

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        slopes = [_slope(x + 2 * _SHIFT, x, _rising(x)) - _logarithmic_slope(x + _SHIFT, _rising(x + _SHIFT)) for x in (high, low)]
        return _sum_to(upstream * (slopes[0] - slopes[1]), concentration), None

    return value, gradient


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
    rate, clicks, impressions = _tensors(rate, clicks, impressions)
    return _log_binomial_rest(clicks, impressions) + _log_binomial(rate, clicks, impressions)


@tf.custom_gradient
def _log_binomial(rate: Tensor, clicks: Tensor, impressions: Tensor) -> tuple[Tensor, _Gradient]:
    """- r KL(c / r || rate)."""
    misses, miss_rate = impressions - clicks, 1.0 - rate
    excess = clicks - impressions * rate
    size, shown = tf.abs(excess), tf.maximum(impressions, 1.0)
    log_c = tf.math.log1p(size / tf.minimum(shown * rate, _or_one(clicks)))
    log_d = tf.math.log1p(size / tf.minimum(shown * miss_rate, _or_one(misses)))

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return _sum_to(upstream * excess / (rate * miss_rate), rate), None, None

    return tf.sign(excess) * (misses * log_d - clicks * log_c), gradient


def _log_binomial_rest(clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the binomial coefficient less its entropy part r log r - c log c - d log d: only data."""
    return tf.stop_gradient(_factorial_rest(impressions) - _factorial_rest(clicks) - _factorial_rest(impressions - clicks))


def rest(x: Tensor) -> Tensor:
    """What is left of lgamma(x) beside x log x - x, for x > 0."""
    z = x + _SHIFT
    return x * tf.math.log1p(_SHIFT / x) + (_SHIFT - 0.5) * tf.math.log(z) - _SHIFT + _HALF_LOG_2_PI + stirling(z) - tf.math.log(_rising(x))


def stirling(z: Tensor) -> Tensor:
    """What is left of lgamma(z) beside (z - 1/2) log z - z + log(2 pi) / 2, for z >= 3: to 2e-7 in float32, 5e-9 in float64."""
    inverse = 1.0 / z
    return inverse * _polynomial(inverse * inverse, _SERIES[: _terms(z)])


def _slope(z: Tensor, x: Tensor, rising: Tensor) -> Tensor:
    """Derivative of stirling(z) - log(z) / 2 - log(rising) with z = x plus a shift and rising = x (x + 1) (x + 2)."""
    inverse = 1.0 / z
    return -inverse * (0.5 + inverse * _polynomial(inverse * inverse, _SLOPES[: _terms(z)])) - _logarithmic_slope(x, rising)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """The sum of coefficients[i] x^i."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def _terms(z: Tensor) -> int:
    """How many terms of Stirling's series a type of number deserves."""
    return 4 if z.dtype == tf.float32 else len(_SERIES)


def _rising(x: Tensor) -> Tensor:
    """The product x (x + 1) (x + 2)."""
    return x * (x * (x + 3.0) + 2.0)


def _logarithmic_slope(x: Tensor, rising: Tensor) -> Tensor:
    """Derivative of log(x (x + 1) (x + 2))."""
    return (3.0 * x * (x + 2.0) + 2.0) / rising


def _factorial_rest(x: Tensor) -> Tensor:
    """lgamma(x + 1) - x log x + x, 0 at 0."""
    positive = _or_one(x)
    return tf.where(x > 0.0, rest(positive) + tf.math.log(positive), 0.0)


def _or_one(x: Tensor) -> Tensor:
    """Ones in the place of zeros."""
    return tf.where(x > 0.0, x, 1.0)


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sums over the axes along which `like` was broadcast to the shape of the values."""
    if values.shape.is_fully_defined() and values.shape == like.shape:
        return values
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(like), s1=tf.shape(values))
    return tf.reshape(tf.reduce_sum(values, axes), tf.shape(like))


def _tensors(*values: Tensor) -> list[Tensor]:
    """The values as tensors of one type: that of the first floating tensor among them."""
    dtype = next((v.dtype for v in values if tf.is_tensor(v) and v.dtype.is_floating), tf.float32)
    return [tf.cast(v, dtype) for v in values]
