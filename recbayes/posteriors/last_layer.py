"""A Gaussian posterior on the last layer, and on the wide weights beside it; the rest of the network stays at its MAP.

Outputs are linear in both, so draws are cheap and exact given the features. The head has a full covariance; its precision is the
prior's less the likelihood's Hessian, where that is cheap and the result positive definite, else plus the outer products of the groups'
scores (the empirical Fisher: at an early-stopped point of a large model the Hessian is not positive definite). The wide weights, one a
token, have a diagonal one: without them all doubt would be common to a page.

Source: Kristiadi, Hein, Hennig 2020, arXiv:2002.10118; Daxberger et al. 2021, Laplace redux, arXiv:2106.14806.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from recbayes.models.parts import BagEmbedding, by_token, known_tokens
from recbayes.posteriors import base
from recbayes.posteriors import point_estimate as point
from recbayes.posteriors.curvature import is_positive_definite, least_ratio
from recbayes.random import fold, normal
from recbayes.types import Tensor, UserError

CERTAIN = 1e12
FLAT = 0.01
"""Precision of a flat prior: a standard deviation of 10 on the logit."""
AT_LEAST = 0.25
"""Of the scores' curvature: at a mode of a right model the two agree (White 1982); where the exact one is flat, the point is no mode."""
CHEAP = 1_000_000
"""Rows x head entries up to which the exact curvature is taken by default. Under a page effect it is not: a pair of passes an entry."""
STEP = 0.01
"""In the outputs, between the scores that the exact curvature is the differences of."""


def last_layer(
    *,
    draws: int = 64,
    method: Literal["laplace", "variational"] = "laplace",
    prior_scale: float = 1.0,
    curvature: Literal["auto", "exact", "scores"] = "auto",
) -> base.Posterior:
    """A Gaussian on the head (full covariance) and on the wide weights (diagonal).

    Args:
      draws: weight draws a prediction averages over; at least 2.
      method: `laplace` takes the covariance from the curvature at the MAP, once, after training; `variational` learns it along the way.
      prior_scale: multiplies every prior standard deviation of the model.
      curvature: of the head under `laplace`: exact, from outer products of scores, or (auto) exact where rows x entries are at most a
        million, there is no page effect, and no direction has under a quarter of the scores' curvature: far from a mode some do.

    Raises:
      UserError: for fewer than 2 draws or an unknown method; at training, if the model has no dense layer named `head`, or if the exact
        curvature is asked for where the likelihood has no maximum.

    >>> last_layer(draws=16).draws
    16
    """
    base.check_draws("last_layer", draws)
    settings = {"draws": draws, "method": method, "prior_scale": prior_scale, "curvature": curvature}
    if method not in ("laplace", "variational"):
        raise UserError(f"last_layer: there is no method {method!r}. Say method: laplace, or method: variational")
    if method == "variational":
        from recbayes.posteriors import variational_head  # which builds on this file

        return variational_head.posterior(settings, draws, prior_scale)

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        fitted, loss = point.update(network, state.fitted, batch, rate, prior_scale=prior_scale)
        return state._replace(fitted=fitted), loss

    def last(network: base.Network, state: State, batches: Iterable[base.Batch]) -> State:
        return finish(network, state, batches, prior_scale=prior_scale, curvature=curvature)

    return base.Posterior("last_layer", settings, draws, init, step, last, sample, outputs, extras, fold=folded)


class State(NamedTuple):
    """The MAP fit; precision of the head's entries, [(H + 1) P, (H + 1) P]; precision of each wide weight, [V] a wide layer."""

    fitted: point.State
    head: Tensor
    wide: tuple[Tensor, ...]


class Draws(NamedTuple):
    """MAP weights, of which the network below is run; the head's draws [S, H + 1, P]; the wide weights' draws, [V, S] a wide layer."""

    weights: tuple[Tensor, ...]
    head: Tensor
    wide: tuple[Tensor, ...]


