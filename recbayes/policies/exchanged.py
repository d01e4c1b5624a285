"""What a control sees: each candidate's mean, and the uncertainty of another candidate of the same decision.

A policy that gains by knowing where the doubt lies loses by this; one that gains by exploring at all, wherever, does not. The candidates of
a decision are turned round by a random number of places at every step, so that none keeps its own and each of the others' is as likely.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.random import uniform
from recbayes.types import Tensor


class Exchanged(NamedTuple):
    """A predictive whose candidates have exchanged their uncertainty.

    known: the predictive; order: whose uncertainty each candidate has, int32 [..., B, A]; on: bool [], False leaves everything as it is.
    """

    known: Any
    order: Tensor
    on: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected click rate, each candidate's own, [..., B, A]."""
        return self.known.mean

    @property
    def stddev(self) -> Tensor:
        """Another candidate's standard deviation, [..., B, A]."""
        return self._moved(self.known.stddev)

    @property
    def contrast_stddev(self) -> Tensor:
        """Another candidate's deviation of the contrast, [..., B, A]."""
        return self._moved(self.known.contrast_stddev)

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws, [n, ..., B, A]: the mean and how far another candidate's draw is from its mean, which may leave (0, 1)."""
        draws, mean = self.known.sample(n, seed), self.mean
        return tf.where(self.on, mean + self._moved(draws - mean), draws)

    def _moved(self, values: Tensor) -> Tensor:
        order = tf.broadcast_to(self.order, tf.shape(values))
        order.set_shape(values.shape)
        return tf.gather(values, order, axis=-1, batch_dims=len(values.shape) - 1)


def exchange(predictive: Any, candidates: Tensor, seed: Tensor, on: Tensor) -> Exchanged:
    """The predictive with the candidates' uncertainty exchanged.

    Args:
      predictive: a `Predictive`, or what answers as one.
      candidates: bool [..., B, A]; only they exchange.
      seed: int32 [2].
      on: bool []; False leaves everything as it is, so that a policy and its control are one compiled program.
    """
    return Exchanged(predictive, turned(candidates, seed, on), on)


def turned(candidates: Tensor, seed: Tensor, on: Tensor) -> Tensor:
    """Whose place each candidate takes, int32 [..., B, A]: the one so many candidates further on, from 1 to all but one of them.

    >>> turned(tf.constant([[True, False, True]]), [0, 1], tf.constant(True)).numpy().tolist()
    [[2, 1, 0]]
    """
    here = tf.cast(candidates, tf.int32)
    count, rank = tf.reduce_sum(here, -1, keepdims=True), tf.cumsum(here, -1) - 1  # [..., B, 1], [..., B, A]
    others = tf.cast(tf.maximum(count - 1, 1), tf.float32)
    shape = [size if size is not None else tf.shape(candidates)[axis] for axis, size in enumerate(candidates.shape[:-1])]
    by = 1 + tf.cast(uniform(seed, [*shape, 1]) * others, tf.int32)
    wanted = tf.math.floormod(rank + tf.where(on, by, 0), tf.maximum(count, 1))
    match = (wanted[..., None] == rank[..., None, :]) & candidates[..., None, :]  # [..., B, A, A]
    own = tf.range(tf.shape(candidates)[-1])
    return tf.where(candidates, tf.reduce_sum(tf.where(match, own, 0), -1), own)
