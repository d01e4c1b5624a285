"""The page effect of a request under draws and families that are not merged, at a fraction of the cost of `GroupEffect.condition`.

That one looks through all of the effect's range in four passes over every candidate, draw and node. Here the nodes stand around a guess
that costs hardly a logarithm (scoring of the beta-binomial's quasi-likelihood), and are only moved where the weights found at them say that
the guess was off: nearly never, so one pass is the rule. Decisions are rectangles [B, A]: no segments.

Error, against a fine grid in float64: 1e-4 of means and standard deviations, 2e-3 where clicks have five digits (tests).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.replay.beliefs import scored
from recbayes.types import Array, Tensor

REACH, NODES = 5.0, 17
"""Where the nodes lie, in posterior standard deviations as far as the guess is right, and how many: components whose spreads differ by a
factor three are still told apart by them."""
ROTATION, COARSE, FINE = 8, 25, 66
"""Where a law is to be smooth: draws after which the places of the nodes repeat, nodes of each draw and of all draws together, at least."""
EDGE, NARROW, WIDE = 2e-4, 0.65, 1.25
"""The guess is off where an outermost node holds more weight, or the standard deviation found is less or more than the guess times that."""
MOVES = 12


class Guess(NamedTuple):
    """Where the effect lies, and its standard deviation; each [S, B]."""

    middle: Tensor
    scale: Tensor


class Posterior(NamedTuple):
    """What the counts say: density, leaves [Q, S, B, A, K], all counts seen; log_weights of nodes [Q, S, B], normalised over Q.

    nodes: of the effect, [Q, S, B]. Q is 1 in leaves that do not vary along it.
    """

    nodes: Tensor
    log_weights: Tensor
    density: Any


def condition(density: Any, tau: Tensor, clicks: Tensor, impressions: Tensor, *, smooth: bool = False) -> Posterior:
    """Candidates of decisions that share an effect, all their counts seen.

    Args:
      density: of each candidate under each draw, leaves [S, B, A, K].
      tau: standard deviation of the effect, [] or [B].
      clicks: float32 [B, A].
      impressions: float32 [B, A].
      smooth: with so many nodes that a quantile over all of them is smooth; moments need no more than `NODES`.

    >>> from recbayes.densities import BetaMixture
    >>> two = BetaMixture(tf.zeros([1, 1, 2, 1]), tf.fill([1, 1, 2, 1], 0.02), tf.fill([1, 1, 2, 1], 1000.0))
    >>> found = condition(two, tf.constant(0.5), tf.constant([[90.0, 0.0]]), tf.constant([[3000.0, 0.0]]))
    >>> mean = tf.reduce_sum(tf.exp(found.log_weights)[..., None] * found.density.mean, 0)
    >>> mean.numpy().round(4)   # what the first one's clicks say about the second
    array([[[0.0296, 0.0282]]], dtype=float32)
    """
    z = tf.constant(places(density.mean.shape[0] if smooth else None)[..., None], tf.float32)  # [Q, S or 1, 1]

    def look(at: Guess) -> Looked:
        nodes = at.middle + z * at.scale  # [Q, S, B]
        seen = density.shift(nodes[..., None]).log_marginal(clicks, impressions)  # [Q, S, B, A]
        log_weights = tf.nn.log_softmax(tf.reduce_sum(seen, -1) - 0.5 * tf.square(nodes / tau), 0)
        share = tf.exp(log_weights)
        middle = tf.reduce_sum(share * z, 0)  # in guessed standard deviations, like the spread
        spread = tf.sqrt(tf.reduce_sum(share * tf.square(z - middle), 0))
        edge = tf.maximum(share[0], share[-1]) > EDGE
        moved = Guess(at.middle + middle * at.scale, at.scale * tf.maximum(spread, tf.where(edge, 1.0, 0.1)))
        wrong = edge | (spread < NARROW) | (spread > WIDE)
        return Looked(at, log_weights, Guess(*(tf.where(wrong, new, old) for new, old in zip(moved, at, strict=True))), wrong)

    def go_on(count: Tensor, looked: Looked) -> Tensor:
        return (count < MOVES) & tf.reduce_any(looked.wrong)

    found = tf.while_loop(
        go_on, lambda count, looked: (count + 1, look(looked.better)), (tf.constant(0), look(place(density, tau, clicks, impressions)))
    )[1]
    nodes = found.at.middle + z * found.at.scale
    seen = density.shift(nodes[..., None]).condition(clicks, impressions)
    whole = tf.nest.map_structure(lambda leaf: leaf if leaf.shape.rank == nodes.shape.rank + 2 else leaf[None], seen)
    return Posterior(nodes, found.log_weights, whole)


def places(draws: int | None) -> Array:
    """Nodes in standard deviations, [Q, 1]; of so many draws [Q, S], each draw's a little to the side of its neighbour's.

    >>> places(None).shape, places(1).shape, places(64).shape
    ((17, 1), (66, 1), (25, 64))
    """
    if draws is None:
        return np.linspace(-REACH, REACH, NODES)[:, None]
    turns = min(draws, ROTATION)
    count = max(COARSE, FINE // turns)
    side = np.arange(draws) % turns / turns  # in steps
    return np.linspace(-REACH, REACH, count)[:, None] + (side - side.mean()) * 2.0 * REACH / (count - 1)


class Looked(NamedTuple):
    """What the nodes around a guess show: their log weights [Q, S, B], and a better guess where this one is wrong, bool [S, B]."""

    at: Guess
    log_weights: Tensor
    better: Guess
    wrong: Tensor


def place(density: Any, tau: Tensor, clicks: Tensor, impressions: Tensor) -> Guess:
    """A guess of the effect's posterior, as replay makes it, with a step more."""
    mean = density.mean  # [S, B, A]
    return Guess(*scored(mean, density.variance / (mean * (1.0 - mean)), tau, clicks, impressions, arms=-1, steps=3))
