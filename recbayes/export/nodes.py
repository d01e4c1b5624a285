"""Merged candidates given all counts of their page: one pass over nodes of the effect that they share.

The nodes stand around a guess that costs hardly a logarithm (`page.place`) and are moved only where the weights found at them say that
the guess was off. At a node each component's weight takes the probability of its candidate's counts,

    log B(a + c, b + d) / B(a, b),  lgamma(x) = (x - 1/2) log(x + 4) - x - log rising(x) + series(x + 4) + const,

by Stirling's series at x + 4, x (x + 1) (x + 2) (x + 3) = (x + 4)^4 rising(x). Logs are paired before they are rounded: with W = a + b + 4
and W' = W + c + d, those of a are

    (a - 1/2) log1p(c W / W' / (a + 4) - (c + d) / W') + c log((a + c + 4) / W')

and b's are alike; of the larger of a + c and b + d the last is log1p of minus the other's share. So the error in float32 hangs on the
impressions alone, whatever the concentration: under 3e-4 nats for a thousand, .003 for ten thousand, .02 for a hundred thousand (there the
row's own counts say nearly all, whatever the weights), three times that where the clicks are not what was expected.
`densities.special.log_beta_binomial` is more exact, by several times the operations, and operations are what a small request costs.

Error, against a fine grid in float64: 1e-4 of means and standard deviations, 2e-3 where clicks have five digits (tests).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.export.merging import Betas
from recbayes.export.page import EDGE, MOVES, NARROW, NODES, REACH, WIDE, Guess
from recbayes.replay.beliefs import scored, series4
from recbayes.types import Array, Tensor

AWAY = float(np.float32(2.0**-24 - 1.0))
"""Least argument of log1p: -1 is what counts of tens of millions round to."""
SMOOTH = 33
"""Nodes where quantiles of the law are wanted: moments need no more than `NODES`."""


class Law(NamedTuple):
    """What the counts say: nodes of the effect and their weights, [Q, B]; density [Q, K, B, A], sizes [1, K, B, A], all counts seen."""

    nodes: Tensor
    weights: Tensor
    density: Betas

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each candidate given the node, [Q, B, A]."""
        weights, means, sizes = self.density
        mean = tf.reduce_sum(weights * means, 1)
        within = means * (1.0 - means) / (sizes + 1.0)
        return mean, tf.reduce_sum(weights * (within + tf.square(means - mean[:, None])), 1)


class Looked(NamedTuple):
    """What the nodes around a guess show: their weights [Q, B], the density there, and a better guess where this one is wrong, bool [B]."""

    at: Guess
    weights: Tensor
    components: Tensor
    means: Tensor
    better: Guess
    wrong: Tensor


def condition(density: Betas, effect: Tensor, clicks: Tensor, impressions: Tensor, z: Tensor | Array | None = None) -> Law:
    """Candidates of decisions that share an effect, all their counts seen.

    Args:
      density: of each candidate, [K, B, A].
      effect: its standard deviation, [B].
      clicks: float32 [B, A].
      impressions: float32 [B, A].
      z: where the nodes stand around the guess, in its standard deviations, [Q, 1] or [Q, B]; None: enough of them for moments.

    >>> two = Betas(tf.ones([1, 1, 2]), tf.fill([1, 1, 2], 0.02), tf.fill([1, 1, 2], 1000.0))
    >>> found = condition(two, tf.constant([0.5]), tf.constant([[90.0, 0.0]]), tf.constant([[3000.0, 0.0]]))
    >>> mean = tf.reduce_sum(found.weights[..., None] * found.moments()[0], 0)
    >>> mean.numpy().round(4)   # what the first one's clicks say about the second
    array([[0.0296, 0.0282]], dtype=float32)
    """
    counted, seen = evidence(density, clicks, impressions), density.sizes + impressions
    odds, z = 1.0 - density.means, standard(NODES) if z is None else z

    def look(at: Guess) -> Looked:
        nodes = at.middle + z * at.scale  # [Q, B]
        a, b = shifted(density, nodes)
        joint = counted(a, b)
        top = tf.reduce_max(joint, 1)  # [Q, B, A]
        shares = tf.exp(joint - top[:, None])
        total = tf.reduce_sum(shares, 1)
        log_weights = tf.reduce_sum(top + tf.math.log(total), -1) - 0.5 * tf.square(nodes / effect)
        weights = tf.exp(log_weights - tf.reduce_max(log_weights, 0))
        weights /= tf.reduce_sum(weights, 0)
        middle = tf.reduce_sum(weights * z, 0)  # in guessed standard deviations, like the spread
        spread = tf.sqrt(tf.reduce_sum(weights * tf.square(z - middle), 0))
        edge = tf.maximum(weights[0], weights[-1]) > EDGE
        wrong = edge | (spread < NARROW) | (spread > WIDE)
        moved = Guess(at.middle + middle * at.scale, at.scale * tf.maximum(spread, tf.where(edge, 1.0, 0.1)))
        better = Guess(*(tf.where(wrong, new, old) for new, old in zip(moved, at, strict=True)))
        return Looked(at, weights, shares / total[:, None], inside((a + clicks) / seen), better, wrong)

    def again(first: Looked) -> Looked:
        last: Looked = tf.while_loop(
            lambda count, looked: (count < MOVES) & tf.reduce_any(looked.wrong),
            lambda count, looked: (count + 1, look(looked.better)),
            (tf.constant(0), first),
        )[1]
        return last

    mean = tf.reduce_sum(density.weights * density.means, 0)  # [B, A]
    within = density.means * odds / (density.sizes + 1.0)
    spread = tf.reduce_sum(density.weights * (within + tf.square(density.means - mean)), 0) / (mean * (1.0 - mean))
    first = look(Guess(*scored(mean, spread, effect, clicks, impressions, arms=-1, steps=3)))
    found: Looked = tf.cond(tf.reduce_any(first.wrong), lambda: again(first), lambda: first)
    return Law(found.at.middle + z * found.at.scale, found.weights, Betas(found.components, found.means, seen[None]))


