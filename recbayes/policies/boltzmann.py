"""Boltzmann (softmax): better candidates more often, by how much better they are believed to be.

    p_a = exp(mean_a / T) / sum over candidates b of exp(mean_b / T),  T = exploration

It looks at means alone: what is known well and what hardly at all are explored alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from recbayes.policies.base import Policy
from recbayes.policies.shares import best_share, gaps
from recbayes.types import Clock, Tensor


def boltzmann(learner: Any = None, *, exploration: float | Sequence[float] = 0.0003, floor: float = 0.0, name: str = "") -> Policy:
    """Each candidate by the exponential of its expected click rate over a temperature.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: the temperature, in units of the click rate: a candidate that is so much worse is shown 1 / e as often. Several make a
        grid.
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.
    Source: Sutton 1990; why a fixed temperature explores wrongly, Cesa-Bianchi et al. 2017, arXiv:1705.10257.

    >>> boltzmann(exploration=0.002).settings
    {'exploration': 0.002, 'floor': 0.0}
    """
    return Policy.of("boltzmann", shares, learner, name, exploration=exploration, floor=floor)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor) -> Tensor:
    """Probabilities, in float64 on the way so that they don't depend on the candidates' order."""
    mean = predictive.mean
    temperature = tf.cast(exploration, tf.float64)
    weights = tf.where(candidates, tf.exp(-gaps(mean, candidates) / tf.where(temperature > 0.0, temperature, 1.0)), 0.0)
    smooth = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, -1, keepdims=True))
    return tf.where(temperature > 0.0, tf.cast(smooth, mean.dtype), best_share(mean, candidates))
