"""Doubly robust: the direct method, and the weighted residuals that correct it.

    V = mean of  sum over a of policy(a) q(x, a) + w (r - q(x, shown))

Unbiased where propensities are right, whatever the model; where the model is good, with less variance than IPS. It may leave the
rewards' range.

Source: Dudik, Langford and Li 2011, arXiv:1103.4601.
"""

from __future__ import annotations

from recbayes.evaluation.estimators.base import Estimator, doubly_robust


def dr() -> Estimator:
    """Mean of the model's expectation + weight x residual; unbiased.

    >>> dr().unbiased
    True
    """
    return Estimator("dr", doubly_robust, needs_model=True, unbiased=True)
