"""Means and co-moments of a few columns, one pass, mergeable and stable.

Merging adds the two centred co-moments and the outer product of the means' distance, so nothing cancels where means are large.

Source: Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37(3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbayes.types import Array

_PIECE = 8192
_CANCELLED = 1e-2
"""Where less than this of a sum of squares is spread, two digits are lost, and the columns are centred first."""


class Moments(NamedTuple):
    """Of k columns: how many decisions, mean [k], comoment [k, k] = sum of (x - mean)(x - mean)'.

    >>> whole = Moments.of(np.array([[1.0, 2.0, 6.0]]))
    >>> parts = Moments.of(np.array([[1.0, 2.0]])).merge(Moments.of(np.array([[6.0]])))
    >>> whole.mean.tolist(), parts.comoment.tolist() == whole.comoment.tolist()
    ([3.0], True)
    """

    decisions: float
    mean: Array
    comoment: Array

    @classmethod
    def of(cls, columns: Array, count: Array | None = None) -> Moments:
        """Of columns [k, n], each row standing for `count` [n] decisions, or one."""
        size = float(columns.shape[1] if count is None else count.sum())
        if size == 0:
            return cls(0.0, np.zeros(len(columns)), np.zeros((len(columns), len(columns))))
        mean = np.array([total(column, count) for column in columns]) / size
        comoment = _products(columns, count)
        squares = comoment.diagonal().copy()
        comoment -= size * np.outer(mean, mean)
        if (comoment.diagonal() < _CANCELLED * squares).any():  # means far above the spread: centre first
            apart = columns - mean[:, None]
            sums = np.array([total(column, count) for column in apart])
            comoment = _products(apart, count) - np.outer(sums, sums) / size
        return cls(size, mean, comoment)

    def merge(self, other: Moments) -> Moments:
        """Of both parts' rows."""
        total = self.decisions + other.decisions
        if not self.decisions or not other.decisions:
            return self if self.decisions else other
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.decisions / total)
        return Moments(total, mean, self.comoment + other.comoment + np.outer(apart, apart) * (self.decisions * other.decisions / total))

    @property
    def covariance(self) -> Array:
        """Of the columns, [k, k]; NaN where there are fewer than two decisions."""
        return self.comoment / (self.decisions - 1.0) if self.decisions > 1 else np.full_like(self.comoment, np.nan)


def _products(columns: Array, count: Array | None) -> Array:
    """Sums of products of all pairs, [k, k]."""
    found = np.empty((len(columns), len(columns)))
    for i, one in enumerate(columns):
        for j, other in enumerate(columns[: i + 1]):
            found[i, j] = found[j, i] = product(one, other, count)
    return found


def total(x: Array, count: Array | None) -> float:
    """Sum over the decisions that the rows stand for."""
    return float(x.sum()) if count is None else product(x, count, None)


def product(x: Array, y: Array, count: Array | None) -> float:
    """Sum of products over the decisions that the rows stand for.

    In pieces so small that BLAS starts no threads of its own, which would fight with ours.
    """
    if count is not None:
        x = x * count
    whole = len(x) // _PIECE * _PIECE
    rest = float(x[whole:] @ y[whole:])
    if not whole:
        return rest
    return rest + float(np.linalg.vecdot(x[:whole].reshape(-1, _PIECE), y[:whole].reshape(-1, _PIECE)).sum())