class Layers(NamedTuple):
    """The parts of a model that carry the posterior: the head, the wide layers, a model of what goes into them, one of its output too."""

    head: keras.layers.Dense
    wide: tuple[keras.layers.Embedding, ...]
    location: tuple[int, ...]
    below: keras.Model
    whole: keras.Model


def init(network: base.Network, seed: Tensor) -> State:
    """The MAP's start; until `finish` has seen the rows, no doubt at all."""
    layers = find_layers(network.model)
    size = (layers.head.kernel.shape[0] + 1) * layers.head.units
    return State(
        point.init(network, seed), CERTAIN * tf.eye(size, dtype=tf.float64), tuple(tf.fill([w.input_dim], CERTAIN) for w in layers.wide)
    )


def finish(network: base.Network, state: State, batches: Iterable[base.Batch], *, prior_scale: float, curvature: str = "scores") -> State:
    """Precisions at the MAP: the prior's plus squared scores or the exact curvature, summed over all groups."""
    layers = find_layers(network.model)
    cheap = not network.extras and network.rows * state.head.shape[0] <= CHEAP
    exact = curvature == "exact" or (curvature == "auto" and cheap)
    batches = list(batches) if exact else batches
    head, wide = prior_precisions(network, layers, prior_scale)
    for more_head, more_wide in base.each(lambda batch: squared_scores(network, layers, state.fitted.parameters, batch), batches):
        head, wide = head + more_head, tuple(w + m for w, m in zip(wide, more_wide, strict=True))
    if exact:
        hessian = exact_precision(network, layers, state.fitted.parameters, batches, prior_scale)
        usable = is_positive_definite(hessian)
        if curvature == "exact" and not usable:
            raise UserError(
                "last_layer: the exact curvature is not positive definite here: no maximum. Train longer, or say curvature: scores"
            )
        trusted = curvature == "exact" or (usable and least_ratio(hessian, head) >= AT_LEAST)
        head = hessian if trusted else head
    return state._replace(head=head, wide=wide)


def extras(state: State) -> dict[str, Tensor]:
    """The scalars beside the network."""
    return point.extras(state.fitted)


def sample(network: base.Network, state: State, draws: int, seed: Tensor) -> Draws:
    """Independent draws."""
    factor = tf.linalg.cholesky(state.head)
    noise = tf.cast(normal(fold(seed, 0), [state.head.shape[0], draws]), tf.float64)
    head = tf.transpose(tf.linalg.triangular_solve(factor, noise, adjoint=True))  # [S, (H + 1) P]
    wide = tuple(normal(fold(seed, 1 + i), [p.shape[0], draws]) / tf.sqrt(p)[:, None] for i, p in enumerate(state.wide))
    return about_map(network, find_layers(network.model), state.fitted.parameters.weights, tf.cast(head, tf.float32), wide)


def about_map(network: base.Network, layers: Layers, weights: tuple[Tensor, ...], head: Tensor, wide: Iterable[Tensor]) -> Draws:
    """Draws from deviations: the head's [S, (H + 1) P], the wide weights' [V, S] each."""
    kernel, bias = own(network, (layers.head.kernel, layers.head.bias), weights)
    means = own(network, [layer.trainable_variables[0] for layer in layers.wide], weights)  # [V, 1]
    whole = tf.concat([kernel, bias[None]], 0)  # [H + 1, P]
    return Draws(weights, whole + tf.reshape(head, [-1, *whole.shape]), tuple(m + w for m, w in zip(means, wide, strict=True)))


def outputs(network: base.Network, weights: Draws, inputs: dict[str, Tensor]) -> Tensor:
    """[S, N, P]."""
    layers = find_layers(network.model)
    features, ids = into_layers(network, layers, weights.weights, inputs)
    draws, width, size = weights.head.shape
    moved = tf.matmul(features, tf.reshape(tf.transpose(weights.head, (1, 0, 2)), [width, -1]))  # [N, S P], draws within rows: one product
    if layers.wide:
        shift = wide_sums(layers, weights.wide, ids)  # [N, S]
        moved += tf.reshape(repeated(shift, layers), [-1, draws * size])
    return draws_first(tf.reshape(moved, [-1, draws, size]))


