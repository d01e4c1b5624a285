"""The neural_linear learner: a small network trained again on what a replica has seen, and exact linear regression on its last layer.

    z = relu(relu(x W1 + c1) ...), the network's features; reward of arm k = z . w_k + noise, w_k as in `regression`

Between two trainings the features stand still and regressions take every decision exactly; after each training they are made anew from all
decisions so far, or from those of a window. Each replica has a network of its own, and all of them train in one program.

Source: Snoek et al. 2015, arXiv:1502.05700; Riquelme, Tucker and Snoek 2018, arXiv:1802.09127 (NeuralLinear).
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes import random
from recbayes.replay.delay import Late, must_keep
from recbayes.replay.learner import Bound, Learner, Prior
from recbayes.replay.linear import Form, Lines, Settings, apart, linear
from recbayes.replay.regression import Decisions, Regression, whole
from recbayes.replay.tallies import must_forget
from recbayes.replay.world import NOTHING, Feedback, Offer, World
from recbayes.types import Tensor, UserError

DECAY, SQUARES, SMALL = 0.9, 0.999, 1e-8
"""Adam's."""


class Buffer(NamedTuple):
    """All decisions so far, T at most. context: [T, R, C]; arm: int32 [T, R]; reward, weight: [T, R], weight 0 where there is none yet."""

    context: Tensor
    arm: Tensor
    reward: Tensor
    weight: Tensor


class Networks(NamedTuple):
    """State. weights: (kernel [R, I, O], bias [R, O]) a layer, the last one the head over the arms; buffer; lines: over the features."""

    weights: Any
    buffer: Buffer
    lines: Lines


def neural_linear(
    *,
    units: int = 50,
    layers: int = 1,
    train_every: int = 50,
    train_steps: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.01,
    precision: float = 0.25,
    a0: float = 6.0,
    b0: float = 6.0,
    initial_pulls: int = 0,
    window: int | None = None,
    seed: int = 0,
) -> Learner:
    """Bayesian linear regression on the features of a network that is trained on a schedule.

    Args:
      units: of each hidden layer.
      layers: hidden layers.
      train_every: steps between trainings.
      train_steps: Adam steps of a training, on squared errors of the shown arms' rewards; weights go on from where they were.
      batch_size: decisions of an Adam step, drawn from all so far.
      learning_rate: Adam's.
      precision: as `linear`'s.
      a0: as `linear`'s.
      b0: as `linear`'s.
      initial_pulls: as `linear`'s.
      window: steps whose decisions count, in trainings and in the regressions that are made anew after each; None: all. Between two
        trainings up to `train_every` steps more are counted.
      seed: of first weights and of minibatches.

    Raises: UserError if a setting is out of range.

    >>> neural_linear(units=20).settings["units"]
    20
    """
    given = dict(locals())
    for name in ("units", "layers", "train_every", "train_steps", "batch_size"):
        if given[name] < 1:
            raise UserError(f"neural_linear: {name} is {given[name]}, must be at least 1")
    if not learning_rate > 0.0:
        raise UserError(f"neural_linear: learning_rate is {learning_rate}, must be above 0")
    linear(precision=precision, a0=a0, b0=b0, initial_pulls=initial_pulls, window=window)  # the same checks

    def bind(world: World) -> Bound:
        if not (world.rules.own and world.context_width):
            raise UserError(f"neural_linear: the {world.kind} world has no contexts to learn features of. Let counts or density learn.")
        must_forget("neural_linear", window, world)
        must_keep("neural_linear", world.delay, window is not None)
        if window is not None and train_every > world.steps:
            raise UserError(
                f"neural_linear: train_every is {train_every}, the {world.kind} world has {world.steps} steps, so nothing would ever be"
                " forgotten. Set a smaller one."
            )
        settings = Settings(*(np.float32(value) for value in (precision, a0, b0, 1.0, 1.0)))
        arms, capacity = len(world.segments), int(world.decisions(world.steps).sum()) + isinstance(world.delay, Late)  # a spare row
        sizes = (world.context_width, *[units] * layers, arms)
        return _bound(settings, sizes, capacity, given | {"window": (window or 0) * int(world.decisions(1).sum())})

    return Learner("neural_linear", given, None, bind, of_rates=False)


