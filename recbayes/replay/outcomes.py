"""What the world answers: a batch's showings by arm, and the clicks they bring from what is left of each arm's real outcomes.

Both are in float64: in float32 the differences of log-gammas at counts of some thousands put the clicks 6% too high.
"""

from __future__ import annotations

import tensorflow as tf

from recbayes.elementwise import elementwise
from recbayes.random import threefry
from recbayes.types import Tensor

_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
_REACH = 9.0
"""Inversion starts this many standard deviations below the mean: 1e-17 of the probability lies before."""


def showings(probabilities: Tensor, batch: Tensor, u: Tensor) -> Tensor:
    """How often each arm is shown in a batch: systematic sampling, the exact expectation with the least noise.

    Args:
      probabilities: [..., A, G], sum 1 over A.
      batch: decisions of the batch, [..., G].
      u: uniform in (0, 1), float64 [..., G].

    Returns: float64 [..., A, G]: whole numbers that sum to the batch, each within 1 of batch x probability; 0 where it is 0.

    >>> showings(tf.constant([[0.5], [0.0], [0.5]]), tf.constant([4.0]), tf.constant([0.3], tf.float64)).numpy()[:, 0].tolist()
    [2.0, 0.0, 2.0]
    """
    below = tf.cumsum(tf.cast(probabilities, tf.float64), -2)
    share = below / tf.maximum(below[..., -1:, :], 1e-300)
    counted = tf.floor(tf.cast(batch, tf.float64)[..., None, :] * share + u[..., None, :])
    return counted - tf.concat([tf.zeros_like(counted[..., :1, :]), counted[..., :-1, :]], -2)


