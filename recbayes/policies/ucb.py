"""UCB: the best guess plus some standard deviations.

The deviation is the contrast's by default: what candidates of one page share (the page's effect, the model's common doubt) cannot tell
them apart, yet it grows with the mean, and a bonus from it turns UCB into something close to greedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from recbayes.policies.base import Policy
from recbayes.policies.shares import best_share
from recbayes.types import Clock, Tensor, UserError


def ucb(
    learner: Any = None,
    *,
    exploration: float | Sequence[float] = 1.0,
    stddev: Literal["contrast", "total"] = "contrast",
    floor: float = 0.0,
    name: str = "",
) -> Policy:
    """Upper confidence bound: the highest mean + exploration x stddev.

    Args:
      learner: what learns in replay: a fitted model, `counts()` or `density(fitted)`.
      exploration: standard deviations above the mean, at least 0.
      stddev: of the contrast between candidates, or in total.
      floor: uniform's share of the decisions, in [0, 1].
      name: in results; by default learner and policy joined.

    Raises: UserError if a setting is out of range.
    Source: Lai and Robbins 1985; with a deep density network's mean and deviation, Oda et al. 2018 (the DDN paper).

    >>> ucb(exploration=0.5).settings["stddev"]
    'contrast'
    """
    return Policy.of("ucb", shares, learner, name, uncertain=True, exploration=exploration, stddev=known(stddev, "ucb"), floor=floor)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor, *, stddev: str) -> Tensor:
    """Probabilities: f[b, a] = 1[a = argmax mean + exploration x stddev]."""
    return best_share(predictive.mean + exploration * deviation(predictive, stddev), candidates)


def deviation(predictive: Any, stddev: str) -> Tensor:
    """The standard deviation of that name, [..., B, A]."""
    return predictive.contrast_stddev if stddev == "contrast" else predictive.stddev


def known(stddev: str, kind: str) -> str:
    """The name of a standard deviation, checked."""
    if stddev not in ("contrast", "total"):
        raise UserError(f"{kind}: stddev is {stddev!r}, must be contrast or total")
    return stddev
