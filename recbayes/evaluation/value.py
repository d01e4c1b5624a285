"""From sums to a value, its standard error and its influence: one place for all estimators.

    V = R + c,   R = sum(total) / sum(share),   c = mean(constant)
    influence of a decision:  (total - R share) / mean(share) + constant - c

The standard error is that of the influence values' mean: over decisions where each is its own cluster, over clusters (gathered in
buckets) otherwise. Numerator and denominator of a ratio move together in it, as they must.

Source: Cochran 1977, Sampling techniques, ch. 6; clusters: Cameron and Miller 2015, A practitioner's guide to cluster-robust inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np

from recbayes.evaluation.moments import Moments
from recbayes.evaluation.sums import Sums
from recbayes.types import Array


class Value(NamedTuple):
    """An estimate: value, stderr (NaN where it can't be told), and how many decisions it is from."""

    value: float
    stderr: float
    decisions: float


def of_moments(names: tuple[str, ...], moments: Moments) -> Value:
    """The estimate of decisions that are independent of each other."""
    value, gradient = linear(names, dict(zip(names, moments.mean)))
    if moments.decisions == 0:
        return Value(math.nan, math.nan, 0.0)
    variance = float(gradient @ moments.covariance @ gradient)
    return Value(value, math.sqrt(max(variance, 0.0) / moments.decisions) if variance == variance else math.nan, moments.decisions)


def of_sums(sums: Sums, buckets: Array | None = None) -> Value:
    """The estimate of all strata; clustered where the decisions in each bucket [BUCKETS] are given."""
    moments = reduce(Moments.merge, sums.strata.values())
    found = of_moments(sums.names, moments)
    if buckets is None:
        return found
    own = influence(sums, buckets)
    there = int(np.count_nonzero(buckets))
    stderr = math.sqrt(float(own @ own) * there / (there - 1)) if there > 1 else math.nan
    return found._replace(stderr=stderr)


def influence(sums: Sums, buckets: Array) -> Array:
    """Each bucket's part in the estimate's error, [BUCKETS]; they sum to 0."""
    means = dict(zip(sums.names, sums.buckets.sum(1) / buckets.sum()))
    _, gradient = linear(sums.names, means)
    apart = sums.buckets - np.array(list(means.values()))[:, None] * buckets
    return gradient @ apart / buckets.sum()


def lost(sums: Sums) -> Value:
    """What shrinking the weights took from the estimate; 0 for those that don't shrink."""
    moments = reduce(Moments.merge, sums.strata.values())
    if "lost" not in sums.names:
        return Value(0.0, 0.0, moments.decisions)
    place = sums.names.index("lost")
    return of_moments(("total",), Moments(moments.decisions, moments.mean[[place]], moments.comoment[np.ix_([place], [place])]))


def linear(names: tuple[str, ...], means: Mapping[str, float]) -> tuple[float, Array]:
    """The value at some column means, and its derivative by each of them, [k].

    >>> value, gradient = linear(("total", "share"), {"total": 1.0, "share": 2.0})
    >>> value, gradient.tolist()
    (0.5, [0.5, -0.25])
    """
    share = means.get("share", 1.0)
    ratio = means.get("total", 0.0) / share if share else math.nan
    by = {"total": 1.0 / share if share else math.nan, "share": -ratio / share if share else math.nan, "constant": 1.0, "lost": 0.0}
    return float(ratio + means.get("constant", 0.0)), np.array([by[name] for name in names])