def clicks(u: Tensor, shown: Tensor, clicks_left: Tensor, impressions_left: Tensor) -> Tensor:
    """Clicks of `shown` showings without replacement from what an arm has left: hypergeometric, by inversion.

    Args:
      u: uniform in (0, 1), float64 [...].
      shown: at most impressions_left, float64 [...].
      clicks_left: at most impressions_left, float64 [...].
      impressions_left: float64 [...].

    Returns: float64 [...], whole numbers. More u, more clicks.

    >>> left = [tf.constant([x], tf.float64) for x in (0.5, 3.0, 2.0, 3.0)]     # all three that are left are shown
    >>> clicks(*left).numpy().tolist()
    [2.0]
    """
    missed = impressions_left - clicks_left
    lowest, highest = tf.maximum(shown - missed, 0.0), tf.minimum(shown, clicks_left)
    rate = clicks_left / tf.maximum(impressions_left, 1.0)
    spare = (impressions_left - shown) / tf.maximum(impressions_left - 1.0, 1.0)
    stddev = tf.sqrt(tf.maximum(shown * rate * (1.0 - rate) * spare, 0.0))
    first = tf.clip_by_value(tf.floor(shown * rate - _REACH * stddev), lowest, highest)
    log_first = _log_falling(missed, shown - first) - _log_falling(impressions_left, shown)
    log_first += tf.cond(tf.reduce_any(first > 0.0), lambda: _log_later_start(first, shown, clicks_left), lambda: tf.zeros_like(first))

    def above(x: Tensor, mass: Tensor, below: Tensor) -> Tensor:
        return tf.reduce_any((u > below) & (x < highest))

    def climb(x: Tensor, mass: Tensor, below: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        climbs = (u > below) & (x < highest)
        following = mass * (clicks_left - x) * (shown - x) / ((x + 1.0) * (missed - shown + x + 1.0))
        mass = tf.where(climbs, following, mass)
        return x + tf.cast(climbs, x.dtype), mass, tf.where(climbs, below + mass, below)

    mass = tf.exp(log_first)
    return tf.while_loop(above, climb, (first, mass, mass))[0]


def binomials(u: Tensor, shown: Tensor, rate: Tensor) -> Tensor:
    """Clicks of `shown` showings at a click rate, by inversion.

    Args:
      u: uniform in (0, 1), float64 [...].
      shown: whole numbers, float64 [...].
      rate: in [0, 1), float64 [...].

    Returns: float64 [...], whole numbers. More u, more clicks.

    >>> u = tf.constant([0.24, 0.26, 0.76], tf.float64)
    >>> binomials(u, tf.constant(2.0, tf.float64), tf.constant(0.5, tf.float64)).numpy().tolist()
    [0.0, 1.0, 2.0]
    """
    stddev = tf.sqrt(shown * rate * (1.0 - rate))
    first = tf.clip_by_value(tf.floor(shown * rate - _REACH * stddev), 0.0, tf.maximum(shown, 0.0)) + tf.zeros_like(u)
    some, likely = tf.maximum(first, 1.0), tf.maximum(rate, 1e-300)
    choose = _log_falling(tf.maximum(shown, some), some) - _log_falling(some, some)
    log_first = tf.where(first > 0.0, choose + first * tf.math.log(likely), 0.0) + (shown - first) * tf.math.log1p(-rate)
    odds = rate / (1.0 - rate)

    def above(x: Tensor, mass: Tensor, below: Tensor) -> Tensor:
        return tf.reduce_any((u > below) & (x < shown))

    def climb(x: Tensor, mass: Tensor, below: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        climbs = (u > below) & (x < shown)
        mass = tf.where(climbs, mass * (shown - x) / (x + 1.0) * odds, mass)
        return x + tf.cast(climbs, x.dtype), mass, tf.where(climbs, below + mass, below)

    mass = tf.exp(log_first)
    return tf.while_loop(above, climb, (first, mass, mass))[0]


def uniforms(seed: Tensor, ids: Tensor, step: Tensor) -> Tensor:
    """Uniform numbers keyed by (seed, id, step): what an arm meets does not depend on its neighbours or on the policy.

    Args:
      seed: int32 [..., 2].
      ids: int32, broadcasts against seed[..., 0].
      step: int32 [].

    Returns: float64 with 31 random bits, in (0, 1), of the broadcast shape.
    """
    words = tf.bitcast(seed, tf.uint32)
    counter = tf.bitcast(ids, tf.uint32), tf.bitcast(tf.broadcast_to(step, tf.shape(ids)), tf.uint32)
    first, second = threefry((words[..., 0], words[..., 1]), counter)
    bits = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(first, second), tf.constant(1, tf.uint32))
    return (tf.cast(tf.bitcast(bits, tf.int32), tf.float64) + 0.5) * 2.0**-31


def _log_later_start(first: Tensor, shown: Tensor, clicks_left: Tensor) -> Tensor:
    """What the log of the probability of `first` clicks has beyond that of none; 0 at 0."""
    some = tf.maximum(first, 1.0)
    value = _log_falling(clicks_left, some) + _log_falling(shown, some) - _log_falling(some, some)
    return tf.where(first > 0.0, value, 0.0)


def _log_falling(n: Tensor, k: Tensor) -> Tensor:
    """Log of n! / (n - k)! for whole numbers in float64, by Stirling's series at n + 9: error 1e-14 of log n!."""
    return elementwise(_falling, n, k)


def _falling(n: Tensor, k: Tensor) -> Tensor:
    high, low = n + 9.0, n - k + 9.0
    stirling = (high - 0.5) * tf.math.log(high) - (low - 0.5) * tf.math.log(low) - k
    return stirling + _series(1.0 / high) - _series(1.0 / low) + tf.math.log(_rising(n - k) / _rising(n))


def _rising(n: Tensor) -> Tensor:
    """(n + 1) (n + 2) ... (n + 8), in pairs from the outside."""
    square = n * (n + 9.0)
    return (square + 8.0) * (square + 14.0) * (square + 18.0) * (square + 20.0)


def _series(inverse: Tensor) -> Tensor:
    """What Stirling's formula leaves out, at 1 / inverse."""
    square = inverse * inverse
    return inverse * (_SERIES[0] + square * (_SERIES[1] + square * (_SERIES[2] + square * _SERIES[3])))
