"""A bootstrapped ensemble with randomised prior functions, all members trained in one pass.

Every member sees each cluster with a Poisson(1) weight of its own, starts from weights of its own, and adds a fixed random network
of the same shape to its output: where there are no data the members keep their different priors and disagree.

A member's rows of weight 0 (1/e of the clusters) are not computed at all; the rows of all members are then judged together, as one
batch of more groups. So the scalars beside the network (the page effect's tau) are one for all members.

Several workers train some of the members each: loss and the scalars' gradients are all that they have to sum.

Source: Osband, Aslanides, Cassirer 2018, Randomized prior functions for deep reinforcement learning, arXiv:1806.03335.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.posteriors import base, stacked
from recbayes.random import fold, normal, split, threefry
from recbayes.types import Array, Tensor, UserError

POISSON_CDF = (0.36787944, 0.73575888, 0.91969860, 0.98101184, 0.99634015, 0.99940582, 0.99991676)
FEW_CLUSTERS = 20
"""Fewer than this and the bootstrap's own spread is a guess: its standard deviation is off by 1 / sqrt(2 (n - 1)), 16% at 20."""


def ensemble(*, members: int = 8, prior_function: float = 0.5, prior_scale: float = 1.0) -> base.Posterior:
    """Members trained on bootstraps of the clusters.

    Args:
      members: number of networks, at least 2; training and serving cost grow with it.
      prior_function: size of the fixed random network, in prior standard deviations of its weights; 0 leaves it out.
      prior_scale: multiplies every prior standard deviation of the model.

    Raises: UserError for fewer than 2 members; at training, for fewer than 2 clusters and for a member that died.

    >>> ensemble(members=3).draws
    3
    """
    if members < 2:
        raise UserError(
            f"ensemble: members is {members}, but a spread takes at least 2. Say members: 8, or posterior: map for no doubt at all"
        )

    def start(network: base.Network, seed: Tensor) -> State:
        return init(network, seed, members=members, prior_function=prior_function)

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        return update(network, state, batch, rate, members=members, prior_scale=prior_scale)

    settings = {"members": members, "prior_function": prior_function, "prior_scale": prior_scale}
    return base.Posterior("ensemble", settings, members, start, step, finish, sample, outputs, extras, warnings, apart=apart)


class State(NamedTuple):
    """parameters: the members' weights [M, ...]; priors: their prior functions' fixed weights; seeds: their bootstraps', int32 [M, 2]."""

    parameters: base.Parameters
    priors: tuple[Tensor, ...]
    optimizer: base.Optimizer
    seeds: Tensor


class Draws(NamedTuple):
    """Weights of the members and of their prior functions, each [M, ...]; without prior functions an empty tuple."""

    weights: tuple[Tensor, ...]
    priors: tuple[Tensor, ...]


def init(network: base.Network, seed: Tensor, *, members: int, prior_function: float) -> State:
    """Members at the network's own start, each moved a little at random so that they differ."""
    if network.clusters is not None and network.clusters < 2:
        raise UserError(
            f"ensemble: a bootstrap draws clusters of rows, and the training rows have {network.clusters}. Name a finer "
            "log.columns.cluster, or use posterior: last_layer"
        )
    seeds = tf.unstack(split(seed, 3 * members))
    start = network.start()
    begun = base.Parameters(spread(network, seeds[:members], size=0.1, about=start.weights), start.extras)
    zeros = tuple(tf.zeros_like(w) for w in start.weights)
    priors = spread(network, seeds[members : 2 * members], size=prior_function, about=zeros) if prior_function else ()
    return State(begun, priors, base.adam_start(begun), tf.stack(seeds[2 * members :]))


def update(
    network: base.Network, state: State, batch: base.Batch, learning_rate: Tensor, *, members: int, prior_scale: float
) -> tuple[State, Tensor]:
    """One step of every member on its own weighting of the batch's clusters; the loss is the mean of all, wherever they are trained."""
    weights = tf.stack([poisson(seed, batch.clusters) for seed in tf.unstack(state.seeds)])  # [M, G]
    rows, there = rows_of_weight(weights, batch.segments)  # [M, n]
    inputs = {name: tf.gather(value, rows) for name, value in batch.inputs.items()}  # [M, n, ...]
    together = side_by_side(weights, rows, there, batch)

    def objective(parameters: base.Parameters) -> Tensor:
        own = stacked.passes(network, parameters.weights, inputs, apart=True)  # [M, n, P]
        outputs = own + prior_outputs if state.priors else own
        log_likelihood = network.log_likelihood(tf.boolean_mask(outputs, there), parameters.extras, together)
        weighted = tf.boolean_mask(weights, weights > 0.0) * log_likelihood
        log_prior = base.log_prior(network, parameters.weights) / prior_scale**2
        return base.loss(network, weighted, log_prior, batch)

    prior_outputs = stacked.passes(network, state.priors, inputs, apart=True) if state.priors else None
    own = None if batch.share else of_members(state.parameters)
    parameters, optimizer, loss = base.descend(objective, state.parameters, state.optimizer, learning_rate, own=own)
    return state._replace(parameters=parameters, optimizer=optimizer), loss / members


def apart(state: State) -> State:
    """True for what each member has for itself."""
    own = of_members(state.parameters)
    return State(own, tuple(True for _ in state.priors), base.Optimizer(own, own, False), True)


def of_members(parameters: base.Parameters) -> base.Parameters:
    """True for the members' weights, False for the scalars that are one for all."""
    return base.Parameters(tuple(True for _ in parameters.weights), dict.fromkeys(parameters.extras, False))


