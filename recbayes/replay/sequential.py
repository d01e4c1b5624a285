"""Anytime-valid comparison: look after every group (or replica), stop when it is clear, and the error rate still holds.

With Z_i = A_i - (1 + lift) B_i the paired clicks of two policies in group i, at a supposed lift, the t-statistic t of n of them, and an
effect size mean / stddev ~ N(0, g) mixed over, the evidence against that lift is

    E_n = (1 + n g)^(-1/2) [ (1 + t^2 / (n - 1)) / (1 + t^2 / ((n - 1)(1 + n g))) ]^(n / 2)

For normal Z of any variance it is a martingale of mean 1 (t is invariant to scale), so that by Ville's inequality it ever exceeds
1 / alpha with probability at most alpha. The lifts that it has not spoken against are an interval, by Fieller's quadratic. For other Z
this holds as n grows, so nothing is said before `FIRST` of them; tests measure the error on skewed ones.

Source: Lai 1976; Wang and Ramdas 2023, arXiv:2310.03722 (the mixture), Waudby-Smith et al. 2024, arXiv:2103.06476 (asymptotic sequences).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import lambertw

from recbayes.types import Array

LEVEL = 0.95
FIRST = 20
"""Groups before which a sequence says nothing: fewer skewed ones are far from normal."""


class Sequential(NamedTuple):
    """Lift of one policy over another after 1, 2, ... groups, with a sequence of intervals that all hold at once with 95%.

    lift, lower, upper: [N], the interval running (an end once reached is kept), infinite while nothing can be said; decided: groups after
    which 0 first lay outside, None if never.
    """

    lift: Array
    lower: Array
    upper: Array
    decided: int | None

    @property
    def interval(self) -> tuple[float, float]:
        """The last one."""
        return float(self.lower[-1]), float(self.upper[-1])


def sequence(clicks: Array, reference: Array, *, tuned: int = 500, first: int = FIRST, level: float = LEVEL) -> Sequential:
    """The confidence sequence of a lift.

    Args:
      clicks: expected clicks of groups (or replicas) in the order in which they are looked at, [N].
      reference: those of the policy to compare with, [N].
      tuned: number at which the interval is narrowest; set beforehand, not by what was seen.
      first: number before which nothing is said.
      level: of the whole sequence.

    Returns: lifts and their intervals.

    >>> rng = np.random.default_rng(0)
    >>> base = rng.gamma(4.0, 5.0, 400)
    >>> found = sequence(1.1 * base + rng.normal(0, 4, 400), base)
    >>> found.decided is not None and bool(found.lower[-1] > 0)
    True
    """
    a, b = np.asarray(clicks, float), np.asarray(reference, float)
    n = np.arange(1.0, len(a) + 1.0)
    mean_a, mean_b = np.cumsum(a) / n, np.cumsum(b) / n
    spread = [_running_covariance(x, y, n) for x, y in ((a, a), (a, b), (b, b))]
    low, high = fieller(mean_a, mean_b, spread, squared_bound(n, tuned, level) / n)
    early = n < first
    low, high = np.where(early, -np.inf, low - 1.0), np.where(early, np.inf, high - 1.0)
    lower, upper = np.maximum.accumulate(low), np.minimum.accumulate(high)
    outside = np.flatnonzero((lower > 0.0) | (upper < 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = mean_a / mean_b - 1.0
    return Sequential(lift, lower, upper, int(outside[0]) + 1 if len(outside) else None)


def squared_bound(n: Array, tuned: int, level: float = LEVEL) -> Array:
    """The t^2 that the statistic of n values stays below for ever with probability `level`; infinite where n is too small.

    >>> squared_bound(np.array([2.0, 500.0]), 500).round(2).tolist()
    [inf, 9.29]
    """
    alpha = 1.0 - level
    variance = (-float(lambertw(-(alpha**2) / np.e, -1).real) - 1.0) / tuned  # g: narrowest at `tuned` values
    wider = 1.0 + n * variance
    reach = (np.sqrt(wider) / alpha) ** (2.0 / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((n > 1.0) & (reach < wider), (n - 1.0) * (reach - 1.0) / (1.0 - reach / wider), np.inf)


def fieller(mean_a: Array, mean_b: Array, spread: list[Array], bound: Array) -> tuple[Array, Array]:
    """Ratios q at which (mean_a - q mean_b)^2 < bound x variance of (a - q b): the ends, infinite where any ratio would do.

    Args:
      mean_a: numerator's means.
      mean_b: denominator's means, > 0.
      spread: variance of a, covariance, variance of b.
      bound: t^2 over the number of values.
    """
    var_a, cov, var_b = spread
    with np.errstate(invalid="ignore", over="ignore"):
        square = mean_b**2 - bound * var_b
        middle = mean_a * mean_b - bound * cov
        root = np.sqrt(np.maximum(middle**2 - square * (mean_a**2 - bound * var_a), 0.0))
        known = np.isfinite(bound) & (square > 0.0) & (mean_b > 0.0)
        low, high = ((middle + sign * root) / np.where(known, square, 1.0) for sign in (-1.0, 1.0))
    return np.where(known, low, -np.inf), np.where(known, high, np.inf)


def paired_p(clicks: Array, reference: Array, *, of_log: bool = False) -> float:
    """Two-sided p of no difference between paired clicks of clusters [N]: Student's; 1 where they never differ or there is one.

    of_log: the N are resamples of one log, whose spread is the error however many they are (`intervals.over_replicas`).

    >>> round(paired_p(np.array([2.0, 3.0, 4.0, 5.0]), np.array([1.0, 1.0, 3.0, 3.0])), 4)
    0.0138
    """
    apart = np.asarray(clicks, float) - np.asarray(reference, float)
    deviation = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    if deviation == 0.0:
        return 1.0
    error = deviation * np.sqrt(1.0 / len(apart) + of_log)
    return float(2.0 * stats.t.sf(abs(apart.mean()) / error, len(apart) - 1))


def holm(p: Array) -> Array:
    """P-values that hold for all comparisons together: with 5%, none of the true nulls is below .05.

    Source: Holm 1979.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    scaled = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = scaled
    return adjusted


def _running_covariance(x: Array, y: Array, n: Array) -> Array:
    """Of the first 1, 2, ... pairs, with n - 1; taken about the overall means, so that nothing cancels."""
    x, y = x - x.mean(), y - y.mean()
    product = np.cumsum(x * y) - np.cumsum(x) * np.cumsum(y) / n
    return product / np.maximum(n - 1.0, 1.0)
