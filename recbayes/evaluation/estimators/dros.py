"""DR with optimistic shrinkage: weights shrunk so that a bound on the mean squared error is least.

    V = mean of  sum over a of policy(a) q(x, a) + s(w) (r - q(x, shown)),   s(w) = shrinkage w / (w^2 + shrinkage)

Source: Su, Dimakopoulou, Krishnamurthy and Dudik 2020, arXiv:1907.09623.
"""

from __future__ import annotations

import math

import numpy as np

from recbayes.evaluation.estimators.base import Estimator, chosen, doubly_robust
from recbayes.types import Array

GRID = (float("inf"), *(4.0**k for k in range(13, -2, -1)))


def dros(*, shrinkage: float | None = None) -> Estimator:
    """DR with shrunk weights.

    Args:
      shrinkage: above 0; infinity is DR, 0 would be the direct method. None chooses it from the log.

    >>> optimistic(np.array([1.0, 100.0]), 100.0).round(3).tolist()
    [0.99, 0.99]
    """
    grid = chosen("dros", "shrinkage", shrinkage, GRID)
    return Estimator("dros", doubly_robust, needs_model=True, shrink=optimistic, grid=grid)


def optimistic(weights: Array, shrinkage: float) -> Array:
    """Weights shrunk, the large ones most."""
    return weights if math.isinf(shrinkage) else shrinkage * weights / (np.square(weights) + shrinkage)
