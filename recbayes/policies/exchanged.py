"""What a control sees: each candidate's mean, and the uncertainty of another candidate of the same decision.

A policy that gains by knowing where the doubt lies loses by this; one that gains by exploring at all, wherever, does not. The candidates of
a decision are turned round by a random number of places at every step, so that none keeps its own and each of the others' is as likely.

It is the means that are moved, to the places of the candidates whose uncertainty they meet, and the probabilities that are moved back:
[B, A] numbers each, where moving the draws themselves would take as long as drawing them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.random import uniform
from recbayes.types import Tensor


class Exchanged(NamedTuple):
    """A predictive whose candidates stand in each other's places. known: the predictive; mean: of who is in each place, [..., B, A]."""

    known: Any
    mean: Tensor

    @property
    def stddev(self) -> Tensor:
        """The place's own standard deviation, [..., B, A]."""
        return self.known.stddev

    @property
    def contrast_stddev(self) -> Tensor:
        """The place's own deviation of the contrast, [..., B, A]."""
        return self.known.contrast_stddev

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws, [n, ..., B, A]: the mean and how far the place's own draw is from its mean, which may leave (0, 1)."""
        return self.mean + (self.known.sample(n, seed) - self.known.mean)


def exchange(predictive: Any, order: Tensor) -> Exchanged:
    """The predictive with candidate order[..., b, a] in the place of candidate a."""
    return Exchanged(predictive, placed(predictive.mean, order))


def placed(values: Tensor, order: Tensor) -> Tensor:
    """values[..., order[..., a]] for each a, [..., A].

    >>> placed(tf.constant([[0.25, 0.5, 1.0]]), tf.constant([[2, 0, 1]])).numpy().tolist()
    [[1.0, 0.25, 0.5]]
    """
    order = tf.broadcast_to(order, tf.shape(values))
    order.set_shape(values.shape)
    return tf.gather(values, order, axis=-1, batch_dims=len(values.shape) - 1)


def turned(candidates: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Who stands in each candidate's place, and where each one went, int32 [..., B, A] each.

    In a candidate's place is the one so many candidates further on, from 1 to all but one of them; what is no candidate stays.

    >>> [order.numpy().tolist() for order in turned(tf.constant([[True, False, True]]), [0, 1])]
    [[[2, 1, 0]], [[2, 1, 0]]]
    """
    here = tf.cast(candidates, tf.int32)
    count, rank = tf.reduce_sum(here, -1, keepdims=True), tf.cumsum(here, -1) - 1  # [..., B, 1], [..., B, A]
    others = tf.cast(tf.maximum(count - 1, 1), tf.float32)
    shape = [size if size is not None else tf.shape(candidates)[axis] for axis, size in enumerate(candidates.shape[:-1])]
    by = 1 + tf.cast(uniform(seed, [*shape, 1]) * others, tf.int32)
    return _further(candidates, rank, count, by), _further(candidates, rank, count, -by)


def _further(candidates: Tensor, rank: Tensor, count: Tensor, by: Tensor) -> Tensor:
    """The candidate so many candidates further on, round and round."""
    wanted = tf.math.floormod(rank + by, tf.maximum(count, 1))
    match = (wanted[..., None] == rank[..., None, :]) & candidates[..., None, :]  # [..., B, A, A]
    own = tf.range(tf.shape(candidates)[-1])
    return tf.where(candidates, tf.reduce_sum(tf.where(match, own, 0), -1), own)
