"""Quantiles of mixtures whose distribution function is at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from recbayes.types import Tensor

_STEPS = 60
_CLOSE = 1e-4
"""Of a normal score: a step ends the search there, which is 1e-5 in probability at 5%."""
_NARROW = 1e-5
"""Of a bracket on the logit: narrower ones end the search too, so that a jump of the distribution function does."""


class _Search(NamedTuple):
    """Where each search stands, on the logit: the next point, its bracket, the last point and its score, the last two steps."""

    step: Tensor
    x: Tensor
    low: Tensor
    high: Tensor
    last_x: Tensor
    last_score: Tensor
    moved: Tensor
    moved_before: Tensor
    done: Tensor


def invert(cdf: Callable[[Tensor], Tensor], q: float, low: Tensor, high: Tensor, scale: Tensor, start: Tensor) -> Tensor:
    """The click rate x with cdf(x) = q.

    Secant steps on logit x against the normal score of the cdf, which are nearly a straight line for a unimodal distribution; where a
    step leaves the bracket or steps don't halve, the bracket is halved instead (Brent 1973). It ends when all have arrived, or after
    60 evaluations.

    Args:
      cdf: click rates [...] -> [...], rising.
      q: in (0, 1).
      low: logit below the answer, [...].
      high: logit above the answer, [...].
      scale: standard deviation on the logit, roughly, [...].
      start: first guess of the answer's logit, [...].
    """
    wanted = tf.math.ndtri(tf.constant(q, start.dtype))

    def advance(at: _Search) -> tuple[_Search]:
        share = cdf(tf.sigmoid(at.x))
        score = tf.math.ndtri(tf.clip_by_value(share, 1e-6, 1.0 - 1e-6)) - wanted
        low, high = tf.where(share < q, at.x, at.low), tf.where(share < q, at.high, at.x)
        apart = at.x - at.last_x
        slope = (score - at.last_score) / tf.where(apart == 0.0, tf.ones_like(apart), apart)
        usable = (apart != 0.0) & (slope * scale > 1e-3)
        secant = at.x - score / tf.where(usable, slope, 1.0 / scale)
        taken = (secant > low) & (secant < high) & (tf.abs(secant - at.x) < 0.5 * at.moved_before)
        done = at.done | (tf.abs(score) < _CLOSE) | (high - low < _NARROW)
        x = tf.where(done, at.x, tf.where(taken, secant, 0.5 * (low + high)))
        return (_Search(at.step + 1, x, low, high, at.x, score, tf.abs(x - at.x), at.moved, done),)

    x, low, high = tf.clip_by_value(start, low, high), low + tf.zeros_like(start), high + tf.zeros_like(start)
    wide = high - low
    first = _Search(tf.constant(0), x, low, high, x, tf.zeros_like(x), wide, 2.0 * wide, tf.zeros_like(x, tf.bool))
    (found,) = tf.while_loop(lambda at: (at.step < _STEPS) & ~tf.reduce_all(at.done), advance, (first,))
    return tf.sigmoid(found.x)


def check_share(q: float) -> None:
    """What every quantile asks of q.

    Raises: ValueError if q is not strictly between 0 and 1.
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"quantile: q is {q}, must be strictly between 0 and 1")