def _bound(settings: Settings, sizes: tuple[int, ...], capacity: int, given: dict[str, Any]) -> Bound:
    """The learner on a world of sizes[-1] arms; its window is in decisions, 0 for all."""
    form = Form(False, True, False, given["initial_pulls"], 0)
    inner = apart(form, settings, sizes[-1], sizes[-2] + 1)

    def start(prior: Prior, replicas: int) -> Networks:
        return Networks(first_weights(sizes, replicas, given["seed"]), _empty(capacity, replicas, sizes[0]), inner.start(prior, replicas))

    def look(state: Networks, prior: Prior, offer: Offer) -> Any:
        return inner.look(state.lines, prior, offer._replace(context=features(state.weights, offer.context)))

    def update(state: Networks, prior: Prior, feedback: Feedback) -> Networks:
        events = feedback.events
        seen = feedback._replace(events=events._replace(context=features(state.weights, events.context)))
        now = Networks(state.weights, _kept(state.buffer, events, state.lines.updates), inner.update(state.lines, prior, seen))
        due, here = now.lines.updates % given["train_every"] == 0, tf.minimum(_newest(events, now.lines.updates), capacity)
        return tf.cond(due, lambda: _retrained(now, prior.settings, here, given), lambda: now)

    program = ("neural_linear", sizes, capacity, tuple(sorted(given.items())))
    numbers = inner.numbers + capacity * (sizes[0] + 3)
    return inner._replace(start=start, look=look, update=update, program=program, numbers=numbers)


def features(weights: Any, x: Tensor) -> Tensor:
    """What the last layer sees: [R, B, C] -> [R, B, H]."""
    for kernel, bias in weights[:-1]:
        x = tf.nn.relu(tf.matmul(x, kernel) + bias[:, None])
    return x


def first_weights(sizes: tuple[int, ...], replicas: int, seed: int) -> Any:
    """He's normal weights and no biases; the same in every replica, whose contexts then tell them apart."""
    rng = np.random.default_rng(seed)
    kernels = [rng.normal(0.0, np.sqrt(2.0 / rows), (rows, columns)).astype(np.float32) for rows, columns in itertools.pairwise(sizes)]
    return tuple((tf.tile(tf.constant(kernel)[None], [replicas, 1, 1]), tf.zeros([replicas, kernel.shape[1]])) for kernel in kernels)


def refitted(z: Tensor, buffer: Buffer, settings: Settings, arms: int) -> Regression:
    """The regressions [R, K] from all decisions at once; z: features [T, R, D]."""
    given = Decisions(tf.transpose(buffer.arm), tf.transpose(z, [1, 0, 2]), tf.transpose(buffer.reward), tf.transpose(buffer.weight))
    return whole(given, settings.precision, arms)


def _retrained(state: Networks, settings: Settings, here: Tensor, given: dict[str, Any]) -> Networks:
    """The networks after a training on the last decisions of the `here` that the buffer has, and the regressions on their new features."""
    steps, oldest = given["train_steps"], tf.maximum(here - given["window"], 0) if given["window"] else tf.constant(0)
    known = (tf.range(state.buffer.arm.shape[0]) >= oldest)[:, None]
    buffer = state.buffer._replace(weight=tf.where(known, state.buffer.weight, 0.0)) if given["window"] else state.buffer
    seed = random.fold(tf.constant([given["seed"], 0]), state.lines.updates)
    zeros = tf.nest.map_structure(tf.zeros_like, state.weights)

    def step(number: Tensor, weights: Any, first: Any, second: Any) -> Any:
        u = random.uniform(random.fold(seed, number), [given["batch_size"]])
        rows = oldest + tf.minimum(tf.cast(u * tf.cast(here - oldest, tf.float32), tf.int32), here - oldest - 1)
        gradient = _gradient(weights, *(tf.gather(values, rows) for values in buffer))
        return number + 1, *_adam(weights, first, second, gradient, number + 1, given["learning_rate"])

    weights = tf.while_loop(lambda number, *_: number < steps, step, (tf.constant(0), state.weights, zeros, zeros))[1]
    z = tf.transpose(features(weights, tf.transpose(buffer.context, [1, 0, 2])), [1, 0, 2])
    z = tf.concat([z, tf.ones_like(z[..., :1])], -1)
    return Networks(weights, state.buffer, state.lines._replace(regression=refitted(z, buffer, settings, weights[-1][1].shape[-1])))


