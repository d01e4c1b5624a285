"""Epistemic neural network: one network, and a small one beside it that turns a random index into a coherent change of its outputs.

    f(x, z) = base(x) + (l(phi, z) + p(phi)) z / sqrt(D),  z ~ N(0, I_D),  phi = what goes into the base's head, gradient stopped

l is learned and starts at zero, p is a fixed random network for each dimension of the index: its prior function. A draw of the posterior
is a draw of z, so hundreds cost little more than one pass. In training every group has an index of its own, and its log likelihood
the weight -log Phi(c z) with c a random unit vector of its cluster: exponential, a Bayesian bootstrap that the index remembers.

Deviations from the paper: the small networks see phi alone, the index is a group's (it joins the rows that are judged jointly), and the
bootstrap, which the paper has for regression, is this one.

Source: Osband et al. 2021, Epistemic neural networks, arXiv:2107.08924; weights, Rubin 1981, The Bayesian bootstrap.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from recbayes.posteriors import base
from recbayes.random import normal, split, threefry
from recbayes.types import Tensor, UserError


def epinet(*, draws: int = 64, index: int = 8, hidden: int = 16, prior_function: float = 0.3, prior_scale: float = 1.0) -> base.Posterior:
    """An epinet on the features that go into the model's head.

    Args:
      draws: indices a prediction averages over; at least 2.
      index: dimensions of the index, D.
      hidden: width of the learned network and of each prior network.
      prior_function: size of the prior networks, in prior standard deviations of the head; 0 leaves them out. Where there are rows, the
        learned network has to cancel them: the larger they are, the longer that takes.
      prior_scale: multiplies every prior standard deviation of the model and of the learned network.

    Raises: UserError if draws, index or hidden are too small; at training, if the model has no layer named `head`.

    >>> epinet(draws=16).settings["index"]
    8
    """
    base.check_draws("epinet", draws)
    if index < 1 or hidden < 1:
        raise UserError(f"epinet: index is {index} and hidden {hidden}, both must be at least 1. Say index: 8, hidden: 16")

    def start(network: base.Network, seed: Tensor) -> State:
        return init(network, seed, index=index, hidden=hidden, prior_function=prior_function)

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        return update(network, state, batch, seed, rate, prior_scale=prior_scale)

    settings = {"draws": draws, "index": index, "hidden": hidden, "prior_function": prior_function, "prior_scale": prior_scale}
    return base.Posterior("epinet", settings, draws, start, step, base.unfinished, sample, outputs, extras)


class Learned(NamedTuple):
    """The learned network: features [H, U], index [D, U], bias [U], then out [U, P D]."""

    features: Tensor
    index: Tensor
    bias: Tensor
    out: Tensor


class Fixed(NamedTuple):
    """The prior networks: first [H + 1, D, U], second [D, U, P]."""

    first: Tensor
    second: Tensor


class State(NamedTuple):
    """The base's parameters and the learned network's, the prior networks, Adam's moments, the seed of the clusters' vectors int32 [2]."""

    fitted: tuple[base.Parameters, Learned]
    fixed: Fixed
    optimizer: base.Optimizer
    seed: Tensor


class Draws(NamedTuple):
    """Weights of the base, the learned network, the prior networks, and the indices [S, D]."""

    weights: tuple[Tensor, ...]
    learned: Learned
    fixed: Fixed
    indices: Tensor


def init(network: base.Network, seed: Tensor, *, index: int, hidden: int, prior_function: float) -> State:
    """The base at its own start; what the learned network puts out is zero, so the doubt is the prior networks'."""
    head = find_head(network.model)
    width, size = head.input.shape[-1], network.model.output.shape[-1]
    seeds = tf.unstack(split(seed, 5))
    learned = Learned(
        normal(seeds[0], [width, hidden]) * (2.0 / width) ** 0.5,
        normal(seeds[1], [index, hidden]) * (2.0 / index) ** 0.5,
        tf.zeros([hidden]),
        tf.zeros([hidden, size * index]),
    )
    # With these sizes a prior network has the variance of the head's own prior: |hidden|^2 = |(phi, 1)|^2 on average.
    first = normal(seeds[2], [width + 1, index, hidden]) * (2.0 / hidden) ** 0.5
    second = normal(seeds[3], [index, hidden, size]) * prior_function * kernel_stddev(network, head)
    fitted = (network.start(), learned)
    return State(fitted, Fixed(first, second), base.adam_start(fitted), seeds[4])


