"""Continuous ranked probability score of the click count, in clicks: how far the predicted law lies from what came.

    crps(F, c) = sum over k = 0, 1, ... of (F(k) - 1[k >= c])^2

With a point prediction it is the absolute error; narrow laws that hold the count score near 0. The sum is taken exactly from the count's
law (a mixture of binomials over points of the click rate) where that spans up to EXACT counts. Beyond, where each binomial has hundreds of
clicks, each is a normal of the same mean and variance, for which the score is a closed form: off by less than 1e-3 of itself (tested).
Source: Gneiting and Raftery 2007, JASA 102; for mixtures of normals Grimit et al. 2006, QJRMS 132.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

from recbayes.calibration.counts import TINY, Floats

EXACT = 4096
"""Counts that a law may span for the sum to be taken term by term."""
BEYOND = 9.0
"""Binomial standard deviations around the outermost points in which the law lies (all but 1e-15 of it, and 20 counts for the skewed)."""
RESTART, REACH = 32, 200.0
"""Counts between two logarithms, at most; and powers of ten that a term may grow by in between."""
CELLS = 50_000
"""Numbers worked on at once: few enough for a processor's cache."""


def crps(clicks: Floats, impressions: Floats, draws: Floats) -> Floats:
    """Score of each row's predicted law against its observed count; smaller is better.

    Args:
      clicks: observed counts, [N].
      impressions: [N].
      draws: click rates, equally likely, [n, N] (`condense` makes few points of many draws).

    Returns: clicks, [N].

    >>> crps(np.array([1.0]), np.array([1.0]), np.array([[0.3]])).round(2)
    array([0.49])
    """
    clicks, impressions = np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)
    rates = np.clip(np.asarray(draws, np.float64), TINY, 1.0 - TINY)
    low, high = _span(clicks, impressions, rates)
    width = high - low + 1.0
    scores = np.empty(len(clicks))
    summed = np.flatnonzero(width <= EXACT)
    for rows in _blocks(summed[np.argsort(width[summed], kind="stable")], CELLS // len(rates)):
        scores[rows] = _summed(clicks[rows], impressions[rows], rates[:, rows], low[rows])
    for rows in _blocks(np.flatnonzero(width > EXACT), CELLS // len(rates) ** 2):
        scores[rows] = _normal(clicks[rows], impressions[rows], rates[:, rows])
    return scores


def mean_interval(values: Floats, clusters: NDArray[np.int32] | None = None) -> tuple[float, float]:
    """95% interval of the mean of rows that may depend on each other within clusters: normal, by the ratio estimator over clusters.

    Args:
      values: [N].
      clusters: a whole number a row, equal for rows that belong together, [N]; none means independent rows.

    Returns: its two ends; (nan, nan) without two clusters.

    >>> low, high = mean_interval(np.array([0.0, 1.0, 0.0, 1.0]))
    >>> round(low, 2), round(high, 2)
    (-0.07, 1.07)
    """
    mean = float(np.mean(values)) if len(values) else float("nan")
    groups = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    off = np.bincount(groups, weights=values - mean)
    if len(off) < 2:
        return float("nan"), float("nan")
    half = 1.96 * float(np.sqrt(len(off) / (len(off) - 1) * np.sum(off**2))) / len(values)
    return mean - half, mean + half


def _span(clicks: Floats, impressions: Floats, rates: Floats) -> tuple[Floats, Floats]:
    """Counts between which all of each row's law lies, and its observed count."""
    ends = []
    for side, p in ((-1.0, rates.min(axis=0)), (1.0, rates.max(axis=0))):
        ends.append(impressions * p + side * (BEYOND * np.sqrt(impressions * p * (1.0 - p)) + 20.0))
    low = np.minimum(np.maximum(np.floor(ends[0]), 0.0), clicks)
    return low, np.maximum(np.minimum(np.ceil(ends[1]), impressions), clicks)


def _blocks(order: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order), max(rows, 1)):
        yield order[start : start + max(rows, 1)]


def _summed(clicks: Floats, impressions: Floats, rates: Floats, low: Floats) -> Floats:
    """Term by term from `low` on, as many terms as the widest row needs."""
    high = _span(clicks, impressions, rates)[1]
    counts = low + np.arange(int((high - low).max()) + 1)[:, None]  # [K, N]
    cdf = np.cumsum(_probabilities(counts, impressions, rates), axis=0)
    total: Floats = np.sum((cdf - (counts >= clicks)) ** 2, axis=0)
    return total


def _probabilities(counts: Floats, impressions: Floats, rates: Floats) -> Floats:
    """Probability of each of successive counts [K, N]: by logarithms now and then, in between by the ratio of neighbours.

    Now and then: every RESTART counts, or sooner where odds are so large that what is nothing at first would be much by then.
    """
    found, odds = np.zeros(counts.shape), rates / (1.0 - rates)
    restart = int(np.clip(REACH / max(float(np.log10(odds).max()), 1e-9), 1, RESTART))
    for start in range(0, len(counts), restart):
        first = np.minimum(counts[start], impressions)
        log_choose = gammaln(impressions + 1.0) - gammaln(first + 1.0) - gammaln(impressions - first + 1.0)
        terms = np.exp(log_choose + first * np.log(rates) + (impressions - first) * np.log1p(-rates))  # [n, N]
        ratio = np.where(counts[start] <= impressions, 1.0 / len(rates), 0.0)
        for k in range(start, min(start + restart, len(counts))):
            found[k] = terms.sum(axis=0) * ratio
            terms *= odds
            ratio *= np.maximum(impressions - counts[k], 0.0) / (counts[k] + 1.0)
    return found


def _normal(clicks: Floats, impressions: Floats, rates: Floats) -> Floats:
    """The closed form for a mixture of normals: E|X - c| - E|X - X'| / 2."""
    mean, variance = impressions * rates, impressions * rates * (1.0 - rates)  # [n, N]
    pairs = _absolute(mean[:, None] - mean, variance[:, None] + variance)  # [n, n, N]
    total: Floats = _absolute(clicks - mean, variance).mean(axis=0) - 0.5 * pairs.mean(axis=(0, 1))
    return total


def _absolute(mean: Floats, variance: Floats) -> Floats:
    """E|Y| of Y ~ N(mean, variance)."""
    stddev = np.sqrt(variance)
    z = mean / stddev
    value: Floats = mean * (2.0 * ndtr(z) - 1.0) + 2.0 * stddev * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return value
