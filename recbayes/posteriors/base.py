"""The protocol every posterior keeps, and what it is a posterior of.

A posterior is five pure functions. `init` makes a state, `update` takes one gradient step on a batch of whole groups, `finish` looks
at all rows once after the last step (a Laplace approximation needs it), `sample` draws weights, `outputs` runs the network with
drawn weights. The objective is the summed log likelihood plus the log prior over the number of rows, so the prior's strength does
not depend on the batch size (MacKay 1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

from recbayes.types import Tensor, UserError


class Share(NamedTuple):
    """What a worker has of a batch: its rows' share of the batch's, float32 []; groups before its own and in all, int32 []."""

    weight: Tensor
    first: Tensor
    groups: Tensor


class Batch(NamedTuple):
    """Rows of whole groups.

    inputs: encoded features, each [N, ...]; clicks, impressions: float32 [N]; segments: int32 [N], the row's group counted from 0;
    groups: int32 [G], the groups' numbers in the training log; clusters: int32 [G], what a bootstrap draws together; share: what part of a
    larger batch they are, where other workers have the others; () where they are the whole.
    """

    inputs: dict[str, Tensor]
    clicks: Tensor
    impressions: Tensor
    segments: Tensor
    groups: Tensor
    clusters: Tensor
    share: Share | tuple[()] = ()


def any_length(batch: Batch) -> Batch:
    """What a function takes that is traced once for batches of any size."""
    return tf.nest.map_structure(lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]][: len(tensor.shape)], tensor.dtype), batch)


def each(function: Callable[[Batch], Any], batches: Iterable[Batch]) -> Iterator[Any]:
    """What the function gives of each batch; it is traced once."""
    traced = None
    for batch in batches:
        traced = traced or tf.function(function, input_signature=[any_length(batch)], autograph=False)
        yield traced(batch)


class Parameters(NamedTuple):
    """Everything that is learned: the network's weights, and scalars beside it such as the log of the group effect's tau."""

    weights: tuple[Tensor, ...]
    extras: dict[str, Tensor]


class Network(NamedTuple):
    """What a posterior is a posterior of.

    model: takes a dict of encoded inputs, returns [N, P]; prior_stddev: one a trainable variable, infinite where flat;
    log_likelihood: (outputs [N, P], extras, batch) -> [G]; extras: the scalars' starts; rows: number of training rows; clusters: how
    many clusters they are of, None where it is not known; family: what turns outputs into densities of the click rate
    (densities/family.py), None where the likelihood is of something else.
    """

    model: keras.Model
    prior_stddev: tuple[float, ...]
    log_likelihood: Callable[[Tensor, Mapping[str, Tensor], Batch], Tensor]
    extras: dict[str, float]
    rows: int
    clusters: int | None = None
    family: Any = None

    def start(self) -> Parameters:
        """The model's own initial weights, as tensors."""
        weights = tuple(tf.convert_to_tensor(v.value) for v in self.model.trainable_variables)
        return Parameters(weights, {k: tf.constant(v, tf.float32) for k, v in self.extras.items()})

    def call(self, weights: Iterable[Tensor], inputs: Mapping[str, Tensor], *, dropout_seed: Tensor | None = None) -> Tensor:
        """The model's outputs [N, P] with these weights; with a seed (int32 [2]) dropout is on, its masks a function of the seed."""
        return call_model(self.model, weights, inputs, dropout_seed=dropout_seed)


class Optimizer(NamedTuple):
    """Adam's state: first and second moments of each parameter, and the number of steps."""

    mean: Any
    square: Any
    steps: Tensor


def check_draws(kind: str, draws: int) -> None:
    """UserError for a number of draws that has no spread."""
    if draws < 2:
        raise UserError(
            f"{kind}: draws is {draws}, but a spread takes at least 2. Say draws: 64; if no doubt of the model is wanted, posterior: map"
        )


def no_warnings(network: Network, state: Any) -> list[str]:
    """The `warnings` of a method that has none of its own."""
    return []


def no_diagnostics(state: Any) -> dict[str, float]:
    """The `diagnostics` of a method that has none."""
    return {}


