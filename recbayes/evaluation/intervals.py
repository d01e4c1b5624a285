"""Three intervals of an estimate, and which one to take.

normal: Student's on the influence values. bootstrap: percentiles of the estimate over resampled clusters, numerator and denominator
together, corrected for bias and skewness (BCa): clicks are rare, so estimates that are too low come with errors that are too small.
bernstein: empirical Bernstein, which holds for any number of rows where weights and rewards are bounded, and is wide.

Source: Efron 1987, Better bootstrap confidence intervals, JASA 82; Maurer and Pontil 2009, arXiv:0907.3740.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from recbayes.evaluation.sums import Sums
from recbayes.evaluation.value import Value, influence, linear, of_sums
from recbayes.types import Array

Method = Literal["auto", "normal", "bootstrap", "bernstein"]
MANY_ROWS = 100_000
MANY_CLICKS = 400
"""With so many decisions and effective clicks the normal interval is taken, elsewhere the bootstrap."""


class Interval(NamedTuple):
    """Its ends, and how it was found."""

    low: float
    high: float
    method: str


def normal(value: Value, level: float, clusters: int) -> Interval:
    """Student's interval with a degree of freedom less than clusters.

    >>> normal(Value(0.5, 0.1, 1e6), 0.95, 1_000_000).low.__round__(3)
    0.304
    """
    half = float(stats.t.ppf((1.0 + level) / 2.0, max(clusters - 1, 1))) * value.stderr
    return Interval(value.value - half, value.value + half, "normal")


def bootstrap(sums: Sums, buckets: Array, level: float, draws: Array) -> Interval:
    """BCa percentiles over resampled buckets, [BUCKETS] decisions each; `draws` [RESAMPLES] are the resamples' estimates (`resampling.py`).

    share = Phi(z0 + (z0 + z) / (1 - a (z0 + z))),  z0 = Phi^-1(share of draws below the estimate),  a = sum u^3 / (6 (sum u^2)^1.5)

    u are the buckets' influence values.
    """
    own, draws = influence(sums, buckets), draws[np.isfinite(draws)]
    value, square = of_sums(sums).value, float(own @ own)
    below = (draws < value).mean() + 0.5 * (draws == value).mean()
    z0 = float(stats.norm.ppf(min(max(below, 1e-3), 1.0 - 1e-3)))
    a = float((own**3).sum()) / (6.0 * square**1.5) if square > 0 else 0.0
    z = z0 + stats.norm.ppf([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    shares = stats.norm.cdf(z0 + z / np.maximum(1.0 - a * z, 0.1))
    low, high = np.quantile(draws, shares)
    return Interval(float(low), float(high), "bootstrap")


def bernstein(sums: Sums, value: Value, level: float, reach: float) -> Interval:
    """Empirical Bernstein.

    half = sqrt(2 var ln(2 / delta) / n) + 7 reach ln(2 / delta) / (3 (n - 1)),  delta = (1 - level) / 2

    Args:
      sums: of the estimator; of a ratio, the influence values are taken (an approximation: the denominator is estimated).
      value: its estimate.
      level: coverage, in (0, 1).
      reach: the largest distance between two values that a row's term can take: largest weight x width of the rewards' range.
    """
    log, n = math.log(4.0 / (1.0 - level)), value.decisions
    if n < 2 or not math.isfinite(value.stderr):
        return Interval(math.nan, math.nan, "bernstein")
    if "share" in sums.names:
        total = sum(moments.mean * moments.decisions for moments in sums.strata.values())
        means = dict(zip(sums.names, total / n))
        reach = reach * abs(float(linear(sums.names, means)[1][sums.names.index("total")]))
    half = value.stderr * math.sqrt(2.0 * log) + 7.0 * reach * log / (3.0 * (n - 1.0))
    return Interval(value.value - half, value.value + half, "bernstein")


def method_for(method: Method, decisions: float, effective_clicks: float) -> str:
    """The interval to take: the one asked for; by itself the bootstrap, unless there is so much that it can't matter.

    >>> method_for("auto", 1e6, 5000.0), method_for("auto", 1e4, 5000.0)
    ('normal', 'bootstrap')
    """
    if method != "auto":
        return method
    return "normal" if decisions >= MANY_ROWS and effective_clicks >= MANY_CLICKS else "bootstrap"