def update(
    network: base.Network, state: State, batch: base.Batch, seed: Tensor, learning_rate: Tensor, *, prior_scale: float
) -> tuple[State, Tensor]:
    """One step, each group under an index of its own and with the bootstrap weight that goes with it."""
    vectors = unit_vectors(state.seed, batch.clusters, state.fixed.first.shape[1])  # [G, D]
    width = vectors.shape[1]
    indices = base.of_groups(lambda groups: normal(seed, [groups, width]), tf.shape(batch.groups)[0], batch.share)  # [G, D]
    weight = -tf.math.log(0.5 * tf.math.erfc(tf.reduce_sum(vectors * indices, 1) / -math.sqrt(2.0)))  # [G], -log Phi
    of_rows = tf.gather(indices, batch.segments)  # [N, D]

    def objective(fitted: tuple[base.Parameters, Learned]) -> Tensor:
        parameters, learned = fitted
        features, own = both(network, parameters.weights, batch.inputs)
        moved = own + change(learned, state.fixed, tf.stop_gradient(features), of_rows)
        log_likelihood = weight * network.log_likelihood(moved, parameters.extras, batch)
        log_prior = base.log_prior(network, parameters.weights) + small_prior(network, learned)
        return base.loss(network, log_likelihood, log_prior / prior_scale**2, batch)

    fitted, optimizer, loss = base.descend(objective, state.fitted, state.optimizer, learning_rate)
    return state._replace(fitted=fitted, optimizer=optimizer), loss


def sample(network: base.Network, state: State, draws: int, seed: Tensor) -> Draws:
    """As many indices as draws."""
    parameters, learned = state.fitted
    return Draws(parameters.weights, learned, state.fixed, normal(seed, [draws, state.fixed.first.shape[1]]))


def outputs(network: base.Network, weights: Draws, inputs: dict[str, Tensor]) -> Tensor:
    """[S, N, P]."""
    features, own = both(network, weights.weights, inputs)
    return own + change(weights.learned, weights.fixed, features, weights.indices[:, None, :])


def extras(state: State) -> dict[str, Tensor]:
    """The scalars beside the network."""
    return state.fitted[0].extras


def change(learned: Learned, fixed: Fixed, features: Tensor, indices: Tensor) -> Tensor:
    """What the index adds to the outputs: features [N, H], indices [..., N or 1, D] -> [..., N, P]."""
    dimensions, _, size = fixed.second.shape
    hidden = tf.nn.relu(features @ learned.features + tf.tensordot(indices, learned.index, 1) + learned.bias)  # [..., N, U]
    slopes = tf.tensordot(hidden, learned.out, 1)  # [..., N, P D]
    slopes = tf.reshape(slopes, tf.concat([tf.shape(slopes)[:-1], [size, dimensions]], 0))
    with_one = tf.concat([features, tf.ones_like(features[:, :1])], 1)
    # A sum in place of a batched product, whose rounding depends on the row's place: equal candidates get equal draws.
    prior = tf.reduce_sum(tf.nn.relu(tf.tensordot(with_one, fixed.first, 1))[..., None] * fixed.second, 2)  # [N, D, P]
    prior = tf.transpose(prior, [0, 2, 1])
    return tf.reduce_sum((slopes + prior) * indices[..., None, :], -1) / math.sqrt(dimensions)


def find_head(model: keras.Model) -> Any:
    """The layer whose input the small networks see."""
    for layer in model.layers:
        if layer.name == "head":
            return layer
    raise UserError("epinet: the model has no layer named 'head'. Name the last one so: keras.layers.Dense(size, name='head')")


def both(network: base.Network, weights: tuple[Tensor, ...], inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What goes into the head [N, H], and the outputs [N, P], in one pass."""
    model = keras.Model(network.model.input, [find_head(network.model).input, network.model.output])
    position = {id(v): i for i, v in enumerate(network.model.trainable_variables)}
    features, outputs = base.call_model(model, [weights[position[id(v)]] for v in model.trainable_variables], inputs)
    return features, outputs


def kernel_stddev(network: base.Network, head: Any) -> float:
    """Prior standard deviation of the head's kernel; 1 where it is flat."""
    stddevs = {id(v): s for v, s in zip(network.model.trainable_variables, network.prior_stddev, strict=True)}
    found = [stddevs[id(v)] for v in head.trainable_variables if math.isfinite(stddevs[id(v)])]
    return found[0] if found else 1.0


def small_prior(network: base.Network, learned: Learned) -> Tensor:
    """Log prior of the learned network, up to a constant: as wide as the head's kernel at the output, as they were drawn below it."""
    out = tf.reduce_sum(tf.square(learned.out)) / kernel_stddev(network, find_head(network.model)) ** 2
    below = [tf.reduce_sum(tf.square(w)) * w.shape[0] / 2.0 for w in (learned.features, learned.index)]
    return -0.5 * tf.add_n([out, *below])


def unit_vectors(seed: Tensor, clusters: Tensor, size: int) -> Tensor:
    """A random direction a cluster, the same whenever the cluster comes up, [G, D]."""
    key = tf.bitcast(seed, tf.uint32)
    counter = tf.broadcast_to(tf.cast(clusters, tf.uint32)[:, None], [tf.shape(clusters)[0], size])
    word = threefry((key[0], key[1]), (counter, tf.cast(tf.range(size), tf.uint32)[None] + tf.zeros_like(counter)))[0]
    uniform = (tf.cast(tf.bitcast(tf.bitwise.right_shift(word, tf.constant(9, tf.uint32)), tf.int32), tf.float32) + 0.5) * 2.0**-23
    return tf.linalg.l2_normalize(tf.math.ndtri(uniform), axis=1)