def unseen(density: Betas, effect: Tensor, count: int = NODES) -> Law:
    """`condition` where nothing was shown yet: what is expected before any counts.

    >>> one, none = Betas(tf.ones([1, 1, 1]), tf.fill([1, 1, 1], 0.02), tf.fill([1, 1, 1], 1000.0)), tf.zeros([1, 1])
    >>> quick, full = unseen(one, tf.constant([0.5])), condition(one, tf.constant([0.5]), none, none)
    >>> np.allclose(quick.moments(), full.moments(), rtol=1e-5), np.allclose(quick.weights, full.weights, atol=1e-4)
    (True, True)
    """
    z = standard(count)
    nodes, weights = z * effect, np.exp(-0.5 * z**2)
    means = inside(density.means / (density.means + others(density, nodes)))
    shares = tf.broadcast_to(tf.constant(weights / weights.sum()), tf.shape(nodes))
    return Law(nodes, shares, Betas(density.weights[None] + tf.zeros_like(means), means, density.sizes[None]))


def alone(density: Betas, clicks: Tensor, impressions: Tensor) -> Law:
    """`condition` without an effect, each candidate given its own counts: one node.

    >>> one = Betas(tf.ones([1, 1, 1]), tf.fill([1, 1, 1], 0.02), tf.fill([1, 1, 1], 1000.0))
    >>> alone(one, tf.constant([[90.0]]), tf.constant([[3000.0]])).moments()[0].numpy().round(4)   # (20 + 90) / 4000
    array([[[0.0275]]], dtype=float32)
    """
    node = tf.zeros_like(clicks[None, :, 0])
    a, b = shifted(density, node)
    kinds = tf.nn.softmax(evidence(density, clicks, impressions)(a, b), 1)
    seen = density.sizes + impressions
    return Law(node, tf.ones_like(node), Betas(kinds, inside((a + clicks) / seen), seen[None]))


def standard(count: int) -> Array:
    """Nodes in standard deviations, [Q, 1]."""
    return np.linspace(-REACH, REACH, count, dtype=np.float32)[:, None]


def inside(means: Tensor) -> Tensor:
    """Rates held within (0, 1), whose ends float32 reaches where counts are in the billions."""
    return tf.clip_by_value(means, 1e-10, 1.0 - 1e-6)


def shifted(density: Betas, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes of the betas at nodes [Q, B] of the effect, [Q, K, B, A] each."""
    other = others(density, nodes)
    scaled = density.sizes / (density.means + other)
    return tf.maximum(scaled * density.means, density.sizes * 1e-10), tf.maximum(scaled * other, density.sizes * 1e-6)


def others(density: Betas, nodes: Tensor) -> Tensor:
    """What stands to the means as no click does to a click at nodes [Q, B] of the effect, [Q, K, B, A]."""
    return (1.0 - density.means) * tf.exp(tf.clip_by_value(-nodes, -80.0, 80.0))[:, None, :, None]


def evidence(density: Betas, clicks: Tensor, impressions: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """(a, b of the prior beta at a node) -> log of weight times the counts' probability but for the binomial coefficient, [Q, K, B, A]."""
    sizes = tf.stack([density.sizes, density.sizes + impressions])[:, None]  # [2, 1, K, B, A]: before the counts and after
    scale = 1.0 / (sizes + 4.0)
    whole = 0.5 * tf.math.log(scale * tf.square(_rising(sizes, scale))) - series4(sizes + 4.0)
    fixed = whole[1] - whole[0] + tf.math.log(density.weights)
    misses, minus = impressions - clicks, -scale[1]
    counts = tf.stack([clicks, misses])[:, None, None]  # [2, 1, 1, B, A]
    drawn_to, away = counts * (scale[1] / scale[0]), impressions * scale[1]

    def counted(a: Tensor, b: Tensor) -> Tensor:
        shapes = tf.stack([a, b])  # [2, Q, K, B, A]
        both = tf.stack([shapes, shapes + counts])  # before the counts and after
        more = both + 4.0
        inverse = 1.0 / more
        moved = (shapes - 0.5) * tf.math.log1p(tf.maximum(drawn_to * inverse[0] - away, AWAY))
        rising, series = tf.unstack(_rising(both, inverse)), tf.unstack(series4(more))
        ratio = tf.unstack(rising[1] / rising[0])
        small = tf.minimum(both[1, 0], both[1, 1])
        of_small = tf.where(both[1, 0] <= both[1, 1], clicks, misses)
        seen = of_small * tf.math.log((small + 4.0) * scale[1]) + (impressions - of_small) * tf.math.log1p(small * minus)
        return tf.reduce_sum(moved + series[1] - series[0], 0) - tf.math.log(ratio[0] * ratio[1]) + seen + fixed

    return counted


def _rising(x: Tensor, inverse: Tensor) -> Tensor:
    """Four factors x (x + 1) (x + 2) (x + 3), over (x + 4)^4; inverse: 1 / (x + 4)."""
    y = x * (x + 3.0)
    square = inverse * inverse
    return (y * square) * ((y + 2.0) * square)  # no square of a square, which the graph's optimizer makes one slow operation of
