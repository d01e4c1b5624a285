"""Quantiles of served click rates without a search through every draw.

A row's law is a mixture of betas over nodes, components and perhaps draws. Its distribution function is a sum of normal ones: the cube
root of a gamma over its mean is about normal (Wilson and Hilferty), so with r = (odds b / a)^(1/3), v = 1 / (9 a), w = 1 / (9 b)

    P(beta(a, b) <= p) = Phi((r (1 - w) - (1 - v)) / sqrt(v + w r^2)),  Phi(x) = 1/2 + 1/2 tanh(sqrt(2 / pi) (x + .044715 x^3))

From the quantile of a normal logit with the law's mean and variance, secant steps on the normal score of the level, which is nearly a line
in the logit, end at the law's quantile. `settled` says where that went well, `smooth` is False where betas of a shape under
`SHAPE` hold more than `FEW` of the law, or as much lies in betas too narrow to run together with those of the next node. There the caller
looks closer.

Error of Phi: 3e-4 of the level, .003 of a standard deviation at 5% and 95%. Error where settled and smooth: below .05 standard deviations
(tests; on the quickstart's model .002).

Source: Paulson 1942, An approximate normalization of the analysis of variance distribution; Abramowitz and Stegun 26.2.49; Page 1977,
Approximations to the cumulative normal function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
from scipy.special import ndtri

from recbayes.types import Tensor

SHAPE, APART, FEW = 1.0, 3.0, 0.02
"""Least shape of a beta; how many of a beta's standard deviations the nodes may lie apart; share of the law that may be otherwise."""
SETTLED = 0.1
"""The largest last step, in the logit's standard deviations: the error left is that of a secant step, some tenth of it."""
CLOSE = 0.03
"""Standard deviations to each side of an end between which a verified level lies."""
STRAIGHT = (0.5, 2.0)
"""Slopes of the normal score, in those of one normal law, between which it is near a line: between two humps of a law it is not."""
SLOPE, CUBIC = math.sqrt(2.0 / math.pi), 0.044715
"""Of the tanh that stands for the normal distribution."""


class Law(NamedTuple):
    """Mixtures of J betas: shares, sum 1 over J; the shapes a and b; each [J, N]. Mean and variance of the whole, [N]."""

    shares: Tensor
    a: Tensor
    b: Tensor
    mean: Tensor
    variance: Tensor


def quantiles(law: Law, levels: Sequence[float], *, steps: int = 2, verified: bool = False) -> tuple[tuple[Tensor, ...], Tensor]:
    """Click rates below which shares of the law lie, [N] each, and where all of them have settled, bool [N].

    verified: settled is where `CLOSE` standard deviations below and above the normal score is under and over the level, whatever the law's
    humps; else where the steps ended as they do on a law of one hump, for half the work.

    >>> one = Law(tf.ones([1, 1]), tf.fill([1, 1], 10.0), tf.fill([1, 1], 40.0), tf.constant([0.2]), tf.constant([0.16 / 51.0]))
    >>> (high,), settled = quantiles(one, [0.95])
    >>> bool(abs(high[0] - 0.2995) < 1e-3), bool(settled[0])   # scipy: beta(10, 40).ppf(0.95) = 0.2995
    (True, True)
    """
    v, w = 1.0 / (9.0 * law.a), 1.0 / (9.0 * law.b)
    root, above, below = tf.exp(tf.math.log(law.b / law.a) * (1.0 / 3.0)), 1.0 - w, 1.0 - v
    spread = law.mean * (1.0 - law.mean)
    stddev = tf.sqrt(tf.math.log1p(law.variance / tf.square(spread)))  # of a normal logit with these moments
    middle = tf.math.log(law.mean / (1.0 - law.mean)) - tf.square(stddev) * (0.5 - law.mean)

    def score(logit: Tensor) -> Tensor:
        """Normal score of the law's share below, [N]."""
        r = root * tf.exp(logit * (1.0 / 3.0))
        z = (r * above - below) * tf.math.rsqrt(v + w * (r * r))
        whole = tf.reduce_sum(law.shares * tf.tanh(z * (z * z * (CUBIC * SLOPE) + SLOPE)), 0)
        return tf.math.ndtri(tf.clip_by_value(0.5 + 0.5 * whole, 1e-4, 1.0 - 1e-4))

    def quantile(level: float) -> tuple[Tensor, Tensor]:
        wanted = float(ndtri(level))
        logit, rise, even = middle + stddev * wanted, 1.0 / stddev, tf.ones_like(middle, tf.bool)
        here = score(logit)
        for step in range(steps):
            move = tf.clip_by_value((wanted - here) / rise, -1.5 * stddev, 1.5 * stddev)
            logit += move
            if step < steps - 1:
                before, here = here, score(logit)
                secant, far = (here - before) / move * stddev, tf.abs(move) > 1e-2 * stddev
                even = ~far | ((secant > STRAIGHT[0]) & (secant < STRAIGHT[1]))
                rise = tf.where(far, tf.clip_by_value(secant, *STRAIGHT) / stddev, rise)
        end = tf.sigmoid(logit)
        return end, held(end, wanted) if verified else even & (tf.abs(move) <= SETTLED * stddev)

    def held(end: Tensor, wanted: float) -> Tensor:
        """Whether the level lies close by."""
        reach = CLOSE * tf.sqrt(law.variance)
        low, high = tf.maximum(end - reach, 0.01 * end), tf.minimum(end + reach, 0.99 + 0.01 * end)
        return (score(tf.math.log(low / (1.0 - low))) < wanted) & (score(tf.math.log(high / (1.0 - high))) > wanted)

    ends, near = zip(*(quantile(level) for level in levels), strict=True) if levels else ((), ())
    return ends, tf.reduce_all(tf.stack([tf.ones_like(law.mean, tf.bool), *near]), 0)


def smooth(law: Law, spacing: Tensor) -> Tensor:
    """Whether normal scores tell the law, bool [N]; spacing: of the nodes on the logit, [N].

    >>> one = Law(tf.ones([1, 2]), tf.constant([[0.5, 10.0]]), tf.fill([1, 2], 40.0), tf.zeros([2]), tf.zeros([2]))
    >>> smooth(one, tf.zeros([2])).numpy().tolist()
    [False, True]
    """
    narrow = tf.square(spacing) * (1.0 / APART**2) > 1.0 / law.a + 1.0 / law.b  # which a beta's variance on the logit exceeds a little
    rough = (tf.minimum(law.a, law.b) < SHAPE) | narrow
    return tf.reduce_sum(tf.where(rough, law.shares, 0.0), 0) <= FEW
