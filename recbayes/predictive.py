"""What policies and reports see: the click rates of decisions' candidates, and whence their uncertainty comes.

Weights w_s of the draws s, and w_qs of the page effect's nodes q under each draw. By the law of total variance, exactly:

    mean   = sum_s w_s m_s,  m_s = sum_q w_qs E[p | q, s]
    data^2 = sum_s w_s Var[p | s],  Var[p | s] = sum_q w_qs (Var[p | q, s] + (E[p | q, s] - m_s)^2)
    model^2 = sum_s w_s (m_s - mean)^2

Axes, in order: Q nodes of the page effect, S weight draws, R replicas, B decisions, A candidates, K components.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.densities.group_effect import GroupEffect
from recbayes.random import categorical, split
from recbayes.types import Tensor


class Predictive(NamedTuple):
    """Click rates of the candidates of B decisions.

    density: leaves [Q, S, ..., B, A, K], an axis may be 1 where a leaf does not vary along it; node_log_weights: [Q, S, ..., B],
    normalised over Q; draw_log_weights: [S], normalised; present: bool [..., B, A], False for padding, where every answer is 0.
    """

    density: Any
    node_log_weights: Tensor
    draw_log_weights: Tensor
    present: Tensor

    @classmethod
    def from_density(cls, density: Any, present: Tensor | None = None) -> Predictive:
        """One density a candidate and no doubt of the model.

        Args:
          density: leaves [..., B, A, K].
          present: bool [..., B, A]; without it every candidate is.

        >>> from recbayes.densities import BetaMixture
        >>> one = BetaMixture(tf.zeros([1, 2, 1]), tf.constant([[[0.1], [0.2]]]), tf.fill([1, 2, 1], 8.0))
        >>> Predictive.from_density(one).stddev.numpy().round(3)
        array([[0.1  , 0.133]], dtype=float32)
        """
        return cls.from_draws(tf.nest.map_structure(lambda leaf: leaf[None], density), present=present)

    @classmethod
    def from_draws(
        cls, density: Any, *, group_effect: GroupEffect | None = None, present: Tensor | None = None, nodes: int = 33
    ) -> Predictive:
        """Equally weighted weight draws, the group effect (if any) at its prior.

        Args:
          density: leaves [S, ..., B, A, K].
          group_effect: what the candidates of a decision share.
          present: bool [..., B, A]; without it every candidate is.
          nodes: of the group effect's grid.
        """
        shape, dtype = tf.shape(density.mean), density.mean.dtype  # [S, ..., B, A]
        if group_effect is None:
            density, log_weights = tf.nest.map_structure(lambda leaf: leaf[None], density), tf.zeros([1], dtype)
        else:
            u, log_weights = (tf.cast(x, dtype) for x in group_effect.grid(nodes))
            density = tf.nest.map_structure(lambda leaf: leaf[None], density).shift(_leading(u, tf.size(shape)))
        node_log_weights = _leading(log_weights, tf.size(shape) - 1) + tf.zeros(shape[:-1], dtype)
        draw_log_weights = -tf.math.log(tf.cast(shape[0], dtype)) + tf.zeros(shape[:1], dtype)
        return cls(density, node_log_weights, draw_log_weights, tf.fill(shape[1:], True) if present is None else present)

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [..., B, A]."""
        return self._shown(self._over_draws(self.draw_means()))

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [..., B, A]: sqrt(data^2 + model^2)."""
        data, model = self._variances()
        return self._shown(tf.sqrt(data + model))

    def split(self) -> tuple[Tensor, Tensor]:
        """data_stddev (spread the features can't explain) and model_stddev (doubt of the weights), each [..., B, A]."""
        data, model = self._variances()
        return self._shown(tf.sqrt(data)), self._shown(tf.sqrt(model))

    @property
    def contrast_stddev(self) -> Tensor:
        """What matters for choosing among candidates, [..., B, A]: their spread net of what moves them all alike.

        The mean over nodes and draws of the variance given the page effect, plus the variance over draws of the draw's mean after
        the candidates' common shift of the logit is taken out. With one candidate nothing of the model's part remains.
        """
        means = self.draw_means()  # [S, ..., B, A]
        logits = _logit(means)
        apart = logits - self._over_draws(logits)
        here = tf.cast(self.present, means.dtype)
        count = tf.maximum(tf.reduce_sum(here, -1, keepdims=True), 1.0)
        common = tf.reduce_sum(tf.where(self.present, apart, tf.zeros_like(apart)), -1, keepdims=True) / count
        net = tf.sigmoid(logits - common)
        model = self._over_draws(tf.square(net - self._over_draws(net)))
        return self._shown(tf.sqrt(self._over_draws(self._over_nodes(self.density.variance)) + model))

    def measurement_stddev(self, impressions: Tensor) -> Tensor:
        """Spread of an observed rate about the true one, [..., B, A]: sqrt(E[p (1 - p)] / impressions).

        Args:
          impressions: > 0, broadcasts against [..., B, A].
        """
        mean, (data, model) = self.mean, self._variances()
        return self._shown(tf.sqrt(tf.maximum(mean * (1.0 - mean) - data - model, 0.0) / tf.cast(impressions, mean.dtype)))

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws of the candidates' click rates, [n, ..., B, A].

        A draw takes one weight draw and one page effect for all candidates of a decision; component and click rate are each
        candidate's own.
        """
        choose, draw = tf.unstack(split(seed, 2))
        return self._shown(self.drawn(n, choose).sample(draw))

    def drawn(self, n: int, seed: Tensor) -> Any:
        """Densities given one joint draw of weights and page effect a decision, leaves [n, ..., B, A, K]."""
        return self._at(categorical(seed, self._joint_log_weights(), n))

    def part(self, first: int, last: int) -> Predictive:
        """The decisions from `first` up to but not including `last`: what a caller loops over to bound memory."""
        density = tf.nest.map_structure(lambda leaf: leaf[..., first:last, :, :], self.density)
        return self._replace(
            density=density, node_log_weights=self.node_log_weights[..., first:last], present=self.present[..., first:last, :]
        )

    def quantile(self, q: float) -> Tensor:
        """Click rate below which a share q of the candidate's distribution lies, [..., B, A].

        The distribution is a mixture of Q S K components; its share is off by no more than theirs (densities/beta_cdf.py) and 1e-5.
        Memory: some ten times the leaves, so take thousands of decisions in parts of hundreds (`part`).

        Args:
          q: in (0, 1).

        Raises: ValueError if q is not strictly between 0 and 1.
        """
        log_weights = tf.reshape(self.node_log_weights + self._draws(self.draw_log_weights), self._flat(tf.shape(self.node_log_weights)))
        density = tf.nest.map_structure(self._flattened, self.density)
        return self._shown(density.mixture_quantile(q, log_weights[..., None]))

    def draw_means(self) -> Tensor:
        """Expected click rate given the weight draw, [S, ..., B, A]."""
        return self._over_nodes(self.density.mean)

    def _variances(self) -> tuple[Tensor, Tensor]:
        """data^2 and model^2, each [..., B, A]."""
        at_nodes = self.density.mean
        means = self._over_nodes(at_nodes)
        data = self._over_draws(self._over_nodes(self.density.variance + tf.square(at_nodes - means)))
        return data, self._over_draws(tf.square(means - self._over_draws(means)))

    def _over_nodes(self, values: Tensor) -> Tensor:
        """[Q, S, ..., B, A] -> [S, ..., B, A]."""
        return tf.reduce_sum(tf.exp(self.node_log_weights)[..., None] * values, 0)

    def _over_draws(self, values: Tensor) -> Tensor:
        """[S, ..., B, A] -> [..., B, A]."""
        return tf.reduce_sum(tf.exp(self._draws(self.draw_log_weights))[..., None] * values, 0)

    def _draws(self, values: Tensor) -> Tensor:
        """[S] -> [S, 1, ..., 1] that broadcasts against [S, ..., B]."""
        return _leading(values, len(self.node_log_weights.shape) - 2)

    def _shown(self, values: Tensor) -> Tensor:
        return tf.where(self.present, values, tf.zeros_like(values))

    def _joint_log_weights(self) -> Tensor:
        """Of (node, draw) pairs, [..., B, Q S]."""
        joint = tf.reshape(self.node_log_weights + self._draws(self.draw_log_weights), self._flat(tf.shape(self.node_log_weights)))
        return tf.transpose(joint, [*range(1, len(self.node_log_weights.shape) - 1), 0])

    def _flat(self, shape: Tensor) -> Tensor:
        return tf.concat([[shape[0] * shape[1]], shape[2:]], 0)

    def _flattened(self, leaf: Tensor) -> Tensor:
        """[Q, S, ...] -> [Q S, ...], axes of 1 repeated."""
        whole = tf.concat([tf.shape(self.node_log_weights)[:2], tf.shape(leaf)[2:]], 0)
        return tf.reshape(tf.broadcast_to(leaf, whole), self._flat(whole))

    def _at(self, pairs: Tensor) -> Any:
        """The densities at pairs [n, ..., B] of (node, draw), leaves [n, ..., B, A, K]."""
        decisions = tf.shape(self.node_log_weights)[2:]  # [..., B]
        count = tf.reduce_prod(decisions)
        rows = tf.reshape(pairs, [-1, count]) * count + tf.range(count)  # [n, M]

        def take(leaf: Tensor) -> Tensor:
            tail = tf.shape(leaf)[-2:]
            whole = tf.concat([tf.shape(self.node_log_weights)[:2], decisions, tail], 0)
            flat = tf.reshape(tf.broadcast_to(leaf, whole), tf.concat([[-1], tail], 0))
            return tf.reshape(tf.gather(flat, rows), tf.concat([tf.shape(pairs), tail], 0))

        return tf.nest.map_structure(take, self.density)


def _leading(values: Tensor, more: Tensor | int) -> Tensor:
    """[n] -> [n, 1, ..., 1] with that many axes more."""
    return tf.reshape(values, tf.concat([[-1], tf.ones([more], tf.int32)], 0))


def _logit(p: Tensor) -> Tensor:
    """Finite for the zeros and ones of padding."""
    p = tf.clip_by_value(p, 1e-9, 1.0 - 1e-6)
    return tf.math.log(p) - tf.math.log1p(-p)