def draws_first(rows: Tensor) -> Tensor:
    """[N, S, P] -> [S, N, P]; outputs of an even number are moved by pairs, which takes a third less.

    >>> draws_first(tf.constant([[[1.0, 2.0], [3.0, 4.0]]])).numpy().tolist()
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """
    _, draws, size = rows.shape
    if size % 2:
        return tf.transpose(rows, (1, 0, 2))
    pairs = tf.bitcast(tf.reshape(rows, [-1, draws, size // 2, 2]), tf.int64)
    return tf.reshape(tf.bitcast(tf.transpose(pairs, (1, 0, 2)), rows.dtype), [draws, -1, size])


def repeated(shift: Tensor, layers: Layers) -> Tensor:
    """Shifts as what they add to each output: [N, S] -> [N S / n, n P], n of them a row.

    A product with n rows of `on_location` along a diagonal: a broadcast over so few outputs takes three times as long.
    """
    together = math.gcd(shift.shape[1], 8)
    diagonal = tf.eye(together)[:, :, None] * on_location(layers)  # [n, n, P]
    return tf.matmul(tf.reshape(shift, [-1, together]), tf.reshape(diagonal, [together, -1]))


class Constants(NamedTuple):
    """Weights below the head; the head's draws, [P S, H + 1]; those of the wide weights, [V, S] a wide layer."""

    below: tuple[Tensor, ...]
    head: Tensor
    wide: tuple[Tensor, ...]


def folded(network: base.Network, weights: Draws) -> base.Folded:
    """`outputs` as one matrix product of the features and one lookup a wide layer."""
    layers = find_layers(network.model)
    draws, width, size = weights.head.shape
    rows = tf.reshape(tf.transpose(weights.head, (2, 0, 1)), [-1, width])

    def run(constants: Constants, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        with by_token():
            seen = base.call_model(layers.below, constants.below, inputs)
        features, *ids = seen if layers.wide else [seen]
        outputs = tf.reshape(tf.matmul(constants.head, with_one(features), transpose_b=True), [size, draws, -1])  # [P, S, N]
        if not layers.wide:
            return (outputs,)
        shift = tf.transpose(wide_sums(layers, constants.wide, ids))
        return tuple(outputs[run] + shift if moved else outputs[run] for moved, run in runs(layers.location, size))

    return base.Folded(Constants(tuple(chosen(network, layers.below, weights.weights)), rows, weights.wide), run)


def runs(chosen: Sequence[int], size: int) -> Iterator[tuple[bool, slice]]:
    """The numbers 0 .. size - 1 in runs that are chosen or are not.

    >>> list(runs((1, 2), 4))
    [(False, slice(0, 1, None)), (True, slice(1, 3, None)), (False, slice(3, 4, None))]
    """
    for inside, run in groupby(range(size), lambda i: i in chosen):
        first, *rest = run
        yield inside, slice(first, first + 1 + len(rest))


def find_layers(model: keras.Model, method: str = "last_layer") -> Layers:
    """The model's head and wide layers; `method` is who asks, for the error of a model without a head."""
    named = {layer.name: layer for layer in model.layers}
    head = named.get("head")
    if not isinstance(head, keras.layers.Dense):
        raise UserError(f"{method}: the model has no dense layer named 'head'. Name the last one so: keras.layers.Dense(size, name='head')")
    target = named.get("on_location")
    wide = tuple(layer for name, layer in named.items() if name.startswith("wide_")) if target is not None else ()
    seen = [head.input, *(layer.input for layer in wide)]
    below, whole = keras.Model(model.input, seen), keras.Model(model.input, [*seen, model.output])
    return Layers(head, wide, target.location if target is not None else (), below, whole)


def into_layers(
    network: base.Network, layers: Layers, weights: tuple[Tensor, ...], inputs: dict[str, Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """What goes into the head, a column of ones added, [N, H + 1], and the ids that go into each wide layer."""
    needed = chosen(network, layers.below, weights)
    features, *ids = base.call_model(layers.below, needed, inputs) if layers.wide else [base.call_model(layers.below, needed, inputs)]
    return with_one(features), ids


def run_once(
    network: base.Network, layers: Layers, weights: tuple[Tensor, ...], inputs: dict[str, Tensor]
) -> tuple[Tensor, list[Tensor], Tensor]:
    """The same and the model's outputs [N, P], in one pass."""
    features, *ids, outputs = base.call_model(layers.whole, chosen(network, layers.whole, weights), inputs)
    return with_one(features), ids, outputs


def chosen(network: base.Network, part: keras.Model, weights: tuple[Tensor, ...]) -> list[Tensor]:
    """The weights of a part of the model, in the part's order."""
    return own(network, part.trainable_variables, weights)


def own(network: base.Network, variables: Sequence[Any], weights: tuple[Tensor, ...]) -> list[Tensor]:
    """Those of the model's weights that stand for some of its variables."""
    position = {id(v): i for i, v in enumerate(network.model.trainable_variables)}
    return [weights[position[id(v)]] for v in variables]


def with_one(features: Tensor) -> Tensor:
    """A column of ones added, [N, H] -> [N, H + 1]."""
    return tf.concat([features, tf.ones_like(features[:, :1])], axis=1)


def on_location(layers: Layers) -> Tensor:
    """1 at the outputs that the wide part moves, [P]."""
    return tf.constant([1.0 if i in layers.location else 0.0 for i in range(layers.head.units)])


def wide_sums(layers: Layers, weights: Sequence[Tensor], ids: Sequence[Tensor]) -> Tensor:
    """What the wide layers add, [N, S]; of each its weights [V, S] and ids [N] or [N, L]."""
    return tf.add_n([wide_sum(layer, some, i) for layer, some, i in zip(layers.wide, weights, ids, strict=True)])


def wide_sum(layer: keras.layers.Embedding, weights: Tensor, ids: Tensor) -> Tensor:
    """Sum over a row's ids of their weights [V, S]: [N, S]."""
    if not isinstance(layer, BagEmbedding):
        return tf.gather(weights, ids)
    return tf.sparse.segment_sum(weights, *known_tokens(ids), num_segments=tf.shape(ids)[0])


def prior_precisions(network: base.Network, layers: Layers, scale: float) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Of the head's entries as a diagonal matrix, and of each wide weight. A flat bias gets 0.01."""
    stddev = {id(v): s * scale for v, s in zip(network.model.trainable_variables, network.prior_stddev, strict=True)}
    kernel, units = layers.head.kernel, layers.head.units

    def precision(variable: Any) -> float:
        return 1.0 / stddev[id(variable)] ** 2 if math.isfinite(stddev[id(variable)]) else FLAT

    diagonal = tf.concat([tf.fill([kernel.shape[0] * units], precision(kernel)), tf.fill([units], precision(layers.head.bias))], 0)
    return tf.linalg.diag(tf.cast(diagonal, tf.float64)), tuple(
        tf.fill([w.input_dim], precision(w.trainable_variables[0])) for w in layers.wide
    )


def scores(network: base.Network, at: base.Parameters, batch: base.Batch, outputs: Tensor) -> Tensor:
    """Slope of the batch's log likelihood in the network's outputs, [N, P]."""
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        total = tf.reduce_sum(network.log_likelihood(outputs, at.extras, batch))
    return tape.gradient(total, outputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def squared_scores(network: base.Network, layers: Layers, at: base.Parameters, batch: base.Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outer products of the groups' scores for the head, squares of them for each wide weight, summed over the batch's groups."""
    features, ids, outputs = run_once(network, layers, at.weights, batch.inputs)
    slope = scores(network, at, batch, outputs)
    groups = tf.shape(batch.groups)[0]
    rows = tf.reshape(features[:, :, None] * slope[:, None, :], [tf.shape(slope)[0], -1])  # [N, (H + 1) P]
    head = tf.math.unsorted_segment_sum(rows, batch.segments, groups)  # [G, (H + 1) P]
    shift = tf.reduce_sum(slope * on_location(layers), axis=1) if layers.wide else None  # [N]
    wide = tuple(token_scores(layer, i, shift, batch.segments) for layer, i in zip(layers.wide, ids, strict=True))
    head = tf.cast(head, tf.float64)
    return tf.matmul(head, head, transpose_a=True), wide


def exact_precision(
    network: base.Network, layers: Layers, at: base.Parameters, batches: Iterable[base.Batch], prior_scale: float
) -> Tensor:
    """The prior's precision of the head less the log likelihood's Hessian, [(H + 1) P, (H + 1) P].

    By differences of scores, which need no second derivative: without a page effect a row's scores hang on its own outputs alone, so one
    pair of scores an output gives all of it; under one, a pair a head entry.
    """
    precision = prior_precisions(network, layers, prior_scale)[0]

    def given(batch: base.Batch) -> tuple[Tensor, Tensor]:
        features, _, outputs = run_once(network, layers, at.weights, batch.inputs)
        return features, outputs

    traced = tf.function(lambda *given: tf.cast(scores(network, at, *given), tf.float64), autograph=False, reduce_retracing=True)
    bends = one_of_each_entry if network.extras else one_of_each_output
    for batch, (features, outputs) in zip(batches, base.each(given, batches), strict=True):
        precision -= bends(partial(traced, batch), features, outputs)
    return 0.5 * (precision + tf.transpose(precision))


def one_of_each_output(scores: Callable[[Tensor], Tensor], features: Tensor, outputs: Tensor) -> Tensor:
    """The head's Hessian where rows are independent: sum over n of x_n x_n' (x) d scores_n / d outputs_n."""
    x, size = tf.cast(features, tf.float64), outputs.shape[1]
    parts = []
    for direction in tf.eye(size):
        bend = (scores(outputs + STEP * direction) - scores(outputs - STEP * direction)) / (2.0 * STEP)  # [N, P]
        parts.append(tf.stack([tf.matmul(x, x * bend[:, q : q + 1], transpose_a=True) for q in range(size)], -1))  # [H + 1, H + 1, P]
    return tf.reshape(tf.stack(parts, 1), [x.shape[1] * size] * 2)


def one_of_each_entry(scores: Callable[[Tensor], Tensor], features: Tensor, outputs: Tensor) -> Tensor:
    """The same where a group's rows hang together."""
    x, size = tf.cast(features, tf.float64), outputs.shape[1]
    steps = STEP * tf.math.rsqrt(tf.reduce_mean(tf.square(features), 0) + 1e-6)  # that rows move by STEP
    rows = []
    for column, step in zip(tf.unstack(features, axis=1), steps, strict=True):
        for direction in tf.eye(size):
            move = step * column[:, None] * direction
            bend = (scores(outputs + move) - scores(outputs - move)) / (2.0 * tf.cast(step, tf.float64))
            rows.append(tf.reshape(tf.matmul(x, bend, transpose_a=True), [-1]))
    return tf.stack(rows)


def token_scores(layer: keras.layers.Embedding, ids: Tensor, shift: Tensor, segments: Tensor) -> Tensor:
    """Sum over groups of the squared score of each id's weight, [V]; a group's score sums its rows that hold the id."""
    tokens, rows = known_tokens(ids) if isinstance(layer, BagEmbedding) else (ids, tf.range(tf.size(ids)))  # [n]
    pair, where = tf.unique(tf.cast(tf.gather(segments, rows), tf.int64) * layer.input_dim + tf.cast(tokens, tf.int64))
    score = tf.math.unsorted_segment_sum(tf.gather(shift, rows), where, tf.size(pair))
    return tf.math.unsorted_segment_sum(tf.square(score), pair % layer.input_dim, layer.input_dim)
