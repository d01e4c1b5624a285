"""Inverse propensity scoring: every reward counts as often as the policy shows its item for each time the log did.

    V = mean of w r,   w = policy(shown item) / propensity

Unbiased where propensities are right and the log can show all that the policy shows; its variance grows with the weights.

Source: Horvitz and Thompson 1952, JASA 47; Strehl et al. 2010, arXiv:1003.0120.
"""

from __future__ import annotations

from recbayes.evaluation.estimators.base import Estimator, plain


def ips() -> Estimator:
    """Mean of weight x reward; unbiased.

    >>> from recbayes.evaluation.rows import of_arrays
    >>> rows = of_arrays([1.0, 0.0], [0.5, 0.5], [0.8, 0.2])
    >>> ips().terms(rows, rows.weight).total.tolist()
    [1.6, 0.0]
    """
    return Estimator("ips", plain, unbiased=True)
