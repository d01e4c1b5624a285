"""Uniform: every candidate alike. A plain A/B test, and what lifts are measured against."""

from __future__ import annotations

from typing import Any

from recbayes.policies.base import Policy
from recbayes.policies.shares import even_share
from recbayes.types import Clock, Tensor


def uniform(*, name: str = "") -> Policy:
    """Every candidate with the same probability; learns nothing and has no knob.

    >>> uniform().name
    'uniform'
    """
    return Policy.of("uniform", shares, None, name)


def shares(predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, exploration: Tensor) -> Tensor:
    """Probabilities: f[b, a] = 1 / number of candidates of b."""
    return even_share(candidates)
