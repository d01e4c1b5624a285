"""Intervals of lifts: the bootstrap over groups, paired, and the spread over replicas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from recbayes.types import Array

LEVEL = 0.95
RESAMPLES = 2000
MOST = 5000
"""More clusters than this are first summed into so many at random: the interval stays valid, and cheap."""


class Lift(NamedTuple):
    """Clicks of one policy over those of another, less 1: a share, 0.08 is 8% more. NaN where the other's are not above 0.

    interval: 95% over groups (clusters); interval_over_replicas: 95% over the simulation's own randomness, which more seeds make vanish.
    """

    lift: float
    interval: tuple[float, float]
    interval_over_replicas: tuple[float, float]


class Resamples(NamedTuple):
    """Bootstrap resamples of clusters, the same for every pair of policies.

    codes: cluster of each group, [G]; weights: [resamples, C]; of_log: each replica is itself a resample of one log, so that the log's own
    doubt is the replicas' spread.
    """

    codes: Array
    weights: Array
    of_log: bool = False

    @classmethod
    def of(cls, clusters: Array, *, of_log: bool = False) -> Resamples:
        """Resamples of the clusters that the groups [G] are in."""
        rng = np.random.default_rng(0)
        codes = np.unique(clusters, return_inverse=True)[1]
        number = int(codes.max()) + 1
        if number > MOST:
            codes, number = rng.permutation(np.arange(number) % MOST)[codes], MOST
        return cls(codes, rng.multinomial(number, np.full(number, 1.0 / number), RESAMPLES).astype(np.float32), of_log)

    def lift(self, clicks: Array, reference: Array) -> Lift:
        """Lift of clicks over a reference on the same groups and replicas.

        Args:
          clicks: expected clicks, [R, G].
          reference: those of the policy to compare with, [R, G], or [1, G] where they are known exactly.

        >>> figures = Resamples.of(np.array([0, 1])).lift(np.array([[2.0, 3.0], [2.0, 3.0]]), np.array([[2.0, 2.0]]))
        >>> figures.lift, figures.interval
        (0.25, (0.0, 0.5))
        """
        means = clicks.mean(0), reference.mean(0)
        if not means[1].sum() > 0.0:  # rewards that may be negative: a ratio would mean nothing
            return Lift(np.nan, (np.nan, np.nan), (np.nan, np.nan))
        value = float(means[0].sum() / means[1].sum() - 1.0)
        replicas = over_replicas(clicks.sum(1), reference.sum(1))
        number = self.weights.shape[1]
        if number < 2:  # no groups to resample
            return Lift(value, over_replicas(clicks.sum(1), reference.sum(1), of_log=self.of_log), replicas)
        over, under = (self.weights @ np.bincount(self.codes, mean, number) for mean in means)
        low, high = np.quantile(over / np.maximum(under, 1e-300) - 1.0, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
        return Lift(value, (min(float(low), value), max(float(high), value)), replicas)


def over_replicas(clicks: Array, reference: Array, *, of_log: bool = False) -> tuple[float, float]:
    """Student's interval of the lift over replicas, from clicks [R] and the reference's, [R] or [1].

    of_log: replicas are resamples of one log: more of them tell no more of what the log was drawn from, so that the error is their
    spread, not that over sqrt(R). It holds the policy's own dice too, and is so a little wide.
    """
    value, number = float(clicks.mean() / reference.mean() - 1.0), len(clicks)
    if number < 2:
        return value, value
    apart = (clicks - (1.0 + value) * reference) / reference.mean()
    half = float(stats.t.ppf((1.0 + LEVEL) / 2.0, number - 1) * apart.std(ddof=1) * np.sqrt(1.0 / number + of_log))
    return value - half, value + half
