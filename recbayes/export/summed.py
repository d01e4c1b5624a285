"""What a policy sees of a served decision: the answers of `Predictive`, components summed up by their first two moments at each node.

Means and standard deviations are exact given the nodes; a joint draw takes one node for all candidates of a decision, and for each the
beta of its mean and variance there, by one normal. All its random numbers come from one call of the generator: uncompiled, as it is served,
a call is a hundred small operations, which cost more than the numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from recbayes import random
from recbayes.export.nodes import Law
from recbayes.policies.one_normal import beta_at
from recbayes.types import Tensor


class Summed(NamedTuple):
    """Click rates of B decisions' candidates.

    means, variances: given the node of the page effect, [Q, B, A]; weights: of the nodes, sum 1 over Q, [Q, B, 1]; present: bool [B, A],
    False where every answer is 0.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    present: Tensor

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
        numbers = random.uniform(seed, [n, shape[1], shape[2] + 1])
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
