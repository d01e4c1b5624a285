"""Which policy is better, and how sure that is: differences on the same rows, so that what both share cancels.

Two estimates from one log go up and down together. The error of their difference comes from the difference of their influence values,
bucket by bucket; the probability that the order is right is the posterior one under a flat prior, Phi(difference / error).

Where the direct method ranks, the error of fitting its model is added, by the jackknife over folds of the difference, and Student's
distribution with a degree of freedom less than folds takes the place of Phi.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from recbayes.evaluation.resampling import RESAMPLES
from recbayes.evaluation.sums import Sums
from recbayes.evaluation.value import influence, of_sums
from recbayes.evaluation.verdict import RANKS
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


class Ranked(NamedTuple):
    """A policy in the order: its sums by the estimator that ranks, and its verdict.

    draws: its estimate in each resample, [RESAMPLES], for `best`. by_fold: what it earns by the fit without each fold, [folds], where the
    direct method ranks; else empty.
    """

    name: str
    sums: Sums
    verdict: str
    draws: Array = np.zeros(0)
    by_fold: Array = np.zeros(0)


class Best(NamedTuple):
    """Each policy's probability to be the best. resamples: how many it is from. reason: why it is NaN, where too few are left."""

    shares: dict[str, float]
    resamples: int
    reason: str


def pair(first: Ranked, second: Ranked, buckets: Array, estimator: str) -> Pair:
    """How two policies compare; `buckets` [BUCKETS] are the log's decisions."""
    if of_sums(second.sums).value > of_sums(first.sums).value:
        first, second = second, first
    difference = of_sums(first.sums).value - of_sums(second.sums).value
    apart = influence(first.sums, buckets) - influence(second.sums, buckets)
    there = int(np.count_nonzero(buckets))
    fitting = jackknife(first.by_fold - second.by_fold)
    stderr = math.sqrt(float(apart @ apart) * there / (there - 1) + fitting @ fitting) if there > 1 else math.nan
    law = stats.t(len(fitting) - 1) if len(fitting) > 1 else stats.norm()
    probability = float(law.cdf(difference / stderr)) if stderr > 0 else 0.5 if difference == 0 else math.nan
    verdict = max(first.verdict, second.verdict, key=RANKS.index)
    return Pair(first.name, second.name, difference, stderr, probability, estimator, verdict)


def jackknife(by_fold: Array) -> Array:
    """Each left-out fold's part in the error of fitting, [..., folds]; their squares sum to its variance.

    >>> float(np.square(jackknife(np.array([1.0, 2.0, 3.0]))).sum()).__round__(3)
    1.333
    """
    folds = by_fold.shape[-1]
    return math.sqrt((folds - 1) / folds) * (by_fold - by_fold.mean(-1, keepdims=True)) if folds else by_fold


def best(policies: Sequence[Ranked]) -> Best:
    """The share of resamples of the log in which each policy comes first; ties share. A resample that holds nothing of one is left out."""
    draws = np.stack([_with_fit(policy) for policy in policies])  # [policies, RESAMPLES]
    draws = draws[:, np.isfinite(draws).all(0)]
    names, left = [policy.name for policy in policies], draws.shape[1]
    if 2 * left < RESAMPLES:
        why = f"Only {left:,} of {RESAMPLES:,} resamples of the log hold something of every policy: too few to say which is best."
        return Best(dict.fromkeys(names, math.nan), left, why)
    first = draws == draws.max(0)
    return Best(dict(zip(names, (first / first.sum(0)).mean(1).tolist())), left, "")


def _with_fit(policy: Ranked) -> Array:
    """The estimate of each resample, [RESAMPLES]; the direct method's with the error of its fit, the same draw for all policies."""
    draws, fitting = policy.draws, jackknife(policy.by_fold)
    if len(fitting) < 2:
        return draws
    random, freedom, value = np.random.default_rng(1), len(fitting) - 1, of_sums(policy.sums).value
    fits = random.standard_normal((RESAMPLES, len(fitting))) @ fitting
    return value + (draws - value + fits) * np.sqrt(freedom / random.chisquare(freedom, RESAMPLES))  # as Student's, as in `pair`
