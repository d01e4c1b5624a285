"""Draws that a Markov chain left behind, kept in the state: what `sgld` and `nuts` hold, and how they are drawn from and run.

Kept are deviations from the MAP, [S, ...] a weight, all zero until the chain has run: the state has one shape from the first step on,
and a method that has not finished yet is its MAP.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.posteriors import base
from recbayes.posteriors.last_layer import FLAT
from recbayes.random import uniform
from recbayes.types import Array, Tensor, UserError

LARGEST = 2**28
"""Numbers that the kept draws may hold: 1 GB."""


class Draws(NamedTuple):
    """MAP weights; deviations from them, [S, ...] a weight."""

    weights: tuple[Tensor, ...]
    deviations: tuple[Tensor, ...]


def none_yet(network: base.Network, draws: int, method: str) -> tuple[Tensor, ...]:
    """Room for that many draws, all at the MAP, [S, ...] a weight.

    Raises: UserError if they would not fit into memory.
    """
    size = sum(math.prod(v.shape) for v in network.model.trainable_variables)
    if draws * size > LARGEST:
        raise UserError(
            f"{method}: {draws} draws of {size:,} weights take {4e-9 * draws * size:.1f} GB, more than {4e-9 * LARGEST:.1f}. "
            f"Keep at most {LARGEST // size}, or take a posterior that keeps none, say posterior: last_layer"
        )
    return tuple(tf.zeros([draws, *v.shape]) for v in network.model.trainable_variables)


def sample(network: base.Network, state: Any, draws: int, seed: Tensor) -> Draws:
    """As many of the kept draws as asked for, evenly spaced along the chain; the seed says where they begin.

    Raises: UserError if more are asked for than were kept.
    """
    kept = state.deviations[0].shape[0]
    if draws > kept:
        raise UserError(f"{draws} weight draws are asked for and the posterior kept {kept}. Train it again with posterior.draws={draws}")
    first = tf.cast(tf.floor(uniform(seed, [1]) * kept), tf.int32)
    chosen = (first + tf.constant(np.arange(draws) * kept // draws, tf.int32)) % kept
    return Draws(state.fitted.parameters.weights, tuple(tf.gather(d, chosen) for d in state.deviations))


def outputs(network: base.Network, weights: Draws, inputs: dict[str, Tensor]) -> Tensor:
    """[S, N, P], one pass a draw."""
    count = weights.deviations[0].shape[0]
    passes = []
    for s in range(count):
        moved = [w + d[s] for w, d in zip(weights.weights, weights.deviations, strict=True)]
        passes.append(network.call(moved, inputs))
    return tf.stack(passes)


def prior_precisions(network: base.Network, scale: float) -> list[float]:
    """Of each weight tensor. A flat prior counts as one of standard deviation 10 about the MAP: a chain needs a proper one."""
    return [1.0 / (s * scale) ** 2 if math.isfinite(s) else FLAT for s in network.prior_stddev]


def prior_slopes(network: base.Network, weights: Sequence[Tensor], at: Sequence[Tensor], scale: float) -> list[Tensor]:
    """Slope of the log prior at the weights, in the shape of each; `at` is the MAP, about which flat priors lie."""
    centres = [0.0 if math.isfinite(s) else m for s, m in zip(network.prior_stddev, at, strict=True)]
    return [p * (c - w) for p, c, w in zip(prior_precisions(network, scale), centres, weights, strict=True)]


def effective_draws(deviations: Iterable[Array], blocks: int = 4) -> float:
    """How many independent draws the kept ones are worth, by the spread of block means, averaged over all weights.

    Means of blocks of independent draws vary by the draws' variance over the block's length; a chain that moves too slowly makes them
    vary more. Its own relative error is near sqrt(2 / (3 weights)).

    >>> effective_draws([np.repeat([[1.0], [2.0], [3.0], [4.0]], 8, axis=0)]) < 8
    True
    """
    ratios = []
    for values in deviations:
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        length = len(flat) // blocks
        means = flat[: length * blocks].reshape(blocks, length, -1).mean(axis=1)
        spread = flat.var(axis=0, ddof=1)
        moving = spread > 0.0
        ratios.append(length * means.var(axis=0, ddof=1)[moving] / spread[moving])
    every = np.concatenate(ratios)
    return float(len(flat) / max(every.mean(), 1.0)) if len(every) else 0.0
