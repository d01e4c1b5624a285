"""Knowledge gradient: what a batch shown to one candidate earns, now and by what it teaches for the decisions left.

With n decisions left, a batch of q, mean m and standard deviation s of a candidate's click rate:

    k = m (1 - m) / s^2 - 1                 impressions that the knowledge so far is worth
    tau = s sqrt(q / (q + k))               how far the batch is expected to move the mean
    z = -|m - best other mean| / tau
    value = q m + (n - q) tau (z Phi(z) + phi(z))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from recbayes.policies.base import Policy
from recbayes.policies.shares import best_share
from recbayes.policies.ucb import deviation, known
from recbayes.types import Clock, Tensor


def knowledge_gradient(
    learner: Any = None,
    *,
    exploration: float | Sequence[float] = 1.0,
    stddev: Literal["contrast", "total"] = "contrast",
    floor: float = 0.0,
    name: str = "",
) -> Policy:
    """The batch goes to the candidate whose clicks and whose lesson are worth the most over the decisions left on the clock.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: multiplies the lesson's worth; 0 is greedy.
      stddev: of the contrast between candidates, or in total.
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.
    Source: Ryzhov, Powell and Frazier 2012, The knowledge gradient algorithm for a general class of online learning problems.

    >>> knowledge_gradient().exploration
    1.0
    """
    settings = {"exploration": exploration, "stddev": known(stddev, "knowledge_gradient"), "floor": floor}
    return Policy.of("knowledge_gradient", shares, learner, name, uncertain=True, of_rates=True, **settings)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor, *, stddev: str) -> Tensor:
    """Probabilities: f[b, a] = 1[a = argmax value], the value a decision of the batch."""
    mean, spread = predictive.mean, tf.maximum(deviation(predictive, stddev), 1e-12)
    batch = tf.maximum(tf.cast(clock.batch, mean.dtype), 1.0)[..., None]  # [..., B, 1]
    later = tf.maximum(tf.cast(clock.remaining, mean.dtype)[..., None] - batch, 0.0)
    worth = tf.maximum(mean * (1.0 - mean) / tf.square(spread) - 1.0, 0.0)
    tau = spread * tf.sqrt(batch / (batch + worth))
    z = -tf.abs(mean - best_other(mean, candidates)) / tau
    lesson = tau * (z * 0.5 * tf.math.erfc(-z / math.sqrt(2.0)) + tf.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi))
    return best_share(mean + exploration * later / batch * lesson, candidates)


def best_other(mean: Tensor, candidates: Tensor) -> Tensor:
    """The best mean among the other candidates, [..., B, A]; a candidate alone has itself.

    >>> best_other(tf.constant([[1.0, 3.0, 2.0]]), tf.constant([[True, True, True]])).numpy().tolist()
    [[3.0, 2.0, 3.0]]
    """
    masked = tf.where(candidates, mean, mean.dtype.min)
    best = tf.reduce_max(masked, -1, keepdims=True)
    is_best = masked >= best
    several = tf.reduce_sum(tf.cast(is_best, tf.int32), -1, keepdims=True) > 1
    second = tf.reduce_max(tf.where(is_best, mean.dtype.min, masked), -1, keepdims=True)
    second = tf.where(several | (second <= mean.dtype.min), best, second)
    return tf.where(is_best, second, best)
