"""Which policy is better, and how sure that is: differences on the same rows, so that what both share cancels.

Two estimates from one log go up and down together. The error of their difference comes from the difference of their influence values,
bucket by bucket; the probability that the order is right is the posterior one under a flat prior, Phi(difference / error).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from recbayes.evaluation.intervals import resampled
from recbayes.evaluation.sums import Sums
from recbayes.evaluation.value import influence, of_sums
from recbayes.types import Array


class Pair(NamedTuple):
    """Two policies, the better one first by the estimator that ranks; probability that this order is right; whether both are believed."""

    better: str
    worse: str
    difference: float
    stderr: float
    probability: float
    estimator: str
    verdict: str


def pair(first: tuple[str, Sums], second: tuple[str, Sums], buckets: Array, estimator: str, verdict: str) -> Pair:
    """How two policies compare; `buckets` [BUCKETS] are the log's decisions."""
    if of_sums(second[1]).value > of_sums(first[1]).value:
        first, second = second, first
    difference = of_sums(first[1]).value - of_sums(second[1]).value
    apart = influence(first[1], buckets) - influence(second[1], buckets)
    there = int(np.count_nonzero(buckets))
    stderr = math.sqrt(float(apart @ apart) * there / (there - 1)) if there > 1 else math.nan
    probability = float(stats.norm.cdf(difference / stderr)) if stderr > 0 else 0.5 if difference == 0 else math.nan
    return Pair(first[0], second[0], difference, stderr, probability, estimator, verdict)


def best(sums: Mapping[str, Sums], buckets: Array) -> dict[str, float]:
    """The share of resamples of the log in which each policy comes first; ties share."""
    draws = np.stack([resampled(one, buckets) for one in sums.values()])  # [policies, RESAMPLES]
    first = draws == draws.max(0)
    shares = (first / first.sum(0)).mean(1)
    return dict(zip(sums, shares.tolist()))
