"""Quantiles of served click rates, mostly at a fraction of the cost of a search over every weight draw.

A quantile of a predictive is searched through the distribution functions of all its betas: nodes x draws x components, some thousand a
row. Where the draws put a row's components at nearly the same place, their own shape hardly matters beside the page effect's and the
components', and all draws of a node and component go into one beta of their mean and variance. Rows whose draws are further apart are
searched in full.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from recbayes.densities import BetaMixture
from recbayes.predictive import Predictive
from recbayes.types import Tensor

ALIKE = 0.2
"""Relative standard deviation of a row's components over the draws, up to which they are put together."""


def quantiles(predictive: Predictive, shares: Sequence[float]) -> list[Tensor]:
    """Quantiles of rows, each [N, 1]; off by less than .05 standard deviations where draws are put together (tested).

    Args:
      predictive: of N decisions of one candidate.
      shares: the quantiles wanted, in (0, 1).
    """
    if not isinstance(predictive.density, BetaMixture):
        return [predictive.quantile(share) for share in shares]
    together, apart = summarised(predictive)
    rows = tf.where(apart[:, 0] > ALIKE)[:, 0]  # [M]
    whole = Predictive(
        tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows, axis=2), predictive.density),
        tf.gather(predictive.node_log_weights, rows, axis=2),
        predictive.draw_log_weights,
        tf.gather(predictive.present, rows),
    )
    return [tf.tensor_scatter_nd_update(together.quantile(share), rows[:, None], whole.quantile(share)) for share in shares]


def summarised(predictive: Predictive) -> tuple[Predictive, Tensor]:
    """The weight draws of each node and component of beta mixtures as one beta of their mean and variance.

    And how far apart the draws' means are in relation to their mean, the root of the mean square over nodes and components, [B, A].
    """
    density = predictive.density
    joint = predictive.node_log_weights + predictive.draw_log_weights[:, None]  # [Q, S, B]
    node = tf.reduce_logsumexp(joint, 1, keepdims=True)  # [Q, 1, B]
    weights = tf.exp(joint[..., None, None] + density.log_weights)
    total = tf.reduce_sum(weights, 1, keepdims=True)  # [Q, 1, B, A, K]
    share = weights / tf.maximum(total, 1e-30)
    mean = tf.reduce_sum(share * density.means, 1, keepdims=True)
    within = density.means * (1.0 - density.means) / (density.concentrations + 1.0)
    within, between = (tf.reduce_sum(share * part, 1, keepdims=True) for part in (within, tf.square(density.means - mean)))
    apart = tf.sqrt(tf.reduce_sum(total * between / tf.maximum(tf.square(mean), 1e-30), [0, 1, 4]))
    mean = tf.clip_by_value(mean, 1e-9, 1.0 - 1e-6)
    concentration = tf.maximum(mean * (1.0 - mean) / tf.maximum(within + between, 1e-20) - 1.0, 1e-3)
    betas = BetaMixture(tf.math.log(total + 1e-30) - node[..., None, None], mean, concentration)
    return Predictive(betas, node, tf.zeros([1]), predictive.present), apart
