"""Rows of one group share an effect: logit p = logit p_row + u, u ~ N(0, tau^2).

The effect is integrated out by quadrature on nodes placed by the group's own data: a search for the mode (parabolas through three
points as far apart as the posterior is wide, so that a wrong curvature can't throw it), then nodes one posterior standard deviation
apart. The nodes are constants to the gradient. Rows are flat, with segment ids.

Source: adaptive quadrature, Liu and Pierce 1994, A note on Gauss-Hermite quadrature; the equally spaced rule is Trefethen and
Weideman 2014, The exponentially convergent trapezoidal rule.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.types import Tensor

_NODES = np.linspace(-5.4, 5.4, 13)
_STEPS = 5


class GroupPosterior(NamedTuple):
    """What the counts say about the effect and the rows.

    nodes, log_weights: [Q, ..., G], weights normalised over Q; density: leaves [Q, ..., N, K], rows given the node, their own counts
    included.
    """

    nodes: Tensor
    log_weights: Tensor
    density: Any


class GroupEffect(NamedTuple):
    """An effect shared by the rows of a group, normal with standard deviation tau [] on the logit."""

    tau: Tensor

    def log_marginal(self, density: Any, clicks: Tensor, impressions: Tensor, segments: Tensor, num_segments: Tensor) -> Tensor:
        """Log of the joint probability of each group's counts, [..., G]. Differentiable in density and tau.

        Args:
          density: of each row, leaves [..., N, K].
          clicks: [N].
          impressions: [N].
          segments: the rows' groups, counted from 0, [N].
          num_segments: number of groups, G.
        """
        nodes, log_step = self._nodes(density, clicks, impressions, segments, num_segments)
        at_nodes = self._log_joint(density, nodes, clicks, impressions, segments, num_segments)
        return tf.reduce_logsumexp(at_nodes, 0) + log_step

    def condition(self, density: Any, clicks: Tensor, impressions: Tensor, segments: Tensor, num_segments: Tensor) -> GroupPosterior:
        """Nodes and weights of each group's effect, and each row's density given the node, all counts seen.

        Every leading axis of the density (weight draws, replicas) has weights of its own.
        """
        nodes, _ = self._nodes(density, clicks, impressions, segments, num_segments)
        at_nodes = self._log_joint(density, nodes, clicks, impressions, segments, num_segments)
        rows = density.shift(tf.gather(nodes, segments, axis=-1)).condition(clicks, impressions)
        return GroupPosterior(nodes, tf.nn.log_softmax(at_nodes, 0), rows)

    def grid(self, q: int = 33) -> tuple[Tensor, Tensor]:
        """Fixed nodes u [Q] over 4.5 standard deviations to either side, and their normalised log weights [Q]."""
        z = np.linspace(-4.5, 4.5, q)
        log_weights = -0.5 * z**2 - np.log(np.exp(-0.5 * z**2).sum())
        return self.tau * tf.constant(z, self.tau.dtype), tf.constant(log_weights, self.tau.dtype)

    def _nodes(self, density: Any, clicks: Tensor, impressions: Tensor, segments: Tensor, num_segments: Tensor) -> tuple[Tensor, Tensor]:
        """Where to evaluate, [Q, ..., G], and the log of the distance between nodes, [..., G]."""
        still = tf.nest.map_structure(tf.stop_gradient, density)
        effect = GroupEffect(tf.stop_gradient(self.tau))
        shape = tf.concat([tf.shape(density[0])[:-2], [num_segments]], 0)
        middle, width = tf.zeros(shape, self.tau.dtype), tf.fill(shape, effect.tau)
        apart = tf.reshape(tf.constant([-1.0, 0.0, 1.0], self.tau.dtype), tf.concat([[3], tf.ones_like(shape)], 0))
        for _ in range(_STEPS):
            low, here, high = tf.unstack(effect._log_joint(still, middle + apart * width, clicks, impressions, segments, num_segments))
            bend = tf.maximum((2.0 * here - low - high), 0.05)
            middle += width * tf.clip_by_value(0.5 * (high - low) / bend, -3.0, 3.0)
            width *= tf.clip_by_value(tf.math.rsqrt(bend), 0.1, 3.0)
        z = tf.reshape(tf.constant(_NODES, self.tau.dtype), tf.concat([[len(_NODES)], tf.ones_like(shape)], 0))
        return middle + z * width, tf.math.log(width * (_NODES[1] - _NODES[0]))

    def _log_joint(self, density: Any, u: Tensor, clicks: Tensor, impressions: Tensor, segments: Tensor, num_segments: Tensor) -> Tensor:
        """Log of prior times likelihood at each node, [Q, ..., G]."""
        rows = density.shift(tf.gather(u, segments, axis=-1)).log_marginal(clicks, impressions)  # [Q, ..., N]
        prior = -0.5 * tf.square(u / self.tau) - tf.math.log(self.tau) - 0.5 * math.log(2.0 * math.pi)
        return prior + segment_sum(rows, segments, num_segments)


def segment_sum(values: Tensor, segments: Tensor, num_segments: Tensor) -> Tensor:
    """Sums over the rows of each group: [..., N] -> [..., G]."""
    flat = tf.reshape(values, [-1, tf.shape(values)[-1]])
    sums = tf.math.unsorted_segment_sum(tf.transpose(flat), segments, num_segments)
    return tf.reshape(tf.transpose(sums), tf.concat([tf.shape(values)[:-1], [num_segments]], 0))
