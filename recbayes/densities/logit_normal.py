"""One logit-normal and the counts that it has seen: its peak, mass, moments and distribution function.

The logit is x = l + d, where l is where the density peaks, and

    log density(d) = - d^2 / (2 s^2) - r B(d; p) + constant,   B(d; p) = log(1 + p (e^d - 1)) - p d

Binomial counts tilt a normal so: r is their impressions, p the click rate at the peak; the clicks are in l. With r = 0 it is the normal.
Counts that were seen about two different peaks (before and after a shift) add up to one r and p with the same slope, curvature and third
derivative at the peak; about the same peak that is exact.

Integrals are adaptive Gauss-Hermite of `NODES` nodes about the peak, scaled by the curvature there. For s up to 1.5 and any counts up to
1e6 impressions the error of a log probability is below 1e-5, relatively or absolutely where that is more (4e-7 for s up to 1; in
float32 1e-4, 1e-3 where every impression is a click), that of a standard deviation below 1e-4 of it (2e-3 for s above 1).

The normal score of d is r* = w + log(v / w) / w, w the signed root of twice the log density's fall from its peak and v its slope over
the root of the curvature. As a share it is off by less than 6e-5 for s up to .3, 5e-4 up to .6, 2e-3 up to 1, 5e-3 up to 1.5, worst
without clicks; without counts it is exact.

Source: Liu and Pierce 1994, A note on Gauss-Hermite quadrature; r*: Barndorff-Nielsen 1986; DiCiccio and Martin 1991.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.densities.special import log_binomial
from recbayes.types import Array, Tensor

NODES = {tf.float32: 11, tf.float64: 17}
"""As many as each type of number deserves."""
_STEPS = 20
_CLOSE = 1e-4
"""Of a standard deviation: a step so short ends the search of the peak, whose next one would be its cube."""
_FAR = 60.0
"""Logits beyond any peak."""


class Tilted(NamedTuple):
    """A normal of the logit tilted by counts, all of one shape.

    logits: where it peaks, l; scales: s > 0; impressions: r >= 0; rates: p in (0, 1).
    """

    logits: Tensor
    scales: Tensor
    impressions: Tensor
    rates: Tensor


class Peak(NamedTuple):
    """Where a tilted normal peaks once more counts are seen.

    moved: from the old peak; slope: what is left of it there; impressions, rates: of all counts; curvature: minus the second
    derivative; share: of the old counts in the curvature that is not the normal's.
    """

    moved: Tensor
    slope: Tensor
    impressions: Tensor
    rates: Tensor
    curvature: Tensor
    share: Tensor


class _Search(NamedTuple):
    """Where the search of a peak stands: the bracket about it, the last two steps' lengths, the longest in standard deviations."""

    steps: Tensor
    moved: Tensor
    low: Tensor
    high: Tensor
    length: Tensor
    length_before: Tensor
    longest: Tensor


