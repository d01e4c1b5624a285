"""Quantile UCB (Bayes-UCB): a quantile of what is known of the click rate, which rises towards 1 as decisions pass.

The quantile is that of the beta with the predictive's mean and standard deviation, by Paulson's normal approximation: cheap under
XLA, and able to leave out what candidates of one page share, which a quantile of the whole predictive cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from recbayes.policies.base import Policy
from recbayes.policies.one_normal import beta_at
from recbayes.policies.shares import best_share
from recbayes.policies.ucb import deviation, known
from recbayes.types import Clock, Tensor, UserError


def quantile_ucb(
    learner: Any = None,
    *,
    exploration: float | Sequence[float] = 1.0,
    log_power: float = 0.0,
    stddev: Literal["contrast", "total"] = "contrast",
    floor: float = 0.0,
    name: str = "",
) -> Policy:
    """The highest quantile 1 - 1 / (t log^c T): t updates so far and one, T of them in all, both from the clock.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: multiplies the quantile's distance from the mean; 0 is greedy.
      log_power: c.
      stddev: of the contrast between candidates, or in total.
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.
    Source: Kaufmann, Cappe and Garivier 2012, On Bayesian upper confidence bounds for bandit problems.

    >>> quantile_ucb(log_power=5.0).settings["log_power"]
    5.0
    """
    if not log_power >= 0.0:
        raise UserError(f"quantile_ucb: log_power is {log_power}, must be at least 0")
    settings = {"exploration": exploration, "log_power": log_power, "stddev": known(stddev, "quantile_ucb"), "floor": floor}
    return Policy.of("quantile_ucb", shares, learner, name, uncertain=True, of_rates=True, **settings)


def shares(
    predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor, *, log_power: float, stddev: str
) -> Tensor:
    """Probabilities: f[b, a] = 1[a = argmax of mean + exploration (quantile - mean)]."""
    mean = predictive.mean
    step, remaining, batch = (tf.cast(x, mean.dtype) for x in clock)
    t = step + 1.0
    rounds = t + tf.maximum(remaining / tf.maximum(batch, 1.0) - 1.0, 0.0)
    tail = 1.0 / (t * tf.maximum(tf.math.log(rounds), 1.0) ** log_power)
    z = -tf.math.ndtri(tf.clip_by_value(tail, 1e-30, 0.5))[..., None]  # [..., B, 1]; the first update's is the median
    quantile = beta_at(mean, tf.square(deviation(predictive, stddev)), z)
    return best_share(mean + exploration * (quantile - mean), candidates)
