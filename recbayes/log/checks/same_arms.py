"""The A/A check: rows of one group that agree in every feature should differ by chance only.

For such a set of k rows with common rate p = sum of clicks / sum of impressions, chi^2 = sum (c - r p)^2 / (r p (1 - p)) has mean k - 1.
Where the ratio of sums over all sets is above 1, clicks are not independent or a cause is unrecorded; replay draws clicks as if
independent, so intervals over its replicas are too narrow and those over groups are the ones to use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from recbayes.log.checks.finding import Finding
from recbayes.log.counts import equal_rows
from recbayes.log.log import Log
from recbayes.types import Array

RESAMPLES = 1_000
_BUCKETS = 5_000
"""Groups are pooled into so many at random before they are resampled, so that the bootstrap's work is bounded."""
FEW = 30
"""With fewer degrees of freedom nothing is concluded."""


class ChiSquare(NamedTuple):
    """chi^2 and its degrees of freedom of each set of rows [M] (0 where nothing can be said); rows: how many have a partner."""

    chi2: Array
    dof: Array
    rows: int

    @property
    def per_dof(self) -> float:
        """Sum of chi^2 over sum of degrees of freedom."""
        return float(self.chi2.sum() / self.dof.sum())


def same_arms(log: Log, seed: int = 0) -> dict[str, Any] | None:
    """The A/A check of a log with groups and features; None where no group has two rows that agree.

    Returns:
      chi2_per_dof; interval (95%, bootstrap over clusters); rows and sets that agree; dof; distinct: the same ratio for the arms of
      a group that differ in a feature, None without such.
    """
    if log.columns.group is None or not log.columns.features or log.columns.clicks is None:
        return None
    counts = log.counts() if log.is_events else log
    sets, number = equal_rows(counts.table, dict.fromkeys([log.columns.group, *log.columns.features]))
    same = chi_square(counts.clicks, counts.impressions, sets, number)
    if same.dof.sum() == 0:
        return None
    group_of_set, cluster_of_set = np.zeros(number, np.int64), np.zeros(number, np.int64)
    group_of_set[sets], cluster_of_set[sets] = counts.segments[0], counts.clusters[0]
    clicks, impressions = (np.bincount(sets, weights=values, minlength=number) for values in (counts.clicks, counts.impressions))
    distinct = chi_square(clicks, impressions, group_of_set, counts.segments[1])
    return {
        "chi2_per_dof": same.per_dof,
        "interval": interval(same, cluster_of_set, seed),
        "rows": same.rows,
        "sets": int((same.dof > 0).sum()),
        "dof": int(same.dof.sum()),
        "distinct": distinct.per_dof if distinct.dof.sum() else None,
    }


def chi_square(clicks: Array, impressions: Array, sets: Array, number: int) -> ChiSquare:
    """Pearson's chi^2 of equal click rates within each of `number` sets of rows.

    Sets without a click (or without a miss) say nothing and are left out, as are rows without an impression.

    >>> chi_square(np.array([10, 30, 5]), np.array([100, 100, 100]), np.array([0, 0, 1]), 2)
    ChiSquare(chi2=array([12.5,  0. ]), dof=array([1, 0]), rows=2)
    """
    shown = impressions > 0
    size = np.bincount(sets[shown], minlength=number)
    rate = np.bincount(sets, weights=clicks, minlength=number) / np.maximum(np.bincount(sets, weights=impressions, minlength=number), 1)
    counted = (size > 1) & (rate > 0) & (rate < 1)
    rows = counted[sets] & shown
    p = rate[sets[rows]]
    chi2 = (clicks[rows] - impressions[rows] * p) ** 2 / (impressions[rows] * p * (1 - p))
    return ChiSquare(np.bincount(sets[rows], weights=chi2, minlength=number), np.where(counted, size - 1, 0), int(rows.sum()))


def interval(parts: ChiSquare, clusters: Array, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the ratio: whole clusters are drawn again, by Poisson(1) weights (many of them first pooled at random)."""
    rng = np.random.default_rng(seed)
    codes = np.unique(clusters[parts.dof > 0], return_inverse=True)[1]
    buckets = rng.permutation(codes.max() + 1)[codes] % _BUCKETS
    chi2 = np.bincount(buckets, weights=parts.chi2[parts.dof > 0])
    dof = np.bincount(buckets, weights=parts.dof[parts.dof > 0])
    weights = rng.poisson(1.0, (RESAMPLES, len(dof)))
    drawn = weights[(weights @ dof) > 0]
    low, high = np.quantile((drawn @ chi2) / (drawn @ dof), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def same_arms_finding(aa: dict[str, Any] | None) -> Iterator[Finding]:
    """The A/A check in words."""
    if aa is None:
        return
    low, high = aa["interval"]
    what = f"chi^2 {aa['chi2_per_dof']:.2f} a degree of freedom (95% {low:.2f} to {high:.2f}, {aa['rows']:,} rows)"
    if aa["distinct"] is not None:
        what += f", against {aa['distinct']:.2f} for arms that differ"
    if aa["dof"] < FEW:
        yield Finding("same_arms", "info", f"Too few rows of a group agree in every feature for an A/A check: {what}.", aa["rows"])
    elif low > 1:
        message = f"Rows of a group that agree in every feature differ by more than chance: {what}. "
        cause = "Clicks are not independent or a cause is unrecorded: use intervals over groups, not over replicas."
        yield Finding("same_arms", "warn", message + cause, aa["rows"])
    else:
        yield Finding("same_arms", "ok", f"Rows of a group that agree in every feature differ by chance only: {what}.", aa["rows"])
