"""Switch-DR: doubly robust where weights are small, the model alone where they are large.

    V = mean of  sum over a of policy(a) q(x, a) + w 1[w <= threshold] (r - q(x, shown))

Source: Wang, Agarwal and Dudik 2017, arXiv:1612.01205.
"""

from __future__ import annotations

import numpy as np

from recbayes.evaluation.estimators.base import Estimator, chosen, doubly_robust
from recbayes.evaluation.estimators.clipped_ips import GRID
from recbayes.types import Array


def switch_dr(*, threshold: float | None = None) -> Estimator:
    """DR without the residuals of weights above a threshold.

    Args:
      threshold: largest weight that is used, above 0; None chooses it from the log.

    >>> switch(np.array([0.5, 40.0]), 10.0).tolist()
    [0.5, 0.0]
    """
    grid = chosen("switch_dr", "threshold", threshold, GRID)
    return Estimator("switch_dr", doubly_robust, needs_model=True, shrink=switch, grid=grid)


def switch(weights: Array, threshold: float) -> Array:
    """The weights up to the threshold, 0 above it."""
    return np.where(weights <= threshold, weights, 0.0)
