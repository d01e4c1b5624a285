"""Self-normalised doubly robust: DR whose residuals are divided by the weights' sum instead of the number of rows.

    V = mean of sum over a of policy(a) q(x, a)  +  sum of w (r - q(x, shown)) / sum of w

Source: Thomas and Brunskill 2016, arXiv:1604.00923 (weighted doubly robust).
"""

from __future__ import annotations

from recbayes.evaluation.estimators.base import Estimator, Terms
from recbayes.evaluation.rows import Rows
from recbayes.types import Array


def sndr() -> Estimator:
    """DR with self-normalised residuals.

    >>> sndr().kind
    'sndr'
    """
    return Estimator("sndr", terms, needs_model=True)


def terms(rows: Rows, weights: Array) -> Terms:
    """Weighted residuals, weights, the model's expectation."""
    return Terms(weights * (rows.reward - rows.predicted), weights, rows.expected)
