"""SquareCB, inverse gap weighting: a candidate's probability falls with its distance from the best.

    p_a = 1 / (A + gamma (best - mean_a)),  gamma = 1 / exploration,  and what is left to the best

With a regression oracle's means its regret is optimal up to constants; like Boltzmann it looks at means alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from recbayes.policies.base import Policy
from recbayes.policies.shares import best_share, gaps
from recbayes.types import Clock, Tensor


def square_cb(learner: Any = None, *, exploration: float | Sequence[float] = 0.00001, floor: float = 0.0, name: str = "") -> Policy:
    """Every candidate by the inverse of how much worse than the best it is expected to be; the best has the rest.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: 1 / gamma, in units of the click rate: a candidate that is so much worse has probability 1 / (A + 1). Several make a
        grid.
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.
    Source: Abe and Long 1999; Foster and Rakhlin 2020, arXiv:2002.04926.

    >>> square_cb(exploration=0.001).settings
    {'exploration': 0.001, 'floor': 0.0}
    """
    return Policy.of("square_cb", shares, learner, name, exploration=exploration, floor=floor)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor) -> Tensor:
    """Probabilities, in float64 on the way so that they don't depend on the candidates' order; several bests share the rest."""
    mean, scale = predictive.mean, tf.cast(exploration, tf.float64)
    gap, best = gaps(mean, candidates), best_share(mean, candidates)
    number = tf.reduce_sum(tf.cast(candidates, tf.float64), -1, keepdims=True)
    others = tf.where(candidates & (gap > 0.0), tf.math.divide_no_nan(scale, number * scale + gap), 0.0)
    rest = 1.0 - tf.reduce_sum(others, -1, keepdims=True)
    return tf.cast(others + rest * tf.cast(best, tf.float64), mean.dtype)
