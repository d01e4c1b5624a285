"""Weights pulled towards 1 so that the mean has sub-Gaussian tails, though the weights have heavy ones.

    V = mean of s(w) r,   s(w) = w / (1 - power + power w)

The weighted harmonic mean of w and 1: at most 1 / power.

Source: Metelli, Russo and Restelli 2021, Subgaussian and differentiable importance sampling, NeurIPS.
"""

from __future__ import annotations

import numpy as np

from recbayes.evaluation.estimators.base import Estimator, chosen, plain
from recbayes.types import Array

GRID = (0.0, *(2.0**-k for k in range(14, -1, -1)))


def sub_gaussian(*, power: float | None = None) -> Estimator:
    """Mean of weight x reward with weights pulled towards 1.

    Args:
      power: how far, in (0, 1]; at 1 all weights are 1. None chooses it from the log.

    >>> pulled(np.array([0.0, 1.0, 1e9]), 0.1).round(6).tolist()
    [0.0, 1.0, 10.0]
    """
    return Estimator("sub_gaussian", plain, shrink=pulled, grid=chosen("sub_gaussian", "power", power, GRID, 1.0))


def pulled(weights: Array, power: float) -> Array:
    """The weighted harmonic mean of each weight and 1."""
    return weights / np.maximum(1.0 - power + power * weights, 1e-300)  # 0 stays 0 at power 1
