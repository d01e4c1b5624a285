"""What estimators see of a log: a row a decision, with the policy's probability of what was shown and the reward model's words on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbayes.types import Array

BUCKETS = 4096
"""Clusters are gathered into so many buckets by a hash of their name: sums over a bucket have a fixed size, and shards add up."""


class Rows(NamedTuple):
    """Decisions of a log under one policy, [n] each, float64 but for stratum and bucket.

    propensity, target: the logging and the judged policy's probability of the item shown. reward: clicks (0 or 1) or a number. predicted:
    the reward model's mean of the item shown. expected: its mean under the policy's whole vector, sum over candidates of probability x
    prediction. times: decisions that a row stands for, None for one. stratum: 2 x position + half of the log, one number where all rows
    agree. bucket: of the row's cluster, None where every row is its own cluster and its bucket follows from its number. first: the
    number of the first row.
    """

    propensity: Array
    target: Array
    reward: Array
    predicted: Array | None = None
    expected: Array | None = None
    times: Array | None = None
    stratum: Array | int = 0
    bucket: Array | None = None
    first: int = 0

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.reward)

    @property
    def weight(self) -> Array:
        """How often the policy shows what was shown for each time that the log does, [n]."""
        return self.target / self.propensity

    def part(self, start: int, stop: int) -> Rows:
        """Rows from start to stop."""
        cut = {name: value[start:stop] for name, value in self._asdict().items() if isinstance(value, np.ndarray)}
        return self._replace(**cut, first=self.first + start)


def of_arrays(reward: Array, propensity: Array, target: Array, predicted: Array | None = None, expected: Array | None = None) -> Rows:
    """Rows of plain arrays [n], every row a cluster of its own; the first half of them is the log's first half.

    >>> of_arrays([1.0, 0.0], [0.5, 0.5], [0.8, 0.2]).weight.tolist()
    [1.6, 0.4]
    """
    reward, propensity, target = (np.asarray(value, np.float64) for value in (reward, propensity, target))
    stratum = (np.arange(len(reward)) >= len(reward) // 2).astype(np.int64)
    predicted, expected = (None if value is None else np.asarray(value, np.float64) for value in (predicted, expected))
    return Rows(propensity, target, reward, predicted, expected, stratum=stratum)
