"""A single setting of the weights, found by Adam: what `mle` and `map` are, and where `last_layer` and `mc_dropout` start from."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.posteriors import base
from recbayes.types import Tensor


class State(NamedTuple):
    """The parameters and Adam's moments."""

    parameters: base.Parameters
    optimizer: base.Optimizer


def init(network: base.Network, seed: Tensor) -> State:
    """The network's own start."""
    parameters = network.start()
    return State(parameters, base.adam_start(parameters))


def update(
    network: base.Network, state: State, batch: base.Batch, learning_rate: Tensor, *, prior_scale: float | None
) -> tuple[State, Tensor]:
    """One step; without a prior scale the prior is left out (maximum likelihood)."""

    def objective(parameters: base.Parameters) -> Tensor:
        outputs = network.call(parameters.weights, batch.inputs)
        log_prior = tf.constant(0.0) if prior_scale is None else base.log_prior(network, parameters.weights) / prior_scale**2
        return base.loss(network, network.log_likelihood(outputs, parameters.extras, batch), log_prior, batch)

    parameters, optimizer, loss = base.descend(objective, state.parameters, state.optimizer, learning_rate)
    return State(parameters, optimizer), loss


def sample(network: base.Network, state: Any, draws: int, seed: Tensor) -> tuple[Tensor, ...]:
    """The one setting there is: the weights."""
    weights: tuple[Tensor, ...] = state.parameters.weights
    return weights


def outputs(network: base.Network, weights: tuple[Tensor, ...], inputs: dict[str, Tensor]) -> Tensor:
    """[1, N, P]."""
    return network.call(weights, inputs)[None]


def extras(state: Any) -> dict[str, Tensor]:
    """The scalars beside the network."""
    found: dict[str, Tensor] = state.parameters.extras
    return found
