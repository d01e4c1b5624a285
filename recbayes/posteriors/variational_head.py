"""The last layer's Gaussian fitted by variational inference: `last_layer(method="variational")`.

    ELBO = E_q [sum log p(clicks | head, wide)] - KL(q || prior),  q(head) = N(m, L L'),  q(wide) = prod N(m_i, s_i^2)

L is triangular and full, trained together with all the weights by reparameterisation. Every group has a head of its own draw: one
product [G, D] [D, D]. The wide weights' deviations are drawn once a step, with a sign a group. Weights below the head are at their MAP
under the ELBO.

Source: Harrison, Willes, Snoek 2024, Variational Bayesian last layers, arXiv:2404.11599; here the ELBO is sampled, as the density has
no closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.posteriors import base
from recbayes.posteriors.flipout import random_signs
from recbayes.posteriors.last_layer import (
    Draws,
    Layers,
    about_map,
    find_layers,
    folded,
    on_location,
    outputs,
    prior_precisions,
    run_once,
    wide_sum,
)
from recbayes.posteriors.mean_field import SPEED, START, proper
from recbayes.random import fold, normal
from recbayes.types import Tensor

STEEP = 0.3
"""Largest unit of a factor's row: a flat prior's standard deviation of 10 is no size to step in."""


def posterior(settings: dict[str, Any], draws: int, prior_scale: float) -> base.Posterior:
    """The method, its settings checked by `last_layer`."""

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        return update(network, state, batch, seed, rate, prior_scale=prior_scale)

    def drawn(network: base.Network, state: State, draws: int, seed: Tensor) -> Draws:
        return sample(network, state, draws, seed, prior_scale=prior_scale)

    return base.Posterior("last_layer", settings, draws, init, step, base.unfinished, drawn, outputs, extras, fold=folded)


class Fitted(NamedTuple):
    """What is learned.

    parameters: means of all weights; factor [D, D], D = (H + 1) P: rows of L over their unit, on the diagonal its log over SPEED; wide:
    logs of the wide weights' standard deviations over the prior's, over SPEED, [V] a wide layer.
    """

    parameters: base.Parameters
    factor: Tensor
    wide: tuple[Tensor, ...]


class State(NamedTuple):
    """The variational parameters and Adam's moments."""

    fitted: Fitted
    optimizer: base.Optimizer


class Priors(NamedTuple):
    """Prior standard deviations of the head's entries [D] and of the wide weights, one a layer."""

    head: Tensor
    wide: tuple[float, ...]


def init(network: base.Network, seed: Tensor) -> State:
    """The network's own start, narrow."""
    layers = find_layers(network.model)
    size = (layers.head.kernel.shape[0] + 1) * layers.head.units
    narrow = math.log(START) / SPEED
    fitted = Fitted(network.start(), narrow * tf.eye(size), tuple(tf.fill([w.input_dim], narrow) for w in layers.wide))
    return State(fitted, base.adam_start(fitted))


def update(
    network: base.Network, state: State, batch: base.Batch, seed: Tensor, learning_rate: Tensor, *, prior_scale: float
) -> tuple[State, Tensor]:
    """One step up the ELBO, every group under a draw of its own."""
    layers = find_layers(network.model)
    stddevs = priors(network, layers, prior_scale)
    groups = tf.shape(batch.groups)[0]
    noise = base.of_groups(lambda n: normal(fold(seed, 0), [n, stddevs.head.shape[0]]), groups, batch.share)  # [G, D]
    wide_noise = [normal(fold(seed, 2 + i), [w.input_dim]) for i, w in enumerate(layers.wide)]
    flips = base.of_groups(lambda n: random_signs(fold(seed, 1), n, max(len(layers.wide), 1)), groups, batch.share)
    signs = tf.gather(flips, batch.segments)  # [N, wide layers]

    def objective(fitted: Fitted) -> Tensor:
        weights = fitted.parameters.weights
        features, ids, moved = run_once(network, layers, weights, batch.inputs)
        heads = tf.reshape(noise @ tf.transpose(lower(fitted, stddevs)), [groups, -1, layers.head.units])  # [G, H + 1, P]
        moved += tf.einsum("nh,nhp->np", features, tf.gather(heads, batch.segments))
        for i, layer in enumerate(layers.wide):
            deviations = stddevs.wide[i] * tf.exp(SPEED * fitted.wide[i]) * wide_noise[i]
            shift = wide_sum(layer, deviations[:, None], ids[i]) * signs[:, i : i + 1]  # [N, 1]
            moved += shift * on_location(layers)
        log_likelihood = network.log_likelihood(moved, fitted.parameters.extras, batch)
        log_prior = base.log_prior(network, weights) / prior_scale**2 - spread_divergence(fitted, stddevs)
        return base.loss(network, log_likelihood, log_prior, batch)

    fitted, optimizer, loss = base.descend(objective, state.fitted, state.optimizer, learning_rate)
    return State(fitted, optimizer), loss


def sample(network: base.Network, state: State, draws: int, seed: Tensor, *, prior_scale: float) -> Draws:
    """Independent draws, as `last_layer` has them."""
    layers = find_layers(network.model)
    stddevs, fitted = priors(network, layers, prior_scale), state.fitted
    heads = normal(fold(seed, 0), [draws, stddevs.head.shape[0]]) @ tf.transpose(lower(fitted, stddevs))
    wide = [
        normal(fold(seed, 1 + i), [spread.shape[0], draws]) * (stddevs.wide[i] * tf.exp(SPEED * spread))[:, None]
        for i, spread in enumerate(fitted.wide)
    ]
    return about_map(network, layers, fitted.parameters.weights, heads, wide)


def extras(state: State) -> dict[str, Tensor]:
    """The scalars beside the network."""
    return state.fitted.parameters.extras


def priors(network: base.Network, layers: Layers, scale: float) -> Priors:
    """The model's, as `last_layer` reads them."""
    head, _ = prior_precisions(network, layers, scale)
    stddev = {id(v): s for v, s in zip(network.model.trainable_variables, network.prior_stddev, strict=True)}
    wide = tuple(proper(scale * stddev[id(w.trainable_variables[0])]) for w in layers.wide)
    return Priors(tf.cast(tf.math.rsqrt(tf.linalg.diag_part(head)), tf.float32), wide)


def lower(fitted: Fitted, stddevs: Priors) -> Tensor:
    """L, [D, D]."""
    factor = tf.linalg.band_part(fitted.factor, -1, 0)
    return tf.linalg.set_diag(factor, tf.exp(SPEED * tf.linalg.diag_part(factor))) * unit(stddevs)[:, None]


def unit(stddevs: Priors) -> Tensor:
    """What a row of the factor is measured in, [D]."""
    return tf.minimum(stddevs.head, STEEP)


def spread_divergence(fitted: Fitted, stddevs: Priors) -> Tensor:
    """KL(q || prior) less the means' part, which is the log prior's: sum of (trace - log determinant - dimensions) / 2, []."""
    factor = lower(fitted, stddevs) / stddevs.head[:, None]
    logs: Sequence[Tensor] = [tf.math.log(tf.linalg.diag_part(factor)), *(SPEED * w for w in fitted.wide)]
    squares = [tf.reduce_sum(tf.square(factor)), *(tf.reduce_sum(tf.exp(2.0 * SPEED * w)) for w in fitted.wide)]
    dimensions = sum(log.shape[0] for log in logs)
    return 0.5 * (tf.add_n(squares) - float(dimensions)) - tf.add_n([tf.reduce_sum(log) for log in logs])
