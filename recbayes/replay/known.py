"""What a policy sees in replay: the same answers as `Predictive`, from each arm's mean and variance given the node of the page's effect.

A mixture's components and the weight draws' nodes are summed up by their first two moments before the policy asks, along groups as the
innermost axis: some ten times as fast under XLA as the whole mixture. Means and standard deviations are the same; a joint draw takes a
beta with the node's mean and variance, by one normal.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from recbayes import random
from recbayes.policies.one_normal import beta_at
from recbayes.replay import numbers
from recbayes.replay.betas import betas
from recbayes.types import Tensor


class Known(NamedTuple):
    """Click rates of the arms of G groups.

    means, variances: of the click rate given node and weight draw, [Q, S, A, G]; log_weights: of nodes, normalised over Q, [Q, S, G];
    the draws count alike. present: bool [A, G]. exact: joint draws are exact betas, else by one normal; boosted: shapes may
    be below 1. Answers are [G, A], 0 where no arm is.
    """

    means: Tensor
    variances: Tensor
    log_weights: Tensor
    present: Tensor
    exact: bool = False
    boosted: bool = True

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [G, A]."""
        return self._shown(self._mean())

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [G, A]."""
        mean = self._mean()
        return self._shown(tf.sqrt(self._average(self.variances + tf.square(self.means - mean))))

    @property
    def contrast_stddev(self) -> Tensor:
        """What matters for choosing among the arms of a group, [G, A]; as `Predictive.contrast_stddev`."""
        variance = self._average(self.variances)
        if self.means.shape[1] > 1:
            variance += self._model_contrast()
        return self._shown(tf.sqrt(variance))

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws, [n, G, A]: n draws of page effect and weights a group, stratified; a click rate for each arm by one normal.

        The law of a draw is a beta with the node's mean and variance, to the error of `beta_at`.
        """
        strata, draw = tf.unstack(random.split(seed, 2))
        mean, variance = (self._at(self._nodes(n, strata), values) for values in (self.means, self.variances))  # [n or 1, A, G]
        if not self.exact:
            u, _ = numbers.uniforms(draw, [n, *self.present.shape])
            return self._shown(beta_at(mean, variance, tf.math.ndtri(u)))
        size = mean * (1.0 - mean) / variance - 1.0
        a, b = mean * size, (1.0 - mean) * size
        return self._shown(betas(draw, n, a[0], b[0], boosted=self.boosted) if a.shape[0] == 1 else random.beta(draw, a, b))

    def _nodes(self, n: int, seed: Tensor) -> Tensor:
        """Numbers of the pairs (node, weight draw) that n stratified draws of each group take, [n, G]."""
        weights = tf.reshape(tf.exp(self.log_weights) / self.log_weights.shape[1], [-1, self.log_weights.shape[-1]])  # [Q S, G]
        below = tf.cumsum(weights, 0, exclusive=True)
        place = (tf.range(n, dtype=tf.float32)[:, None] + random.uniform(seed, [1, weights.shape[1]])) / n  # [n, G]
        return tf.reduce_sum(tf.cast(place[:, None] >= below, tf.int32), 1) - 1

    def _at(self, chosen: Tensor, values: Tensor) -> Tensor:
        """Values [Q, S, A, G] at the pairs (node, draw) [n, G] -> [n, A, G]."""
        flat = tf.reshape(values, [-1, *values.shape[2:]])
        if flat.shape[0] == 1:
            return flat
        if flat.shape[0] > 16:
            index = tf.transpose(chosen)  # [G, n]
            return tf.transpose(tf.gather(tf.transpose(flat, [2, 0, 1]), index, batch_dims=1), [1, 2, 0])
        picked = flat[0] * tf.ones_like(tf.cast(chosen, values.dtype))[:, None]
        for pair in range(1, flat.shape[0]):  # selects run along groups; a gather would not
            picked = tf.where((chosen == pair)[:, None], flat[pair], picked)
        return picked

    def _model_contrast(self) -> Tensor:
        """Variance over draws of the draw's mean, the arms' common shift of the logit taken out, [A, G]."""
        means = tf.reduce_sum(tf.exp(self.log_weights)[:, :, None] * self.means, 0)  # [S, A, G]
        clipped = tf.clip_by_value(means, 1e-9, 1.0 - 1e-6)
        logits = tf.math.log(clipped) - tf.math.log1p(-clipped)
        apart = tf.where(self.present, logits - tf.reduce_mean(logits, 0), 0.0)
        number = tf.maximum(tf.reduce_sum(tf.cast(self.present, tf.float32), 0), 1.0)
        net = tf.sigmoid(logits - tf.reduce_sum(apart, 1, keepdims=True) / number)
        return tf.math.reduce_variance(net, 0)

    def _mean(self) -> Tensor:
        return self._average(self.means)

    def _average(self, values: Tensor) -> Tensor:
        """[Q, S, A, G] -> [A, G]."""
        return tf.reduce_mean(tf.reduce_sum(tf.exp(self.log_weights)[:, :, None] * values, 0), 0)

    def _shown(self, values: Tensor) -> Tensor:
        """[..., A, G] -> [..., G, A], 0 where no arm is."""
        values = tf.where(self.present, values, 0.0)
        rank = len(values.shape)
        return tf.transpose(values, [*range(rank - 2), rank - 1, rank - 2])
