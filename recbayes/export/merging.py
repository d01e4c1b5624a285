"""The weight draws of a decision as one density a candidate, so that serving costs what one draw does.

What a draw moves all candidates by alike (on the logit) goes into an effect that they share, beside the page's own; what is left goes into
each component's mean and variance. Kept are each component's weight, mean and variance, and the variance of what is shared: the law that
replay's density learner plays with, so a served decision is the one that was replayed (`replay/density.py`).

Counts then tell the draws apart, as Bayes' rule has it and equally weighted draws do not: a page whose clicks contradict half of the draws
is no longer answered by those. Error, against a thousand draws weighted by their probability of the counts: docs/serving.md.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from recbayes.densities import BetaMixture
from recbayes.types import Tensor


class Merged(NamedTuple):
    """What `merged` gives.

    density: leaves [1, B, A, K], what is left of each candidate; common: variance of the draws' shared shift of the logit, [B]. How unlike
    the draws are, each [B, A]: place, the variance over them of the components' means; width, the standard deviation over them of the
    components' variances.
    """

    density: BetaMixture
    common: Tensor
    place: Tensor
    width: Tensor


def merged(apart: BetaMixture, present: Tensor) -> Merged:
    """Weight draws into one.

    Args:
      apart: leaves [S, B, A, K], equally weighted.
      present: the candidates whose mean shift is what all share, bool [B, A].

    >>> two = BetaMixture(tf.zeros([2, 1, 1, 1]), tf.constant([0.01, 0.02])[:, None, None, None], tf.fill([2, 1, 1, 1], 100.0))
    >>> merged(two, tf.constant([[True]])).common.numpy().round(3)   # (logit .02 - logit .01)^2 / 4
    array([0.124], dtype=float32)
    """
    weights, draws = tf.exp(apart.log_weights), tf.cast(tf.shape(apart.means)[0], apart.means.dtype)
    logits = logit(tf.reduce_sum(weights * apart.means, -1))  # [S, B, A]
    here = tf.cast(present, logits.dtype)
    here /= tf.maximum(tf.reduce_sum(here, -1, keepdims=True), 1.0)
    common = tf.reduce_sum(here * (logits - tf.reduce_mean(logits, 0)), -1, keepdims=True)  # [S, B, 1]
    still = apart.shift(-common).means
    total = tf.reduce_sum(weights, 0, keepdims=True)  # [1, B, A, K]
    share = weights / total
    mean = tf.reduce_sum(share * still, 0, keepdims=True)
    within = still * (1.0 - still) / (apart.concentrations + 1.0)
    inside, between = (tf.reduce_sum(share * x, 0, keepdims=True) for x in (within, tf.square(still - mean)))
    mean = tf.clip_by_value(mean, 1e-9, 1.0 - 1e-6)
    concentration = tf.maximum(mean * (1.0 - mean) / tf.maximum(inside + between, 1e-20) - 1.0, 1e-3)
    density = BetaMixture(tf.math.log(total / draws), mean, concentration)
    shared = tf.reduce_mean(tf.square(common[..., 0]), 0)  # [B]
    slope = mean * (1.0 - mean)
    place = between + tf.square(slope) * shared[:, None, None]
    width = tf.sqrt(tf.reduce_sum(share * tf.square(within - inside), 0, keepdims=True))
    place, width = (tf.reduce_sum(total / draws * x, [0, -1]) for x in (place, width))
    return Merged(density, shared, place, width)


def logit(p: Tensor) -> Tensor:
    """Log odds."""
    return tf.math.log(p) - tf.math.log1p(-p)
