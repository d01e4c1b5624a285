"""The bootstrap's draws: the estimate of each resample of the log, a task of an engine for each estimate.

A resample weighs each bucket by a Poisson count; its estimate is that of the weighted sums. The counts are the same for every estimate of
every log, drawn once a process from a fixed seed, so a task's result is the same wherever it is done.

Sums of floats depend on their order, and BLAS orders them by how many threads it has: a worker of Ray has one. So sums are of whole
numbers: columns are rounded to multiples of a power of two, 2^-38 of their largest entry at most, and the counts of a resample add up to
less than 2^13, so that no partial sum passes 2^53. Those are exact in float64 in any order, and the rounding is far below the noise.

Source: Poisson weights: Hanley and MacGibbon 2006, CMPB 83(1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np

from recbayes.engine import Engine, Work, results
from recbayes.evaluation.rows import BUCKETS
from recbayes.evaluation.sums import Sums
from recbayes.types import Array

Tell: TypeAlias = Callable[[int, int, str], object]
"""Told of progress: (done, of, what)."""
RESAMPLES = 1000
BITS = 39
"""Of a column's largest entry, that are kept."""


class Study(NamedTuple):
    """A log's decisions in each bucket, [BUCKETS], and the sums whose estimates are resampled."""

    buckets: Array
    sums: Sequence[Sums]


def drawn(study: Study, engine: Engine, tell: Tell) -> list[Array]:
    """The draws of each of a study's estimates, [RESAMPLES]; `tell` is called with (done, of, what) after each."""
    found: dict[int, Array] = {}
    for number, draws in results(engine, Work(task, study, whole=None), len(study.sums)):
        found[number] = draws
        tell(len(found), len(study.sums), "bootstraps")
    return [found[number] for number in range(len(study.sums))]


def task(study: Study, number: int) -> Array:
    """One of them: what an engine does."""
    return resampled(study.sums[number], study.buckets)


def resampled(sums: Sums, buckets: Array) -> Array:
    """The estimate of each resample, [RESAMPLES]: the same resamples for every estimator and policy of a log."""
    there = np.flatnonzero(buckets)
    last = int(there[-1]) + 1  # a log of n rows fills the first n buckets
    weighed = weighted(resamples()[:, :last], np.concatenate([[buckets], sums.buckets])[:, :last])  # [RESAMPLES, 1 + k]
    with np.errstate(divide="ignore", invalid="ignore"):  # of few clusters a resample may hold none
        means = {name: column / weighed[:, 0] for name, column in zip(sums.names, weighed[:, 1:].T)}
        return np.asarray(means.get("total", 0.0) / means.get("share", 1.0) + means.get("constant", 0.0))


def weighted(counts: Array, columns: Array) -> Array:
    """Sums of columns [k, n] weighted by whole numbers [m, n], [m, k]: exact to 2^-39 of a column's largest entry times the sum of counts.

    >>> weighted(np.array([[1.0, 2.0]]), np.array([[0.5, 0.25], [3.0, 0.0]])).tolist()
    [[1.0, 3.0]]
    """
    unit = np.ldexp(1.0, np.maximum(np.frexp(np.abs(columns).max(1))[1] - BITS, -1022))  # [k]
    return counts @ np.rint(columns / unit[:, None]).T * unit


@cache
def resamples() -> Array:
    """How often each bucket is in each resample, float64 [RESAMPLES, BUCKETS]."""
    return np.random.default_rng(0).poisson(1.0, (RESAMPLES, BUCKETS)).astype(np.float64)