def finish(network: base.Network, state: State, batches: Iterable[base.Batch]) -> State:
    """The state as it is, once every member is seen to be alive on the rows.

    Raises: UserError for members whose outputs are no numbers, or the same for rows that differ.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def ends(inputs: dict[str, Tensor]) -> Any:
        own = stacked.passes(network, state.parameters.weights, inputs)  # [M, N, P]
        return [(tf.reduce_min(own, 1), tf.reduce_max(own, 1)), *((tf.reduce_min(x, 0), tf.reduce_max(x, 0)) for x in inputs.values())]

    whole: list[tuple[Array, Array]] = []
    for batch in batches:
        part = [(np.asarray(low), np.asarray(high)) for low, high in ends(batch.inputs)]
        whole = [(np.minimum(a, c), np.maximum(b, d)) for (a, b), (c, d) in zip(whole, part, strict=True)] if whole else part
    if whole:
        must_be_alive(*whole[0], differ=any((low < high).any() for low, high in whole[1:]))
    return state


def sample(network: base.Network, state: State, draws: int, seed: Tensor) -> Draws:
    """The members themselves, however many draws are asked for."""
    return Draws(state.parameters.weights, state.priors)


def outputs(network: base.Network, weights: Draws, inputs: dict[str, Tensor]) -> Tensor:
    """[M, N, P]."""
    own = stacked.passes(network, weights.weights, inputs)
    return own + stacked.passes(network, weights.priors, inputs) if weights.priors else own


def extras(state: State) -> dict[str, Tensor]:
    """The scalars beside the network."""
    return state.parameters.extras


def warnings(network: base.Network, state: State) -> list[str]:
    """Of a bootstrap over few clusters."""
    clusters = network.clusters
    if clusters is None or clusters >= FEW_CLUSTERS:
        return []
    off = (2.0 * (clusters - 1)) ** -0.5
    return [
        f"ensemble: the bootstrap draws from {clusters} clusters only, so the model's stddev is off by about {off:.0%} by chance. Name a "
        "finer log.columns.cluster, or use posterior: last_layer"
    ]


def rows_of_weight(weights: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Each member's rows of weight above 0, filled up to the longest list: int32 [M, n], and bool [M, n], False for the filling."""
    kept = tf.gather(weights, segments, axis=1) > 0.0  # [M, N]
    count = tf.reduce_sum(tf.cast(kept, tf.int32), 1)
    longest = tf.maximum(tf.reduce_max(count), 1)
    order = tf.argsort(tf.cast(~kept, tf.int32), axis=1, stable=True)
    return order[:, :longest], tf.sequence_mask(count, longest)


def side_by_side(weights: Tensor, rows: Tensor, there: Tensor, batch: base.Batch) -> base.Batch:
    """The members' rows of weight as one batch without inputs, whose groups are the (member, group) pairs of weight, in order."""
    kept = weights > 0.0  # [M, G]
    number = tf.reshape(tf.cumsum(tf.cast(tf.reshape(kept, [-1]), tf.int32)) - 1, tf.shape(kept))
    segments = tf.gather(number, tf.gather(batch.segments, rows), axis=1, batch_dims=1)  # [M, n]

    def each(values: Tensor) -> Tensor:
        return tf.boolean_mask(tf.broadcast_to(values, tf.shape(kept)), kept)

    clicks, impressions = (tf.boolean_mask(tf.gather(values, rows), there) for values in (batch.clicks, batch.impressions))
    return base.Batch({}, clicks, impressions, tf.boolean_mask(segments, there), each(batch.groups), each(batch.clusters))


def spread(network: base.Network, seeds: list[Tensor], *, size: float, about: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Weights of as many members as seeds, `size` prior standard deviations around some; flat ones are not moved. Each [M, ...]."""
    moved = []
    for i, (weight, stddev) in enumerate(zip(about, network.prior_stddev, strict=True)):
        flat = stddev == float("inf")
        moved.append(tf.stack([weight if flat else weight + size * stddev * normal(fold(s, i), weight.shape) for s in seeds]))
    return tuple(moved)


def must_be_alive(low: Array, high: Array, *, differ: bool) -> None:
    """UserError for members whose outputs, from low to high [M, P] over all rows, are no numbers or do not depend on the row."""
    broken = ~np.isfinite(high - low).all(axis=1)
    same = (high - low <= 1e-6 * np.maximum(np.abs(high), 1.0)).all(axis=1) & differ & ~broken
    faults = [(broken, "outputs are not finite. Lower train.learning_rate"), (same, DEAD)]
    found = [f"member {', '.join(map(str, np.flatnonzero(which)))} of {len(low)}: its {what}" for which, what in faults if which.any()]
    if found:
        raise UserError("ensemble: " + "; ".join(found))


DEAD = "outputs are the same for every row: all its units are dead. Lower train.learning_rate or raise posterior.prior_scale"


def poisson(seed: Tensor, clusters: Tensor) -> Tensor:
    """A Poisson(1) weight a cluster, the same whenever the cluster comes up, [G]. Values above 7 (1 in 100,000) count as 7."""
    key = tf.bitcast(seed, tf.uint32)
    word = threefry((key[0], key[1]), (tf.cast(clusters, tf.uint32), tf.zeros_like(clusters, tf.uint32)))[0]
    drawn = (
        tf.cast(tf.bitcast(tf.bitwise.right_shift(word, tf.constant(8, tf.uint32)), tf.int32), tf.float32) * 2.0**-24
    )  # uniform on [0, 1)
    return tf.reduce_sum(tf.cast(drawn[:, None] >= tf.constant(POISSON_CDF), tf.float32), axis=1)
