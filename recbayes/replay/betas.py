"""Exact beta draws, many of each: one normal through Paulson's quantile, then a rejection that makes it exact.

With Q the quantile of `policies.one_normal`, p = Q(z) of a normal z has the density phi(z) / Q'(z), and is accepted with probability

    f(Q(z)) Q'(z) / (phi(z) M),  M >= max over z of f(Q(z)) Q'(z) / phi(z)

for the beta's density f, both taken relative to z = 0. The maximum depends on the smaller shape k almost alone and is below
1 + .091 / k + .0355 / k^2 for k >= 1 (tests): at least 88 of 100 are accepted, 99 at k = 10. A rejected draw takes the next accepted one's
number. Shapes below 1 go by way of shape + 1: gamma(a) is gamma(a + 1) U^(1 / a).
"""

from __future__ import annotations

import tensorflow as tf

from recbayes import random
from recbayes.replay import numbers
from recbayes.types import Tensor

_NEXT = 8
"""How far a rejected draw looks for an accepted one; none is found in at most 4 of 1e9."""


def betas(seed: Tensor, n: int, a: Tensor, b: Tensor, *, boosted: bool = True) -> Tensor:
    """Draws n of each beta(a, b), [n, ...], for shapes [...].

    Each draw has the beta's law to float32's rounding. Two draws in a row may share a number, as often as one is rejected.

    Args:
      seed: int32 [2].
      n: draws of each.
      a: shape, > 0.
      b: shape, > 0.
      boosted: shapes may be below 1; leaving that out is faster.

    >>> draws = betas(tf.constant([0, 1]), 1000, tf.constant([2.0, 30.0]), tf.constant([3.0, 900.0]))
    >>> bool(abs(draws.numpy().mean(0) / [2 / 5, 30 / 930] - 1).max() < 0.03)
    True
    """
    draw, boost = tf.unstack(random.split(seed, 2))
    u, accept = numbers.uniforms(draw, [n, *a.shape])
    up, down = (tf.where(shape < 1.0, shape + 1.0, shape) if boosted else shape for shape in (a, b))
    odds = proposals(tf.math.ndtri(u), tf.math.log(accept), up, down)
    found = odds
    for further in range(1, min(_NEXT, n)):
        found = tf.where(found > 0.0, found, tf.roll(odds, -further, 0))
    if boosted:
        u, v = (tf.math.log(x) for x in numbers.uniforms(boost, [n, *a.shape]))
        found *= tf.exp(tf.where(a < 1.0, u / a, 0.0) - tf.where(b < 1.0, v / b, 0.0))
    return found / (1.0 + found)


def proposals(z: Tensor, log_u: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Odds p / (1 - p) for the proposals Q(z) that are accepted, 0 for the others.

    Args:
      z: standard normal, [n, ...].
      log_u: of uniform numbers, [n, ...].
      a: shape of the beta, at least 1, [...].
      b: shape of the beta, at least 1, [...].
    """
    log_odds, log_density = log_ratio(z, a, b)
    smaller = tf.minimum(a, b)
    bound = tf.math.log1p((0.091 + 0.0355 / smaller) / smaller)
    return tf.exp(tf.where(log_u + bound < log_density, log_odds, -float("inf")))


def log_ratio(z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Log of Q(z) / (1 - Q(z)), and log of f(Q(z)) Q'(z) / phi(z) over its value at 0; the latter -inf where Q is at an end."""
    v, w = 1.0 / (9.0 * a), 1.0 / (9.0 * b)  # as in policies.one_normal; x is the cube root of the ratio of gammas over their means
    one_v, one_w = 1.0 - v, 1.0 - w
    middle, square = one_v / one_w, z * z
    above, below = one_w * one_w - w * square, one_v * one_v - v * square
    inside = tf.where(z > 0.0, above, below) > 0.0
    above, below = tf.where(above > 0.0, above, 1.0), tf.where(below > 0.0, below, 1.0)
    sum_of_roots = one_v * one_w + tf.abs(z) * tf.sqrt(tf.where(inside, v * one_w * one_w + w * one_v * one_v - v * w * square, 1.0))
    x = tf.where(z > 0.0, sum_of_roots / above, below / sum_of_roots)
    rise = 3.0 * tf.math.log(x / middle)  # of the log odds above z = 0
    root = tf.sqrt(v + w * x * x)
    slope = root * root / (x * (one_w * root - z * w * x))
    slope_middle = tf.sqrt(v + w * middle * middle) / one_v
    odds_middle = a / b * middle * middle * middle
    share = odds_middle / (1.0 + odds_middle)
    density = a * rise - (a + b) * tf.math.log1p(share * tf.math.expm1(rise)) + tf.math.log(slope / slope_middle) + 0.5 * square
    return tf.math.log(odds_middle) + rise, tf.where(inside, density, -float("inf"))
