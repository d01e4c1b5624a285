"""What is kept of an estimator's rows: moments a stratum, sums a bucket of clusters, and how concentrated the weighted rewards are.

All of it has a size that does not depend on the log's, and merges: a log streams through once, and shards add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from recbayes.evaluation.estimators.base import Estimator, Terms
from recbayes.evaluation.moments import Moments, product, total
from recbayes.evaluation.rows import BUCKETS, Rows
from recbayes.types import Array

COLUMNS = ("total", "share", "constant", "lost")
"""Terms of a row, and what shrinking took from its total; an estimator has some of them, in this order."""


class Weighing(NamedTuple):
    """Sums over decisions of weights and of weighted rewards |w r|: how many rows and how many clicks the estimate rests on.

    rewarded: decisions whose reward is not 0.
    """

    weight: float = 0.0
    weight_square: float = 0.0
    reward: float = 0.0
    reward_square: float = 0.0
    rewarded: float = 0.0
    largest_reward: float = 0.0

    @classmethod
    def of(cls, weights: Array, reward: Array, count: Array | None) -> Weighing:
        """Of rows with these weights, [n]."""
        rewarded = np.flatnonzero(reward != 0)  # clicks are rare: the rest adds nothing
        own = np.abs(weights[rewarded] * reward[rewarded])
        of_own = None if count is None else count[rewarded]
        return cls(
            total(weights, count),
            product(weights, weights, count),
            total(own, of_own),
            product(own, own, of_own),
            float(len(rewarded) if of_own is None else of_own.sum()),
            float(own.max(initial=0.0)),
        )

    def merge(self, other: Weighing) -> Weighing:
        """Of both parts' rows."""
        added = Weighing(*(mine + theirs for mine, theirs in zip(self, other)))
        return added._replace(largest_reward=max(self.largest_reward, other.largest_reward))

    @property
    def effective_rows(self) -> float:
        """(sum w)^2 / sum w^2: rows of equal weight that would say as much."""
        return self.weight**2 / self.weight_square if self.weight_square else 0.0

    @property
    def effective_clicks(self) -> float:
        """(sum w r)^2 / sum (w r)^2: clicks of equal weight that would say as much."""
        return self.reward**2 / self.reward_square if self.reward_square else 0.0

    @property
    def largest_share(self) -> float:
        """Share of the largest weighted reward in their sum."""
        return self.largest_reward / self.reward if self.reward else 0.0


class Sums(NamedTuple):
    """Of one estimator with one setting.

    names: the columns it has, of COLUMNS. strata: moments of the columns in each stratum. buckets: [k, BUCKETS], sums of the columns over
    each bucket's decisions. weighing: of its own weights.
    """

    names: tuple[str, ...]
    strata: Mapping[int, Moments]
    buckets: Array
    weighing: Weighing

    @classmethod
    def of(cls, rows: Rows, raw: Array, estimator: Estimator, setting: float | None, weighing: Weighing | None = None) -> Sums:
        """Of some rows with their raw weights; `weighing` where the caller has that of the estimator's weights already."""
        weights = estimator.weights(rows, raw, setting)
        terms = estimator.terms(rows, weights)
        parts: dict[str, Array] = {name: value for name, value in terms._asdict().items() if value is not None}
        if estimator.shrink is not None:
            parts["lost"] = _first(estimator.terms(rows, raw)) - _first(terms)
        columns = np.stack(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))[None]  # [k, n]
        weighing = weighing or Weighing.of(weights, rows.reward, rows.times)
        return cls(tuple(parts), by_stratum(columns, rows), by_bucket(columns, rows), weighing)

    def merge(self, other: Sums) -> Sums:
        """Of both parts' rows."""
        strata = dict(self.strata)
        for stratum, moments in other.strata.items():
            strata[stratum] = strata[stratum].merge(moments) if stratum in strata else moments
        return Sums(self.names, strata, self.buckets + other.buckets, self.weighing.merge(other.weighing))


def by_stratum(columns: Array, rows: Rows) -> dict[int, Moments]:
    """Moments of columns [k, n] in each stratum of the rows."""
    if not isinstance(rows.stratum, np.ndarray):
        return {int(rows.stratum): Moments.of(columns, rows.times)}
    low, high = (int(rows.stratum.min()), int(rows.stratum.max())) if rows.size else (0, 0)
    if low == high:
        return {low: Moments.of(columns, rows.times)}
    found = {}
    for stratum in np.flatnonzero(np.bincount(rows.stratum)).tolist():
        there = rows.stratum == stratum
        found[stratum] = Moments.of(columns[:, there], None if rows.times is None else rows.times[there])
    return found


def by_bucket(columns: Array, rows: Rows) -> Array:
    """Sums of columns [k, n] over the decisions of each bucket, [k, BUCKETS]."""
    if rows.times is not None:
        columns = columns * rows.times
    if rows.bucket is not None:
        return np.stack([np.bincount(rows.bucket, column, BUCKETS) for column in columns])
    whole = rows.size // BUCKETS * BUCKETS
    sums = columns[:, :whole].reshape(len(columns), -1, BUCKETS).sum(1)
    sums[:, : rows.size - whole] += columns[:, whole:]
    shift = rows.first % BUCKETS
    return np.roll(sums, shift, axis=1) if shift else sums


def bucket_counts(rows: Rows) -> Array:
    """Decisions in each bucket, [BUCKETS]."""
    if rows.times is not None or rows.bucket is not None:
        return by_bucket(np.ones((1, rows.size)), rows)[0]
    counts = np.full(BUCKETS, float(rows.size // BUCKETS))
    counts[: rows.size % BUCKETS] += 1.0
    shift = rows.first % BUCKETS
    return np.roll(counts, shift) if shift else counts


def _first(terms: Terms) -> Array:
    assert terms.total is not None
    return terms.total