def log_marginal(tilted: Tilted, clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the probability of the counts times the mass (see `log_mass`) of the tilted normal, of the broadcast shape.

    The binomial coefficient is included. Differentiable in logits and scales; what was seen before is a constant to the gradient.

    >>> one = Tilted(*(tf.constant(x, tf.float64) for x in (-4.0, 0.3, 0.0, 0.5)))
    >>> round(float(tf.exp(log_marginal(one, tf.constant(2.0, tf.float64), tf.constant(100.0, tf.float64)))), 4)
    0.2511
    """
    shape = tf.zeros_like(tilted.logits + clicks + impressions)
    leaves = [leaf + shape for leaf in (*tilted, clicks, impressions)]
    return _log_marginal(*leaves)


@tf.custom_gradient
def _log_marginal(
    logits: Tensor, scales: Tensor, seen: Tensor, rates: Tensor, clicks: Tensor, impressions: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor | None, ...]]]:
    before = Tilted(logits, scales, seen, rates)
    peak = find_peak(before, clicks, impressions)
    mass, first, second = _masses(scales, peak)
    moved, precision = peak.moved, 1.0 / tf.square(scales)
    fall = 0.5 * tf.square(moved) * precision + seen * bend(moved, rates)
    value = log_binomial(tf.sigmoid(logits + moved), clicks, impressions) - fall + tf.math.log(mass)

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        mean, square = first / mass, second / mass
        by_logit = (moved + (1.0 - peak.share) * mean) * precision + seen * (_rate_at(moved, rates) - rates)
        by_scale = (tf.square(moved) + 2.0 * moved * mean + square - tf.square(scales)) * precision / scales
        return upstream * by_logit, upstream * by_scale, None, None, None, None

    return value, gradient


def find_peak(tilted: Tilted, clicks: Tensor, impressions: Tensor) -> Peak:
    """Halley's method between the old peak and the observed rate, by halves where it is slow; nothing here has a gradient."""
    logits, scales, seen, rates, clicks, impressions = (tf.stop_gradient(x) for x in (*tilted, clicks, impressions))
    precision, own = 1.0 / tf.square(scales), tf.math.log(rates / (1.0 - rates))
    misses = impressions - clicks
    observed = tf.math.log((clicks + 0.5) / (misses + 0.5)) - logits
    weight = impressions * (clicks + 0.5) * (misses + 0.5) / tf.square(impressions + 1.0)
    start = weight * observed / (precision + seen * rates * (1.0 - rates) + weight)
    ends = tf.where(clicks > 0.0, tf.where(misses > 0.0, tf.math.log(tf.maximum(clicks, 0.5) / tf.maximum(misses, 0.5)), _FAR), -_FAR)
    ends = ends - logits

    def slopes(moved: Tensor) -> tuple[Tensor, ...]:
        here, old = tf.sigmoid(logits + moved), tf.sigmoid(own + moved)
        new_part, old_part = impressions * here * (1.0 - here), seen * old * (1.0 - old)
        slope = clicks - impressions * here - moved * precision - seen * (old - rates)
        return slope, new_part, old_part, here, old

    def step(at: _Search) -> tuple[_Search]:
        slope, new_part, old_part, here, old = slopes(at.moved)
        curvature = precision + new_part + old_part
        low, high = tf.where(slope > 0.0, at.moved, at.low), tf.where(slope > 0.0, at.high, at.moved)
        third = new_part * (1.0 - 2.0 * here) + old_part * (1.0 - 2.0 * old)
        by = slope / (curvature * tf.maximum(1.0 + 0.5 * slope * third / tf.square(curvature), 0.5))
        inside = (at.moved + by >= low) & (at.moved + by <= high)
        close = tf.abs(by) * tf.sqrt(curvature) < _CLOSE
        after = tf.where(close | (inside & (tf.abs(by) < 0.5 * at.length_before)), at.moved + by, 0.5 * (low + high))
        length = tf.abs(after - at.moved)
        return (_Search(at.steps + 1, after, low, high, length, at.length, tf.reduce_max(length * tf.sqrt(curvature))),)

    wide = tf.fill(tf.shape(start), tf.constant(np.inf, start.dtype))
    first = _Search(tf.constant(0), start, tf.minimum(ends, 0.0), tf.maximum(ends, 0.0), wide, wide, tf.constant(1.0, start.dtype))
    (last,) = tf.while_loop(lambda at: (at.steps < _STEPS) & (at.longest > _CLOSE), step, (first,))
    moved = last.moved
    slope, new_part, old_part, here, old = slopes(moved)
    both = new_part + old_part
    share = tf.math.divide_no_nan(old_part, both)
    rate = here + share * (old - here)
    return Peak(moved, slope, both / (rate * (1.0 - rate)), rate, precision + both, share)


def log_mass(scales: Tensor, peak: Peak) -> Tensor:
    """Log of the integral of a normal's density with the tilt, 0 without counts: E[exp(- r B(d; p))], d ~ N(0, s^2)."""
    return tf.math.log(_masses(scales, peak)[0])


def moments(tilted: Tilted) -> tuple[Tensor, Tensor]:
    """Mean and variance of the click rate."""
    middle = tf.sigmoid(tilted.logits)
    apart = middle * (1.0 - middle)
    mass, first, second = 0.0, 0.0, 0.0
    for d, weight in zip(*(tf.unstack(x) for x in _nodes(_settled(tilted))), strict=True):  # a node at a time: the rates may be many
        grown = tf.math.expm1(d)
        off = apart * grown / (1.0 + middle * grown)
        mass, first, second = mass + weight, first + weight * off, second + weight * tf.square(off)
    first, second = first / mass, second / mass
    return middle + first, tf.maximum(second - tf.square(first), 0.0)


def score(tilted: Tilted) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The function d -> the normal score of l + d, and its slope but for a correction."""
    precision = 1.0 / tf.square(tilted.scales)
    spread = tilted.impressions * tilted.rates * (1.0 - tilted.rates)
    root = tf.sqrt(precision + spread)
    skew = spread * (1.0 - 2.0 * tilted.rates) / (3.0 * root**3)

    def scored(d: Tensor) -> tuple[Tensor, Tensor]:
        fall = tf.square(d) * precision + 2.0 * tilted.impressions * bend(d, tilted.rates)
        w = tf.sign(d) * tf.sqrt(tf.maximum(fall, 0.0))
        v = (d * precision + tilted.impressions * (_rate_at(d, tilted.rates) - tilted.rates)) / root
        near = tf.abs(w) < 0.02
        ratio = tf.where(near, 1.0, v / tf.where(near, 1.0, w))
        return w + tf.where(near, skew, tf.math.log(ratio) / tf.where(near, 1.0, w)), root * ratio

    return scored


def unscore(tilted: Tilted, z: Tensor) -> Tensor:
    """The logit whose normal score is z: eight steps of Newton's method."""
    scored, deviation = score(tilted), deviations(tilted)
    d = z * deviation
    for _ in range(8):
        at, slope = scored(d)
        d += tf.clip_by_value((z - at) / slope, -8.0 * tilted.scales, 8.0 * tilted.scales)
    return tilted.logits + d


def deviations(tilted: Tilted) -> Tensor:
    """Standard deviation of the logit by the curvature at the peak."""
    return tf.math.rsqrt(1.0 / tf.square(tilted.scales) + tilted.impressions * tilted.rates * (1.0 - tilted.rates))


def bend(d: Tensor, rates: Tensor) -> Tensor:
    """B(d; p) = log(1 + p (e^d - 1)) - p d, by its series where that is small beside its parts."""
    limit, variance = 0.3 if d.dtype == tf.float32 else 0.03, rates * (1.0 - rates)
    near = tf.where(tf.abs(d) < limit, d, 0.0)
    odd = 1.0 - 2.0 * rates
    tail = odd * (1.0 - 12.0 * variance) / 120.0 + near * (1.0 - variance * (30.0 - 120.0 * variance)) / 720.0
    series = variance * tf.square(near) * (0.5 + near * (odd / 6.0 + near * ((1.0 - 6.0 * variance) / 24.0 + near * tail)))
    return tf.where(tf.abs(d) < limit, series, _bend(d, rates))


def _bend(d: Tensor, rates: Tensor) -> Tensor:
    """The same without the series: an absolute error of a rounding of p d."""
    return tf.math.log1p(rates * tf.math.expm1(d)) - rates * d


def _rate_at(d: Tensor, rates: Tensor) -> Tensor:
    """The rate whose logit is d higher."""
    grown = tf.math.expm1(d)
    return rates + rates * (1.0 - rates) * grown / (1.0 + rates * grown)


def _masses(scales: Tensor, peak: Peak) -> tuple[Tensor, Tensor, Tensor]:
    """E[f], E[f d], E[f d^2] with f = exp(slope d - r B(d; p)) and d ~ N(0, s^2)."""
    d, weights = _nodes(peak)
    narrower, once = tf.math.rsqrt(peak.curvature) / scales, weights * d
    return tf.reduce_sum(weights, 0) * narrower, tf.reduce_sum(once, 0) * narrower, tf.reduce_sum(once * d, 0) * narrower


def _nodes(peak: Peak) -> tuple[Tensor, Tensor]:
    """Nodes d and their weights, the tilt's fall beyond its curvature counted in, each [Q, ...]."""
    deviation, half = tf.math.rsqrt(peak.curvature), 0.5 * peak.rates * (1.0 - peak.rates)
    t, log_weights = (tf.reshape(tf.constant(x, deviation.dtype), [-1, *[1] * len(deviation.shape)]) for x in _rule(deviation.dtype))
    d = t * deviation
    return d, tf.exp(peak.slope * d - peak.impressions * (_bend(d, peak.rates) - half * tf.square(d)) + log_weights)


def _rule(dtype: tf.DType) -> tuple[Array, Array]:
    """Gauss-Hermite nodes of a standard normal, and the logs of their weights."""
    t, weights = np.polynomial.hermite_e.hermegauss(NODES[dtype])
    return t, np.log(weights / weights.sum())


def _settled(tilted: Tilted) -> Peak:
    """A tilted normal's own peak."""
    curvature = 1.0 / tf.square(tilted.scales) + tilted.impressions * tilted.rates * (1.0 - tilted.rates)
    nothing = tf.zeros_like(curvature)
    return Peak(nothing, nothing, tilted.impressions, tilted.rates, curvature, nothing)