def _gradient(weights: Any, context: Tensor, arm: Tensor, reward: Tensor, weight: Tensor) -> Any:
    """Of the mean squared error of the shown arms' rewards, of every replica's own network."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        z = features(weights, tf.transpose(context, [1, 0, 2]))
        kernel, bias = weights[-1]
        all_arms = tf.matmul(z, kernel) + bias[:, None]
        guess = tf.reduce_sum(all_arms * tf.one_hot(tf.transpose(arm), bias.shape[-1]), -1)
        errors = tf.square(guess - tf.transpose(reward)) * tf.transpose(weight)
        loss = tf.reduce_sum(tf.reduce_mean(errors, -1))
    return tape.gradient(loss, weights)


def _adam(weights: Any, first: Any, second: Any, gradient: Any, number: Tensor, rate: float) -> tuple[Any, Any, Any]:
    """One step of Adam."""
    number = tf.cast(number, tf.float32)
    first = tf.nest.map_structure(lambda m, g: DECAY * m + (1.0 - DECAY) * g, first, gradient)
    second = tf.nest.map_structure(lambda v, g: SQUARES * v + (1.0 - SQUARES) * g * g, second, gradient)
    scale = rate * tf.sqrt(1.0 - SQUARES**number) / (1.0 - DECAY**number)
    moved = tf.nest.map_structure(lambda w, m, v: w - scale * m / (tf.sqrt(v) + SMALL), weights, first, second)
    return moved, first, second


def _empty(capacity: int, replicas: int, width: int) -> Buffer:
    """Room for all decisions."""
    shape = [capacity, replicas]
    return Buffer(tf.zeros([*shape, width]), tf.zeros(shape, tf.int32), tf.zeros(shape), tf.zeros(shape))


def _newest(events: Any, updates: Tensor) -> Tensor:
    """How many decisions there have been, []."""
    return updates * events.arm.shape[1] if events.place is NOTHING else tf.reduce_max(events.place) + 1


def _kept(buffer: Buffer, events: Any, updates: Tensor) -> Buffer:
    """The buffer with a step's decisions."""
    if events.place is not NOTHING:
        return _by_number(buffer, events)
    batch = events.arm.shape[1]
    place = tf.minimum(updates * batch + tf.range(batch), buffer.arm.shape[0] - 1)[:, None]
    news = (events.context, events.arm, events.reward, events.weight)
    return Buffer(
        *(
            tf.tensor_scatter_nd_update(old, place, tf.transpose(new, [1, 0, *range(2, len(new.shape))]))
            for old, new in zip(buffer, news, strict=True)
        )
    )


def _by_number(buffer: Buffer, events: Any) -> Buffer:
    """The buffer with decisions that come late, each in its place; what joins adds its reward, what is not due goes to the spare row."""
    replicas, lanes = events.arm.shape
    here = events.weight > 0.0
    joins = tf.zeros_like(here) if events.joins is NOTHING else events.joins & here
    number, replica = tf.where(here, events.place, buffer.arm.shape[0] - 1), tf.tile(tf.range(replicas)[:, None], [1, lanes])
    new = tf.stack([tf.where(joins, buffer.arm.shape[0] - 1, number), replica], -1)  # [R, lanes, 2]
    weight = tf.where(here & ~joins, events.weight, 0.0)
    news = (events.context, events.arm, tf.where(joins, 0.0, events.reward), weight)
    context, arm, reward, weight = (tf.tensor_scatter_nd_update(old, new, values) for old, values in zip(buffer, news, strict=True))
    late = tf.stack([number, replica], -1)
    return Buffer(context, arm, tf.tensor_scatter_nd_add(reward, late, tf.where(joins, events.reward, 0.0)), weight)
