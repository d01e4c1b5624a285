"""A bootstrapped ensemble with randomised prior functions.

Every member sees each cluster with a Poisson(1) weight of its own, starts from weights of its own, and adds a fixed random network
of the same shape to its output: where there are no data the members keep their different priors and disagree.

Source: Osband, Aslanides, Cassirer 2018, Randomized prior functions for deep reinforcement learning, arXiv:1806.03335.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.posteriors import base
from recbayes.random import fold, normal, split, threefry
from recbayes.types import Tensor

POISSON_CDF = (0.36787944, 0.73575888, 0.91969860, 0.98101184, 0.99634015, 0.99940582, 0.99991676)


def ensemble(*, members: int = 8, prior_function: float = 0.5, prior_scale: float = 1.0) -> base.Posterior:
    """Members trained on bootstraps of the clusters.

    Args:
      members: number of networks; training and serving cost grow with it.
      prior_function: size of the fixed random network, in prior standard deviations of its weights; 0 leaves it out.
      prior_scale: multiplies every prior standard deviation of the model.

    >>> ensemble(members=3).draws
    3
    """

    def start(network: base.Network, seed: Tensor) -> State:
        return init(network, seed, members=members, prior_function=prior_function)

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        return update(network, state, batch, rate, prior_scale=prior_scale)

    settings = {"members": members, "prior_function": prior_function, "prior_scale": prior_scale}
    return base.Posterior("ensemble", settings, members, start, step, base.unfinished, sample, outputs, extras)


class State(NamedTuple):
    """parameters: one a member; priors: the fixed weights of each member's prior function; seeds: int32 [M, 2], its bootstrap's."""

    parameters: tuple[base.Parameters, ...]
    priors: tuple[tuple[Tensor, ...], ...]
    optimizer: base.Optimizer
    seeds: Tensor


def init(network: base.Network, seed: Tensor, *, members: int, prior_function: float) -> State:
    """Members at the network's own start, each moved a little at random so that they differ."""
    seeds = tf.unstack(split(seed, 3 * members))
    begun = tuple(base.Parameters(spread(network, s, size=0.1, centred=False), network.start().extras) for s in seeds[:members])
    priors = tuple(spread(network, s, size=prior_function, centred=True) for s in seeds[members : 2 * members])
    return State(begun, priors if prior_function else (), base.adam_start(begun), tf.stack(seeds[2 * members :]))


def update(network: base.Network, state: State, batch: base.Batch, learning_rate: Tensor, *, prior_scale: float) -> tuple[State, Tensor]:
    """One step of every member on its own weighting of the batch's clusters; the loss is their mean."""

    def objective(members: tuple[base.Parameters, ...]) -> Tensor:
        losses = []
        for m, parameters in enumerate(members):
            weight = poisson(state.seeds[m], batch.clusters)  # [G]
            log_likelihood = network.log_likelihood(member(network, state, parameters.weights, m, batch.inputs), parameters.extras, batch)
            log_prior = base.log_prior(network, parameters.weights) / prior_scale**2
            losses.append(base.loss(network, weight * log_likelihood, log_prior, batch))
        return tf.add_n(losses)

    parameters, optimizer, loss = base.descend(objective, state.parameters, state.optimizer, learning_rate)
    return state._replace(parameters=parameters, optimizer=optimizer), loss / len(parameters)


def sample(network: base.Network, state: State, draws: int, seed: Tensor) -> Any:
    """The members themselves: (weights of each member, weights of each prior function)."""
    return tuple(p.weights for p in state.parameters), state.priors


def outputs(network: base.Network, weights: Any, inputs: dict[str, Tensor]) -> Tensor:
    """[M, N, P]."""
    own, priors = weights
    passes = [network.call(w, inputs) for w in own]
    return tf.stack([p + network.call(q, inputs) for p, q in zip(passes, priors, strict=True)] if priors else passes)


def extras(state: State) -> dict[str, Tensor]:
    """The scalars beside the network: their mean over members (all are logs)."""
    return {k: tf.reduce_mean(tf.stack([p.extras[k] for p in state.parameters])) for k in state.parameters[0].extras}


def member(network: base.Network, state: State, weights: tuple[Tensor, ...], m: int, inputs: dict[str, Tensor]) -> Tensor:
    """Outputs of one member, its prior function added, [N, P]."""
    own = network.call(weights, inputs)
    return own + network.call(state.priors[m], inputs) if state.priors else own


def spread(network: base.Network, seed: Tensor, *, size: float, centred: bool) -> tuple[Tensor, ...]:
    """Weights moved by `size` prior standard deviations, about zero or about the network's start; flat ones are not drawn."""
    moved = []
    for i, (weight, stddev) in enumerate(zip(network.start().weights, network.prior_stddev, strict=True)):
        noise = size * stddev * normal(fold(seed, i), weight.shape) if stddev < float("inf") else tf.zeros_like(weight)
        moved.append(noise if centred else weight + noise)
    return tuple(moved)


def poisson(seed: Tensor, clusters: Tensor) -> Tensor:
    """A Poisson(1) weight a cluster, the same whenever the cluster comes up, [G]. Values above 7 (1 in 100,000) count as 7."""
    key = tf.bitcast(seed, tf.uint32)
    word = threefry((key[0], key[1]), (tf.cast(clusters, tf.uint32), tf.zeros_like(clusters, tf.uint32)))[0]
    drawn = (
        tf.cast(tf.bitcast(tf.bitwise.right_shift(word, tf.constant(8, tf.uint32)), tf.int32), tf.float32) * 2.0**-24
    )  # uniform on [0, 1)
    return tf.reduce_sum(tf.cast(drawn[:, None] >= tf.constant(POISSON_CDF), tf.float32), axis=1)
