"""Monte Carlo dropout: dropout stays on, and each pass with a mask of its own is a draw.

A mask is shared by all rows of a pass, so that one draw is one function and identical candidates get identical values. Its spread
is set by the rate and does not shrink with data: doubling the log leaves model_stddev as it is.

Source: Gal and Ghahramani 2016, arXiv:1506.02142.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from recbayes.posteriors import base
from recbayes.posteriors import point_estimate as point
from recbayes.random import split
from recbayes.types import Tensor, UserError


def mc_dropout(*, draws: int = 64, prior_scale: float = 1.0) -> base.Posterior:
    """Passes with dropout on; the rate is the model's (`ddn(dropout=0.1)`).

    Args:
      draws: masks a prediction averages over; at least 2.
      prior_scale: multiplies every prior standard deviation of the model.

    Raises:
      UserError: for fewer than 2 draws; at training, if the model has no dropout layer, or one that draws a mask a row.

    >>> mc_dropout(draws=8).draws
    8
    """
    base.check_draws("mc_dropout", draws)

    def step(network: base.Network, state: point.State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[point.State, Tensor]:
        return update(network, state, batch, seed, rate, prior_scale=prior_scale)

    settings = {"draws": draws, "prior_scale": prior_scale}
    return base.Posterior("mc_dropout", settings, draws, init, step, base.unfinished, sample, outputs, point.extras)


State = point.State


class Draws(NamedTuple):
    """The weights, and a seed a mask, int32 [S, 2]."""

    weights: tuple[Tensor, ...]
    seeds: Tensor


def init(network: base.Network, seed: Tensor) -> point.State:
    """The network's own start, its dropout layers checked."""
    layers = [x for x in network.model._flatten_layers() if isinstance(x, keras.layers.Dropout) and x.rate > 0]
    if not layers:
        raise UserError("mc_dropout: the model has no dropout layer. Give it one, say model: {kind: ddn, dropout: 0.1}")
    rowwise = [x.name for x in layers if not x.noise_shape or x.noise_shape[0] != 1]
    if rowwise:
        raise UserError(
            f"mc_dropout: {', '.join(rowwise)} draw a mask a row, so candidates would not share one. Build them with noise_shape=(1, width)"
        )
    return point.init(network, seed)


def update(
    network: base.Network, state: point.State, batch: base.Batch, seed: Tensor, learning_rate: Tensor, *, prior_scale: float
) -> tuple[point.State, Tensor]:
    """One step with one mask."""

    def objective(parameters: base.Parameters) -> Tensor:
        outputs = network.call(parameters.weights, batch.inputs, dropout_seed=seed)
        log_prior = base.log_prior(network, parameters.weights) / prior_scale**2
        return base.loss(network, network.log_likelihood(outputs, parameters.extras, batch), log_prior, batch)

    parameters, optimizer, loss = base.descend(objective, state.parameters, state.optimizer, learning_rate)
    return point.State(parameters, optimizer), loss


def sample(network: base.Network, state: point.State, draws: int, seed: Tensor) -> Draws:
    """As many masks as draws."""
    return Draws(state.parameters.weights, split(seed, draws))


def outputs(network: base.Network, weights: Draws, inputs: dict[str, Tensor]) -> Tensor:
    """[S, N, P], one pass a mask."""
    passes = [network.call(weights.weights, inputs, dropout_seed=seed) for seed in tf.unstack(weights.seeds)]
    return tf.stack(passes)
