"""What a policy sees of a served decision: the answers of `Predictive`, components summed up by their first two moments at each node.

Means and standard deviations are exact given the nodes; a joint draw takes one node for all candidates of a decision, and for each the
beta of its mean and variance there, by one normal. All random numbers of a call come from one pass of the generator (`Numbers`):
uncompiled, as it is served, a pass is a hundred small operations, which cost more than the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes import random
from recbayes.export.nodes import Law
from recbayes.policies.one_normal import beta_at
from recbayes.types import Tensor


class Numbers:
    """Uniform random numbers of one call, from one pass of the generator: those of the first joint draw, and one a decision for the choice.

    Args:
      seed: int32 [2].
      decisions: B.

    >>> numbers = Numbers(tf.constant([1, 2]), tf.constant(3))
    >>> numbers.fresh, numbers.block([2, 3]).shape.as_list(), numbers.choices().shape.as_list(), numbers.fresh
    (True, [2, 3], [3], False)
    """

    def __init__(self, seed: Tensor, decisions: Tensor) -> None:
        self._seed, self._decisions, self._choices = seed, decisions, None

    @property
    def fresh(self) -> bool:
        """Whether `block` was not asked yet: it answers once."""
        return self._choices is None

    def block(self, shape: Sequence[Any]) -> Tensor:
        """Numbers of a shape."""
        size = tf.reduce_prod(tf.convert_to_tensor(shape))
        every = random.uniform(self._seed, [size + self._decisions])
        self._choices = every[size:]
        return tf.reshape(every[:size], shape)

    def choices(self) -> Tensor:
        """A number a decision, [B], independent of the block."""
        return random.uniform(self._seed, [self._decisions]) if self._choices is None else self._choices


class Summed(NamedTuple):
    """Click rates of B decisions' candidates.

    means, variances: given the node of the page effect, [Q, B, A]; weights: of the nodes, sum 1 over Q, [Q, B, 1]; present: bool [B, A],
    False where every answer is 0; numbers: what the first joint draw takes in place of its seed.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    present: Tensor
    numbers: Numbers | None = None

    @classmethod
    def of(cls, law: Law, present: Tensor) -> Summed:
        """From what the counts say."""
        return cls(*law.moments(), law.weights[..., None], present)

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [B, A]."""
        return self._shown(self._over_nodes(self.means))

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [B, A]."""
        mean = self._over_nodes(self.means)
        return self._shown(tf.sqrt(self._over_nodes(self.variances + tf.square(self.means - mean))))

    @property
    def contrast_stddev(self) -> Tensor:
        """Spread that tells candidates apart, [B, A]: what they share, the page's effect and the model's common doubt, is held."""
        return self._shown(tf.sqrt(self._over_nodes(self.variances)))

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws, [n, B, A]: nodes stratified over the draws; a click rate's law is off by what `beta_at` is."""
        shape = tf.shape(self.means)
        wanted = [n, shape[1], shape[2] + 1]
        numbers = self.numbers.block(wanted) if self.numbers is not None and self.numbers.fresh else random.uniform(seed, wanted)
        first, own = numbers[0, :, -1], numbers[:, :, :-1]
        place = (tf.range(n, dtype=tf.float32)[:, None] + first) / n  # [n, B]
        below = tf.cumsum(self.weights[..., 0], 0, exclusive=True)  # [Q, B]
        chosen = tf.reduce_sum(tf.cast(place[:, None] >= below, tf.int32), 1) - 1  # [n, B]
        where = tf.stack([chosen, tf.broadcast_to(tf.range(shape[1]), tf.shape(chosen))], -1)
        mean, variance = (tf.gather_nd(values, where) for values in (self.means, self.variances))  # [n, B, A]
        return self._shown(beta_at(mean, variance, tf.math.ndtri(own)))

    def _over_nodes(self, values: Tensor) -> Tensor:
        return tf.reduce_sum(self.weights * values, 0)

    def _shown(self, values: Tensor) -> Tensor:
        return tf.where(self.present, values, tf.zeros_like(values))
