"""One pass over rows: what all estimators and the verdict need, in sums that merge.

Rows go through in blocks that fit a core's cache, on as many threads as asked for (NumPy works outside Python's lock). The result does
not depend on how a log is cut into shards but for the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import NamedTuple

import numpy as np

from recbayes.evaluation.estimators.base import Estimator
from recbayes.evaluation.rows import Rows
from recbayes.evaluation.sums import Sums, Weighing, bucket_counts
from recbayes.types import Array

BLOCK = 1 << 17
"""Rows at a time: a column of them is 1 MB, few enough for the cache, many enough for Python's own time not to matter."""
PARTS = 6
"""Pieces of the work for each thread: one that is held up does not hold up all."""
TOP = 500
"""So many of the largest weights are kept, for the tail."""


class Overview(NamedTuple):
    """Of the rows' raw weights and rewards.

    rows: number of rows. decisions: those they stand for. matches: sum of the policy's probabilities of what was shown, in each stratum.
    weighing: of the raw weights. largest: the TOP largest weights. rewards, propensities: smallest and largest. buckets: decisions in each
    bucket. clustered: whether decisions share clusters.
    """

    rows: int
    decisions: float
    matches: Mapping[int, float]
    weighing: Weighing
    largest: Array
    rewards: tuple[float, float]
    propensities: tuple[float, float]
    buckets: Array
    clustered: bool

    @classmethod
    def of(cls, rows: Rows, raw: Array, above: float = -np.inf) -> Overview:
        """Of some rows with their raw weights; weights up to `above` are known not to be among the largest."""
        decisions = rows.size if rows.times is None else rows.times.sum()
        top = raw if len(raw) <= TOP else raw[raw > above] if raw.max() > above else raw[:0]
        return cls(
            rows.size,
            float(decisions),
            _matches(rows),
            Weighing.of(raw, rows.reward, rows.times),
            largest(top),
            _ends(rows.reward),
            _ends(rows.propensity),
            bucket_counts(rows),
            rows.bucket is not None,
        )

    def merge(self, other: Overview) -> Overview:
        """Of both parts' rows."""
        return Overview(
            self.rows + other.rows,
            self.decisions + other.decisions,
            {k: self.matches.get(k, 0.0) + other.matches.get(k, 0.0) for k in {**self.matches, **other.matches}},
            self.weighing.merge(other.weighing),
            largest(np.concatenate([self.largest, other.largest])) if len(other.largest) else self.largest,
            (min(self.rewards[0], other.rewards[0]), max(self.rewards[1], other.rewards[1])),
            (min(self.propensities[0], other.propensities[0]), max(self.propensities[1], other.propensities[1])),
            self.buckets + other.buckets,
            self.clustered,
        )

    @property
    def matched(self) -> float:
        """Sum of the policy's probabilities of what was shown."""
        return float(sum(self.matches.values()))


class Statistics(NamedTuple):
    """Of rows under one policy: an overview, and sums of each estimator at each of its settings.

    >>> from recbayes.evaluation.estimators import ips, snips
    >>> from recbayes.evaluation.rows import of_arrays
    >>> whole = Statistics.of(of_arrays([1.0, 0.0], [0.5, 0.5], [0.8, 0.2]), [ips(), snips()])
    >>> whole.overview.matched, whole.sums[0][0].weighing.effective_clicks
    (1.0, 1.0)
    """

    overview: Overview
    sums: tuple[tuple[Sums, ...], ...]

    @classmethod
    def of(cls, rows: Rows, estimators: Sequence[Estimator], *, threads: int = 1) -> Statistics:
        """Of some rows.

        Args:
          rows: the decisions.
          estimators: what to sum for.
          threads: that work on the rows.
        """
        starts = list(range(0, max(rows.size, 1), BLOCK))
        share = -(-len(starts) // (threads * PARTS)) if threads > 1 else len(starts)
        parts = [starts[i : i + share] for i in range(0, len(starts), share)]

        def work(part: list[int]) -> Statistics:
            found = _block(rows.part(part[0], part[0] + BLOCK), estimators)
            for start in part[1:]:
                top = found.overview.largest
                found = found.merge(_block(rows.part(start, start + BLOCK), estimators, top.min() if len(top) == TOP else -np.inf))
            return found

        if len(parts) == 1:
            return work(parts[0])
        with ThreadPoolExecutor(threads) as pool:
            return merged(pool.map(work, parts))

    def merge(self, other: Statistics) -> Statistics:
        """Of both parts' rows."""
        sums = tuple(tuple(a.merge(b) for a, b in zip(mine, theirs)) for mine, theirs in zip(self.sums, other.sums))
        return Statistics(self.overview.merge(other.overview), sums)


def merged(parts: Iterable[Statistics]) -> Statistics:
    """All parts' rows together."""
    return reduce(Statistics.merge, parts)


def largest(weights: Array) -> Array:
    """The TOP largest of some weights, in no order."""
    return weights if len(weights) <= TOP else np.partition(weights, len(weights) - TOP)[-TOP:]


def _matches(rows: Rows) -> dict[int, float]:
    """The policy's probabilities of what was shown, summed over the decisions of each stratum."""
    low, high = (int(np.min(rows.stratum)), int(np.max(rows.stratum))) if rows.size else (0, 0)
    if low == high:
        return {low: float(rows.target.sum() if rows.times is None else rows.target @ rows.times)}
    sums = np.bincount(rows.stratum, rows.target if rows.times is None else rows.target * rows.times)
    return dict(enumerate(sums.tolist()))


def _ends(values: Array) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (np.inf, -np.inf)


def _block(rows: Rows, estimators: Sequence[Estimator], above: float = -np.inf) -> Statistics:
    raw = rows.weight
    overview = Overview.of(rows, raw, above)

    def one(estimator: Estimator, setting: float | None) -> Sums:
        same = estimator.shrink is None and not estimator.matches
        return Sums.of(rows, raw, estimator, setting, overview.weighing if same else None)

    return Statistics(overview, tuple(tuple(one(e, setting) for setting in e.settings) for e in estimators))
