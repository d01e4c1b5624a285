"""Quantiles of served click rates without a search through every draw.

A row's law is a mixture of betas over nodes, components and perhaps draws. Its distribution function is a sum of normal ones: the cube
root of a gamma over its mean is about normal (Wilson and Hilferty), so with r = (odds b / a)^(1/3), v = 1 / (9 a), w = 1 / (9 b)

    P(beta(a, b) <= p) = Phi((r (1 - w) - (1 - v)) / sqrt(v + w r^2)),  Phi(x) = 1/2 + 1/2 erf(x / sqrt(2))

From the quantile of a normal logit with the law's mean and variance, secant steps on the normal score of the level, which is nearly a line
in the logit, end at the law's quantile. `settled` says where that went well, `smooth` is False where betas of a shape under
`SHAPE` hold more than `FEW` of the law, or as much lies in betas too narrow to run together with those of the next node. There the caller
looks closer.

Error where settled and smooth, at 5% and 95%: below .05 standard deviations (tests; on the quickstart's model .002); at 99% below .1.

Source: Paulson 1942, An approximate normalization of the analysis of variance distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import ndtri

from recbayes.densities import BetaMixture
from recbayes.types import Tensor

SHAPE, APART, FEW = 0.7, 3.0, 0.02
"""Least shape of a beta; how many of a beta's standard deviations the nodes may lie apart; share of the law that may be otherwise."""
SETTLED = 0.1
"""The largest last step, in the logit's standard deviations: the error left is that of a secant step, some tenth of it."""
MORE = 2
"""Steps more where some row has not settled: skewed laws, whose quantiles lie far off a normal logit's."""
CLOSE = 0.03
"""Standard deviations to each side of an end between which a verified level lies."""
HALF = math.sqrt(0.5)
STRAIGHT = (0.5, 2.0)
"""Slopes of the normal score, in those of one normal law, between which it is near a line: between two humps of a law it is not."""


class Law(NamedTuple):
    """Mixtures of J betas.

    shares, sum 1 over J; roots, (b / a)^(1/3); v and w, variances of the cube roots; each [J, N], or [N, J] with axis -1, which is quicker
    where rows are few. Mean and variance of the whole, [N].
    """

    shares: Tensor
    roots: Tensor
    v: Tensor
    w: Tensor
    mean: Tensor
    variance: Tensor
    axis: int = -2

    @classmethod
    def of(cls, shares: Tensor, means: Tensor, sizes: Tensor, mean: Tensor, variance: Tensor, roots: Tensor | None = None) -> Law:
        """From the betas' means a / (a + b) and concentrations a + b, which broadcast against the shares; roots where they are known."""
        each = (1.0 / 9.0) / sizes
        return cls(shares, cube_roots(means) if roots is None else roots, each / means, each / (1.0 - means), mean, variance)

    def each(self, change: Callable[[Tensor], Tensor], **more: Any) -> Law:
        """The same with shares, roots, v and w changed."""
        return self._replace(**{name: change(getattr(self, name)) for name in ("shares", "roots", "v", "w")}, **more)

    def listed(self) -> Law:
        """All betas along the first axis: what is of each may have any shape whose last axis ends in that of the rows."""
        rows = tf.shape(self.mean)[0]
        return self.each(lambda values: tf.reshape(values, [-1, rows]))


def cube_roots(means: Tensor) -> Tensor:
    """Of the odds against a click, (1 - p) / p."""
    return tf.exp(tf.math.log((1.0 - means) / means) * (1.0 / 3.0))


