"""Thompson sampling: each candidate as often as it is the best in a draw from what is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from recbayes.policies.base import Policy
from recbayes.policies.shares import best_share
from recbayes.types import Clock, Tensor, UserError


def thompson(
    learner: Any = None, *, exploration: float | Sequence[float] = 1.0, draws: int = 32, floor: float = 0.0, name: str = ""
) -> Policy:
    """Probability of each candidate: how often it wins a joint draw of all of them.

    The action is drawn from that vector, so the logged propensity is exact. Candidates that won no draw have probability 0, though
    their true one is not: give a floor if the log is to be used for off-policy evaluation.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: multiplies the draws' distance from the mean; 1 is Thompson sampling, 0 greedy.
      draws: joint draws a decision; a probability's standard error is at most 0.5 / sqrt(draws).
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.
    Source: Russo et al. 2018, arXiv:1707.02038.

    >>> thompson(exploration=0.25).settings["draws"]
    32
    """
    if draws < 1:
        raise UserError(f"thompson: draws is {draws}, must be at least 1")
    return Policy.of("thompson", shares, learner, name, uncertain=True, exploration=exploration, draws=draws, floor=floor)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor, *, draws: int) -> Tensor:
    """Probabilities: f[b, a] = mean over s of 1[a = argmax of mean + exploration (draw_s - mean)]."""
    mean = predictive.mean
    return tf.reduce_mean(best_share(mean + exploration * (predictive.sample(draws, seed) - mean), candidates), 0)
