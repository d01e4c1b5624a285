"""The direct method: what a reward model says of the policy's choices, no weights.

    V = mean over rows of  sum over candidates a of policy(a) q(x, a)

q is fitted without the fold that the row is in. Its interval holds the error of fitting q (a jackknife over the folds), not that q may be
the wrong model: so it is never more than `caution`.

Source: Beygelzimer and Langford 2009, arXiv:0812.4044; cross-fitting: Chernozhukov et al. 2018, arXiv:1608.00060.
"""

from __future__ import annotations

from recbayes.evaluation.estimators.base import Estimator, Terms
from recbayes.evaluation.rows import Rows
from recbayes.types import Array


def dm() -> Estimator:
    """Mean of the model's expectation under the policy.

    >>> dm().needs_model
    True
    """
    return Estimator("dm", terms, needs_model=True)


def terms(rows: Rows, weights: Array) -> Terms:
    """The model's expectation."""
    return Terms(constant=rows.expected)