def quantiles(law: Law, levels: Sequence[float], *, steps: int = 2, verified: bool = False) -> tuple[tuple[Tensor, ...], Tensor]:
    """Click rates below which shares of the law lie (at least one), [N] each, and where all of them have settled, bool [N].

    verified: settled is where `CLOSE` standard deviations below and above the normal score is under and over the level, whatever the law's
    humps; else where the steps ended as they do on a law of one hump, for half the work; rows whose steps did not go on and are verified.

    >>> one = Law.of(tf.ones([1, 1]), tf.fill([1, 1], 0.2), tf.fill([1, 1], 50.0), tf.constant([0.2]), tf.constant([0.16 / 51.0]))
    >>> (high,), settled = quantiles(one, [0.95])
    >>> bool(abs(high[0] - 0.2995) < 1e-3), bool(settled[0])   # scipy: beta(10, 40).ppf(0.95) = 0.2995
    (True, True)
    """
    v, w = law.v, law.w
    above, below = HALF - HALF * w, HALF - HALF * v  # of erf, whose argument is x / sqrt(2)
    spread = law.mean * (1.0 - law.mean)
    stddev = tf.sqrt(tf.math.log1p(law.variance / tf.square(spread)))  # of a normal logit with these moments
    middle = tf.math.log(law.mean / (1.0 - law.mean)) - tf.square(stddev) * (0.5 - law.mean)

    wanted = tf.constant(ndtri(np.asarray(levels, np.float64))[:, None], law.mean.dtype)  # [L, 1]

    def share(r: Tensor) -> Tensor:
        """Twice the law's share below, less 1, of cube roots of odds; [N]. For all levels at once broadcasts take twice as long."""
        r = tf.expand_dims(r, law.axis) * law.roots
        return tf.reduce_sum(law.shares * tf.math.erf((r * above - below) * tf.math.rsqrt(v + r * r * w)), law.axis)

    def score(logit: Tensor) -> Tensor:
        """Normal score of the law's share below, [L, N]."""
        whole = tf.stack([share(r) for r in tf.unstack(tf.exp(logit * (1.0 / 3.0)))])
        return tf.math.ndtri(tf.clip_by_value(0.5 + 0.5 * whole, 1e-4, 1.0 - 1e-4))

    def held(ends: Tensor) -> Tensor:
        """Whether the levels lie close by, [L, N]."""
        reach = CLOSE * tf.sqrt(law.variance)
        around = tf.maximum(ends - reach, 0.01 * ends), tf.minimum(ends + reach, 0.99 + 0.01 * ends)
        low, high = (score(tf.math.log(end / (1.0 - end))) for end in around)
        return (low < wanted) & (high > wanted)

    def towards(here: Tensor, rise: Tensor) -> Tensor:
        """From a score along its slope."""
        return tf.clip_by_value((wanted - here) / rise, -1.5 * stddev, 1.5 * stddev)

    def stepped(at: Step, steps: int) -> Step:
        """So many secant steps on."""
        for _ in range(steps):
            here = score(at.logit)  # [L, N]
            secant, far = (here - at.score) / at.move * stddev, tf.abs(at.move) > 1e-2 * stddev
            even = ~far | ((secant > STRAIGHT[0]) & (secant < STRAIGHT[1]))
            rise = tf.where(far, tf.clip_by_value(secant, *STRAIGHT) / stddev, at.rise)
            move = towards(here, rise)
            at = Step(at.logit + move, move, here, rise, even)
        return at

    def settled(at: Step) -> Tensor:
        return at.even & (tf.abs(at.move) <= SETTLED * stddev)

    start = middle + stddev * wanted
    here, rise = score(start), tf.ones_like(start) / stddev
    move = towards(here, rise)
    found = stepped(Step(start + move, move, here, rise, tf.ones_like(start, tf.bool)), steps - 1)

    def looked_at() -> tuple[Tensor, Tensor]:
        last = found.logit if verified else tf.where(near, found.logit, stepped(found, MORE).logit)  # whatever rows the call has beside
        return last, near | held(tf.sigmoid(last))

    near = tf.zeros_like(start, tf.bool) if verified else settled(found)
    logit, near = looked_at() if verified else tf.cond(tf.reduce_all(near), lambda: (found.logit, near), looked_at)
    return tuple(tf.unstack(tf.sigmoid(logit))), tf.reduce_all(near, 0)


class Step(NamedTuple):
    """Where secant steps have come, each [L, N]: the logit, the move that led there, score and slope before it, whether that was even."""

    logit: Tensor
    move: Tensor
    score: Tensor
    rise: Tensor
    even: Tensor


def smooth(law: Law, spacing: Tensor) -> Tensor:
    """Whether normal scores tell the law, bool [N]; spacing: of the nodes on the logit, [N].

    >>> one = Law.of(tf.ones([1, 2]), tf.constant([[0.01, 0.2]]), tf.fill([1, 2], 50.0), tf.zeros([2]), tf.zeros([2]))
    >>> smooth(one, tf.zeros([2])).numpy().tolist()
    [False, True]
    """
    least = tf.square(spacing) * (1.0 / (9.0 * APART**2))  # of v + w: a beta's variance on the logit is 9 of them, and a little
    rough = (law.v + law.w < tf.expand_dims(least, law.axis)) | (tf.maximum(law.v, law.w) > 1.0 / (9.0 * SHAPE))
    return tf.reduce_sum(tf.where(rough, law.shares, 0.0), law.axis) <= FEW


def searched(law: Law, levels: Sequence[float]) -> tuple[Tensor, ...]:
    """`quantiles` by the beta distribution function itself, [N] each: many times the work."""
    if law.axis == -1:
        law = law.each(tf.transpose)
    sizes = (1.0 / law.v + 1.0 / law.w) * (1.0 / 9.0)
    density = BetaMixture(tf.zeros_like(law.v)[..., None], (law.w / (law.v + law.w))[..., None], sizes[..., None])
    return tuple(density.mixture_quantile(level, tf.math.log(law.shares)) for level in levels)