class Folded(NamedTuple):
    """Weight draws as an export holds them, what depends on them alone computed once.

    constants: a structure of tensors; outputs(constants, inputs) -> the network's raw outputs, [P, S, N], in parts along P: one or more.
    """

    constants: Any
    outputs: Callable[[Any, Mapping[str, Tensor]], tuple[Tensor, ...]]


class Workers(Protocol):
    """Processes that a method's last look can be shared out to; size: how many."""

    size: int

    def each(self, task: Callable[[Any, int], Any], shared: Any) -> list[Any]:
        """`task(shared, rank)` of each, in order of their ranks from 0; a pure function, as it is called again where one is lost."""


class Posterior(NamedTuple):
    """A method of being uncertain about weights. Built by the factory of its name; `settings` builds it again.

    init(network, seed) -> state
    update(network, state, batch, seed, learning_rate) -> (state, loss a row)
    finish(network, state, batches) -> state
    sample(network, state, draws, seed) -> weights, a structure of tensors
    outputs(network, weights, inputs) -> [S, N, P]
    extras(state) -> the scalars beside the network
    warnings(network, state) -> what a reader must know before relying on the finished state (it did not converge, too few clusters),
      each a sentence that says what and how to mend; `Fitted.record["warnings"]`, the train stage and the report show them first
    diagnostics(state) -> figures by which to judge the finished state (R-hat, effective draws); `Fitted.record["diagnostics"]` and
      calibration.json hold them
    fold(network, weights) -> `Folded`, the same outputs for less than `outputs` takes, for an export; None where that is all there is
    apart(state) -> a state of bools: True where a tensor's first axis is of parts that know nothing of each other but through the other
      tensors. Several workers then have some of these parts each and take whole batches, and `update` tells `descend` which are `own`.
      None: they have all parts, and some groups of each batch
    finish_on(network, state, batches, workers: `Workers`) -> what `finish` gives, up to random numbers; None: `finish` has no use for them
    """

    kind: str
    settings: dict[str, Any]
    draws: int
    init: Callable[..., Any]
    update: Callable[..., Any]
    finish: Callable[..., Any]
    sample: Callable[..., Any]
    outputs: Callable[..., Tensor]
    extras: Callable[[Any], dict[str, Tensor]]
    warnings: Callable[[Network, Any], list[str]] = no_warnings
    diagnostics: Callable[[Any], dict[str, float]] = no_diagnostics
    fold: Callable[[Network, Any], Folded] | None = None
    apart: Callable[[Any], Any] | None = None
    finish_on: Callable[..., Any] | None = None


def call_model(
    model: keras.Model, weights: Iterable[Tensor], inputs: Mapping[str, Tensor], *, dropout_seed: Tensor | None = None
) -> Tensor:
    """`model(inputs)` with the given weights in place of its own, [N, P]."""
    others = [v.value for v in model.non_trainable_variables]
    if dropout_seed is not None:
        others = [
            tf.cast(dropout_seed, v.dtype) + tf.cast([0, i], v.dtype) if v.path.endswith("seed_generator_state") else value
            for i, (v, value) in enumerate(zip(model.non_trainable_variables, others, strict=True))
        ]
    needed = {name: inputs[name] for name in model.input} if isinstance(model.input, dict) else inputs
    outputs, _ = model.stateless_call(list(weights), others, needed, training=dropout_seed is not None)
    return outputs


def log_prior(network: Network, weights: Iterable[Tensor]) -> Tensor:
    """Log of the Gaussian prior of the weights, up to a constant, []."""
    pairs = zip(weights, network.prior_stddev, strict=True)
    return -0.5 * tf.add_n([tf.constant(0.0)] + [tf.reduce_sum(tf.square(w)) / s**2 for w, s in pairs if math.isfinite(s)])


def loss(network: Network, log_likelihood: Tensor, log_prior: Tensor, batch: Batch) -> Tensor:
    """Minus (summed log likelihood, the batch scaled to all rows, plus log prior), over the number of rows, []; a worker's part of it."""
    rows = tf.cast(tf.shape(batch.clicks)[0], tf.float32)
    whole = -tf.reduce_sum(log_likelihood) / rows - log_prior / float(network.rows)
    return whole * batch.share.weight if batch.share else whole


