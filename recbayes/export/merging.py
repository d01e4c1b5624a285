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


class Betas(NamedTuple):
    """Mixtures of betas, the components' axis first: small operations are quick on long rows of candidates.

    weights: sum 1 over K; means: in (0, 1); sizes: concentrations, > 0. Each [K, S, B, A] of draws, [K, B, A] merged, and
    [Q, K, B, A] given nodes of the effect.
    """

    weights: Tensor
    means: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, density: BetaMixture) -> Betas:
        """From leaves [S, B, A, K]."""
        log_weights, means, sizes = (tf.transpose(leaf, [3, 0, 1, 2]) for leaf in density)
        return cls(tf.exp(log_weights), means, sizes)


class Merged(NamedTuple):
    """What `merged` gives.

    density: what is left of each candidate, [K, B, A]; common: variance of the draws' shared shift of the logit, [B]. How unlike the draws
    are, each [B, A]: place, the variance over them of the components' means; width, the standard deviation over them of the components'
    variances.
    """

    density: Betas
    common: Tensor
    place: Tensor
    width: Tensor


def merged(apart: Betas, present: Tensor) -> Merged:
    """Weight draws into one.

    Args:
      apart: [K, S, B, A], equally weighted.
      present: the candidates whose mean shift is what all share, bool [B, A].

    >>> two = Betas(tf.ones([1, 2, 1, 1]), tf.constant([0.01, 0.02])[None, :, None, None], tf.fill([1, 2, 1, 1], 100.0))
    >>> merged(two, tf.constant([[True]])).common.numpy().round(3)   # (logit .02 - logit .01)^2 / 4
    array([0.124], dtype=float32)
    """
    weights, means, sizes = apart
    here = tf.cast(present, means.dtype)
    here /= tf.maximum(tf.reduce_sum(here, -1, keepdims=True), 1.0)
    average = tf.add_n(tf.unstack(weights * means))  # [S, B, A]; a reduction of so short an axis takes ten times as long
    common = tf.reduce_sum(here * tf.math.log(average / (1.0 - average)), -1, keepdims=True)  # [S, B, 1]
    common -= tf.reduce_mean(common, 0)
    still = means / (means + (1.0 - means) * tf.exp(common))
    total = tf.maximum(tf.reduce_sum(weights, 1), 1e-30)  # [K, B, A]
    mean = tf.reduce_sum(weights * still, 1) / total
    within, apart_by = still * (1.0 - still) / (sizes + 1.0), tf.math.squared_difference(still, mean[:, None])
    weighted = weights * within
    inside, between = (tf.reduce_sum(x, 1) / total for x in (weighted, weights * apart_by))
    held = tf.clip_by_value(mean, 1e-9, 1.0 - 1e-6)
    size = tf.maximum(held * (1.0 - held) / tf.maximum(inside + between, 1e-20) - 1.0, 1e-3)
    share = total / tf.cast(tf.shape(means)[1], means.dtype)
    shared = tf.reduce_mean(tf.square(common[..., 0]), 0)  # [B]
    spread = tf.maximum(tf.reduce_sum(weighted * within, 1) / total - tf.square(inside), 0.0)
    place = between + tf.square(held * (1.0 - held)) * shared[:, None]
    place, width = (tf.reduce_sum(share * x, 0) for x in (place, tf.sqrt(spread)))
    return Merged(Betas(share, held, size), shared, place, width)
