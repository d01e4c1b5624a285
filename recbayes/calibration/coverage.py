"""How often intervals hold what was observed: overall, by decile of impressions, by any column.

A row is covered at level L when its randomised PIT lies in the central L of (0, 1), that is when the observed count lies in the central
interval of its predictive law, ties randomised. Rows of one group rise and fall together, so the share's own interval counts groups, not
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from recbayes.calibration.counts import Floats

LEVELS = (0.5, 0.8, 0.9, 0.95)


def covered(values: Floats, level: float) -> NDArray[np.bool_]:
    """Whether each row's central interval of this level holds what was observed.

    Args:
      values: PIT values, [N].
      level: in (0, 1).

    Returns: [N].

    >>> covered(np.array([0.04, 0.06, 0.5]), 0.9)
    array([False,  True,  True])
    """
    return np.abs(np.asarray(values) - 0.5) <= level / 2


def coverage(values: Floats, levels: Sequence[float] = LEVELS) -> dict[str, float]:
    """Share of rows covered, a level.

    >>> coverage(np.array([0.04, 0.06, 0.5, 0.97]), levels=(0.9,))
    {'0.9': 0.5}
    """
    return {str(level): float(covered(values, level).mean()) for level in levels}


def share_interval(hits: NDArray[np.bool_], clusters: NDArray[np.int32] | None = None, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share of rows, its rows possibly dependent within clusters.

    Wilson's interval with the number of rows replaced by the number of independent rows that would have the same variance (the ratio
    estimator's, over clusters). Source: Wilson 1927; Korn and Graubard 1998 for the effective number.

    Args:
      hits: [N].
      clusters: a whole number a row, equal for rows that belong together, [N]; none means independent rows.
      confidence: of the interval.

    Returns: its two ends, in [0, 1]; (nan, nan) without rows.

    >>> low, high = share_interval(np.arange(100) < 90)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    n = len(hits)
    if n == 0:
        return float("nan"), float("nan")
    share = float(np.mean(hits))
    rows = float(n)
    if clusters is not None:
        sums = np.bincount(clusters, weights=np.asarray(hits, np.float64) - share)
        used = np.bincount(clusters) > 0
        variance = used.sum() / max(used.sum() - 1, 1) * float(np.sum(sums[used] ** 2)) / n**2
        rows = share * (1 - share) / variance if variance > 0 else float(used.sum())
    z = float(norm.ppf(0.5 + confidence / 2))
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def coverage_by(values: Floats, column: Any, *, level: float = 0.9, clusters: NDArray[np.int32] | None = None) -> pd.DataFrame:
    """Coverage in each part of the rows that a column makes.

    Args:
      values: PIT values, [N].
      column: what to split by, [N]; each distinct value is a part, nulls too.
      level: of the intervals whose coverage is counted.
      clusters: see `share_interval`, [N].

    Returns: a frame with a row a part, in the column's order: part, rows, coverage, lower, upper.

    >>> coverage_by(np.array([0.5, 0.5, 0.01]), ["a", "a", "b"]).coverage.tolist()
    [1.0, 0.0]
    """
    hits = covered(values, level)
    frame = pd.DataFrame({"part": pd.Series(column).reset_index(drop=True), "row": np.arange(len(hits))})
    records = []
    for part, rows in frame.groupby("part", sort=True, dropna=False, observed=True).row:
        which = rows.to_numpy()
        low, high = share_interval(hits[which], None if clusters is None else clusters[which])
        records.append({"part": part, "rows": len(which), "coverage": float(hits[which].mean()), "lower": low, "upper": high})
    return pd.DataFrame(records, columns=["part", "rows", "coverage", "lower", "upper"])


def deciles(column: Floats, parts: int = 10) -> NDArray[np.int64]:
    """Which tenth of the rows each row is in, by a number; tenths of equal size, ties in the rows' order.

    Args:
      column: numbers, [N].
      parts: how many parts.

    Returns: 0 to parts - 1, [N].

    >>> deciles(np.array([5.0, 1.0, 3.0, 2.0]), parts=2)
    array([1, 0, 1, 0])
    """
    ranks = np.empty(len(column), np.int64)
    ranks[np.argsort(column, kind="stable")] = np.arange(len(column))
    return ranks * parts // max(len(column), 1)