def of_groups(draw: Callable[[Tensor], Tensor], groups: Tensor, share: Share | tuple[()]) -> Tensor:
    """Random numbers of each group, [G, ...]: those that it has in the whole batch, wherever it is worked on.

    Args:
      draw: number of groups -> random numbers, [groups, ...].
      groups: number of groups here, [].
      share: what part of the batch they are.

    >>> of_groups(tf.range, tf.constant(2), Share(tf.constant(0.5), tf.constant(1), tf.constant(4))).numpy().tolist()
    [1, 2]
    """
    return draw(share.groups)[share.first : share.first + groups] if share else draw(groups)


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over the workers of a step, the same bits on each, in one message; of one worker alone, the tensors as they are."""
    workers = tf.distribute.get_replica_context()
    if workers.num_replicas_in_sync == 1:
        return list(tensors)
    packed = workers.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat([tf.reshape(t, [-1]) for t in tensors], 0))
    parts = tf.split(packed, [t.shape.num_elements() for t in tensors])
    return [tf.reshape(part, t.shape) for part, t in zip(parts, tensors, strict=True)]


def stretch(size: int, rank: int, workers: int) -> slice:
    """What one of several workers has of so many parts: as many as the others, or one more or less.

    >>> [stretch(5, rank, 2) for rank in range(2)]
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(size * rank // workers, size * (rank + 1) // workers)


def adam_start(parameters: Any) -> Optimizer:
    """Adam before its first step."""
    zeros = tf.nest.map_structure(tf.zeros_like, parameters)
    return Optimizer(zeros, zeros, tf.constant(0.0))


def adam(parameters: Any, gradients: Any, state: Optimizer, learning_rate: Tensor) -> tuple[Any, Optimizer]:
    """One step of Adam as a pure function (Kingma and Ba 2015, arXiv:1412.6980; moments .9 and .99)."""
    steps = state.steps + 1.0
    each = tf.nest.map_structure
    kept, new, kept_square, new_square, tiny = (tf.constant(x) for x in (0.9, 0.1, 0.99, 0.01, 1e-7))  # one node each for all parameters
    mean = each(lambda m, g: kept * m + new * g, state.mean, gradients)
    square = each(lambda s, g: kept_square * s + new_square * tf.square(g), state.square, gradients)
    rate = learning_rate * tf.sqrt(1.0 - 0.99**steps) / (1.0 - 0.9**steps)
    moved = each(lambda p, m, s: p - rate * m / (tf.sqrt(s) + tiny), parameters, mean, square)
    return moved, Optimizer(mean, square, steps)


def descend(
    objective: Callable[[Any], Tensor], parameters: Any, optimizer: Optimizer, rate: Tensor, *, own: Any = None
) -> tuple[Any, Optimizer, Tensor]:
    """One Adam step down `objective`, summed over workers: (parameters, optimizer, the objective before the step).

    Args:
      objective: parameters -> [].
      parameters: tensors of any shapes.
      optimizer: Adam's state.
      rate: its step size, [].
      own: bools, a structure like that of the parameters: True for those that are this worker's alone, whose gradients nobody adds to;
        None: all workers have all of them.
    """
    with tf.GradientTape() as tape:
        tape.watch(tf.nest.flatten(parameters))
        value = objective(parameters)
    flat = tape.gradient(value, tf.nest.flatten(parameters), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    given = [value, *(tf.convert_to_tensor(g) for g in flat)]
    kept = [False, *(tf.nest.flatten(own) if own is not None else [False] * len(flat))]
    sums = iter(summed([tensor for tensor, mine in zip(given, kept, strict=True) if not mine]))
    value, *flat = [tensor if mine else next(sums) for tensor, mine in zip(given, kept, strict=True)]
    gradients = tf.nest.pack_sequence_as(parameters, flat)
    parameters, optimizer = adam(parameters, gradients, optimizer, rate)
    return parameters, optimizer, value


def unfinished(network: Network, state: Any, batches: Iterable[Batch]) -> Any:
    """The `finish` of a method that needs no last look at the rows."""
    return state
