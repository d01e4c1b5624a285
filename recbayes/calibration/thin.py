"""A predictive of many weight draws and page nodes as one of a few, evenly chosen: what intervals of thousands of rows can afford.

A row's law is a mixture over (page node, weight draw) pairs, some thousands. M of them on a rank-1 lattice (i / M along the page effect,
the golden ratio's multiples along the draws) meet either evenly, and both together nearly so: quantiles at a tenth of the cost.
Source: Niederreiter 1992, Random Number Generation and Quasi-Monte Carlo Methods, chapter 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from recbayes.predictive import Predictive

GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def thin(predictive: Predictive, pairs: int = 128) -> Predictive:
    """A predictive of so many equally weighted (node, draw) pairs.

    Args:
      predictive: its page effect at its prior, so that a pair weighs the same for every row (as `Fitted.predict` gives it).
      pairs: how many.

    Returns: a predictive with leaves [pairs, 1, ..., B, A, K].
    Raises: ValueError if the pairs' weights differ from row to row.

    >>> from recbayes.densities import BetaMixture
    >>> one = BetaMixture(tf.zeros([5, 2, 1, 1]), tf.fill([5, 2, 1, 1], 0.1), tf.fill([5, 2, 1, 1], 9.0))
    >>> thin(Predictive.from_draws(one), pairs=3).density.mean.shape.as_list()
    [3, 1, 2, 1]
    """
    nodes = np.asarray(predictive.node_log_weights, np.float64)  # [Q, S, ..., B]
    if np.ptp(np.exp(nodes), axis=tuple(range(2, nodes.ndim))).max() > 1e-6:
        raise ValueError("calibration: the page effect's weights differ from row to row; predictions from features alone are needed.")
    node_weights = np.exp(nodes.reshape(*nodes.shape[:2], -1)[:, :, 0])  # [Q, S]
    along = (np.arange(pairs) + 0.5) / pairs
    draw = _inverse(np.exp(np.asarray(predictive.draw_log_weights, np.float64)), np.modf(np.arange(pairs) * GOLDEN)[0])
    node = np.array([_inverse(node_weights[:, s], u) for s, u in zip(draw, along)])

    def take(leaf: Any) -> Any:
        where = np.stack([np.minimum(node, leaf.shape[0] - 1), np.minimum(draw, leaf.shape[1] - 1)], axis=1)
        return tf.gather_nd(leaf, where)[:, None]

    rows = tf.shape(predictive.node_log_weights)[2:]
    log_weights = tf.fill(tf.concat([[pairs, 1], rows], 0), -tf.math.log(tf.constant(float(pairs), predictive.node_log_weights.dtype)))
    zero = tf.zeros([1], predictive.draw_log_weights.dtype)
    return Predictive(tf.nest.map_structure(take, predictive.density), log_weights, zero, predictive.present)


def _inverse(weights: Any, at: Any) -> Any:
    """Where the cumulated weights reach a share of their sum."""
    cumulated = np.cumsum(weights)
    return np.minimum(np.searchsorted(cumulated, np.asarray(at) * cumulated[-1], side="right"), len(cumulated) - 1)
