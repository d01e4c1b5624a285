"""Greedy: the candidate with the highest expected click rate, always."""

from __future__ import annotations

from typing import Any

from recbayes.policies.base import Policy
from recbayes.policies.shares import best_share
from recbayes.types import Clock, Tensor


def greedy(learner: Any = None, *, floor: float = 0.0, name: str = "") -> Policy:
    """The best guess: no exploration but by ties, which share equally.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if the floor is out of range.

    >>> greedy(floor=0.01).settings
    {'floor': 0.01}
    """
    return Policy.of("greedy", shares, learner, name, floor=floor)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor) -> Tensor:
    """Probabilities: f[b, a] = 1[a = argmax mean[b, :]]."""
    return best_share(predictive.mean, candidates)
