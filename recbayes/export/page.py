"""The page effect of one request, at a fraction of the cost of placing quadrature nodes for every weight draw.

`GroupEffect.condition` looks for each draw's nodes by itself, which is most of a request's time. Draws differ little and in a way that is
known beforehand: a draw that puts all rows higher by d on the logit needs an effect lower by about d, less what the prior holds back. So
the search is made once, for the typical draw, and its nodes are moved by that much for each of the others; the weights at the nodes
are each draw's own. Where a draw's weights reach the last node all the same (heavy counts that contradict the model), the full search
is made; where no row was ever shown, none is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from recbayes.densities.group_effect import GroupEffect, GroupPosterior, segment_sum
from recbayes.types import Tensor

EDGE = 1e-3
"""Weight on an outermost node above which the nodes are misplaced."""
ROTATION = 8
"""Draws after which the places of the prior's grid repeat."""
REACH, COARSE, FINE = 5.0, 21, 66
"""The prior's grid: standard deviations to either side, nodes a draw at least, nodes of all draws together at least."""


def condition(
    effect: GroupEffect, density: Any, typical: Any, clicks: Tensor, impressions: Tensor, segments: Tensor, num_segments: Tensor
) -> GroupPosterior:
    """As `GroupEffect.condition`, faster.

    Args:
      effect: the page effect.
      density: of each row under each draw, leaves [S, N, K].
      typical: of each row under a draw in their midst, leaves [N, K].
      clicks: float32 [N].
      impressions: float32 [N].
      segments: the rows' groups, counted from 0, [N].
      num_segments: number of groups, G.

    Returns: nodes, log_weights [Q, S, G] and density, leaves [Q, S, N, K]; Q is 1 in leaves that do not vary along it.
    """
    any_draws = tf.nest.map_structure(lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), density)

    @tf.function(input_signature=[any_draws], autograph=False)
    def search(density: Any) -> GroupPosterior:  # used twice, so in the graph once
        return _whole(effect.condition(density, clicks, impressions, segments, num_segments))

    def searched() -> GroupPosterior:
        return search(density)

    def moved() -> GroupPosterior:
        middle = search(tf.nest.map_structure(lambda leaf: leaf[None], typical)).nodes  # [Q, 1, G]
        nodes = middle - draw_shift(effect, density, typical, impressions, segments, num_segments)  # [Q, S, G]
        rows = density.shift(tf.gather(nodes, segments, axis=-1))
        log_joint = segment_sum(rows.log_marginal(clicks, impressions), segments, num_segments) - 0.5 * tf.square(nodes / effect.tau)
        log_weights = tf.nn.log_softmax(log_joint, 0)
        found = _whole(GroupPosterior(nodes, log_weights, rows.condition(clicks, impressions)))
        ends = tf.maximum(tf.reduce_max(log_weights[0]), tf.reduce_max(log_weights[-1]))
        return tf.cond(ends > math.log(EDGE), searched, lambda: found)

    def unseen() -> GroupPosterior:
        nodes, log_weights = prior_nodes(effect, density.mean.shape[0])  # [Q, S]
        nodes, log_weights = (values[:, :, None] + tf.zeros([num_segments]) for values in (nodes, log_weights))
        return _whole(GroupPosterior(nodes, log_weights, density.shift(tf.gather(nodes, segments, axis=-1))))

    return tf.cond(tf.reduce_any(impressions > 0.0), moved, unseen)


def prior_nodes(effect: GroupEffect, draws: int) -> tuple[Tensor, Tensor]:
    """Nodes of the effect's prior and their normalised log weights, each [Q, S].

    Each draw's grid stands a little to the side of its neighbour's: together they are so fine that a quantile over all of them is smooth.
    """
    turns = min(draws, ROTATION)
    count = max(COARSE, FINE // turns)
    step = 2.0 * REACH / (count - 1)
    side = np.arange(draws) % turns / turns  # [S], in steps
    z = np.linspace(-REACH, REACH, count)[:, None] + (side - side.mean()) * step  # [Q, S]
    log_weights = -0.5 * z**2
    log_weights -= np.log(np.exp(log_weights).sum(0))
    return effect.tau * tf.constant(z, tf.float32), tf.constant(log_weights, tf.float32)


def draw_shift(effect: GroupEffect, density: Any, typical: Any, impressions: Tensor, segments: Tensor, num_segments: Tensor) -> Tensor:
    """How much higher each draw puts the observed rows of a group than the typical one, as the effect feels it, [S, G].

    sum_a w_a (logit m_sa - logit m_a) / (sum_a w_a + 1 / tau^2),  w_a = 1 / (1 / (r_a m_a (1 - m_a)) + v_a / (m_a (1 - m_a))^2)
    """
    slope = typical.mean * (1.0 - typical.mean)
    weight = impressions * slope / (1.0 + impressions * typical.variance / slope)  # [N], 0 where nothing was shown
    higher = logit(density.mean) - logit(typical.mean)  # [S, N]
    held = segment_sum(weight, segments, num_segments) + 1.0 / tf.square(effect.tau)
    return segment_sum(weight * higher, segments, num_segments) / held


def _whole(posterior: GroupPosterior) -> GroupPosterior:
    """With an axis Q on every leaf of the density, of 1 where it does not vary, so that all branches look alike."""
    density = tf.nest.map_structure(lambda leaf: leaf if leaf.shape.rank == 4 else leaf[None], posterior.density)
    return posterior._replace(density=density)


def logit(p: Tensor) -> Tensor:
    """Log odds."""
    return tf.math.log(p) - tf.math.log1p(-p)
