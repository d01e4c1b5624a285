"""Epsilon-greedy: greedy, but for a share of decisions at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbayes.policies.base import Policy, scales
from recbayes.policies.shares import best_share, with_floor
from recbayes.types import Clock, Tensor, UserError


def epsilon_greedy(learner: Any = None, *, exploration: float | Sequence[float] = 0.1, floor: float = 0.0, name: str = "") -> Policy:
    """Uniform with probability `exploration` (epsilon), else greedy.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: epsilon, in [0, 1].
      floor: uniform's share of the decisions beyond epsilon, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.

    >>> epsilon_greedy(exploration=0.05).exploration
    0.05
    """
    if over := [scale for scale in scales(exploration) if scale > 1.0]:
        raise UserError(f"epsilon_greedy: exploration is {over[0]}, a probability in [0, 1]")
    return Policy.of("epsilon_greedy", shares, learner, name, exploration=exploration, floor=floor)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor) -> Tensor:
    """Probabilities: greedy by (1 - epsilon), uniform by epsilon."""
    return with_floor(best_share(predictive.mean, candidates), candidates, exploration)
