"""Preconditioned stochastic gradient Langevin dynamics: gradient steps with noise that, over time, visit the weights' posterior.

    w' = w + (step / 2) G slope(w) + sqrt(step G) N(0, 1),   G = 1 / (prior precision + sum over groups of squared scores)

slope is that of the log posterior, on a random batch. Three departures from the paper, each for accuracy. G is measured once, at the
MAP, and stays: the term that a changing G needs, and that practice leaves out, is exactly zero. It is in the posterior's own units, so
`step` has none. And the batch's slope is taken less its value at the MAP, plus all rows' value there, so the noise of small batches
does not widen the posterior (Baker et al. 2019). What is left is the step's own error: a direction of curvature c against G comes out
too wide by 1 / (1 - step c / 4) in variance. Scalars beside the network stay at their fit.

Training first climbs to the MAP; the chain runs once, after the last epoch, and its thinned draws stay in the state. A step too large for a
network's curvature leaves the posterior at once: a chain that has done so by the end of its burn-in begins anew with a shorter one.

Source: Li, Chen, Carlson, Carin 2016, Preconditioned stochastic gradient Langevin dynamics, arXiv:1512.07666; Welling and Teh 2011,
Bayesian learning via stochastic gradient Langevin dynamics; Baker, Fearnhead, Fox, Nemeth 2019, arXiv:1706.05439.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.posteriors import base, kept_draws
from recbayes.posteriors import point_estimate as point
from recbayes.posteriors.kept_draws import outputs, sample
from recbayes.random import bits, fold, normal, uniform
from recbayes.types import Tensor, UserError

PROBES = 64
"""Slopes with random signs that measure G, at least: its entries are then within some 20% of the squared scores."""

LOST = 1.0
"""Nats a row by which draws may explain the training clicks worse than the MAP: weights that the rows know number far fewer than rows, and
each costs half a nat in all."""
JUDGED = 8
"""Draws that this is judged by."""
SHORTER, TRIES, PILOT = 4.0, 6, 100
"""A step that left the posterior is divided by that; so many are tried, for the burn-in or so many steps, whichever is more."""

AHEAD = 2**18
"""Numbers that are drawn ahead of the chain."""


def sgld(*, draws: int = 64, thin: int = 25, burn_in: int = 500, step: float = 0.1, prior_scale: float = 1.0) -> base.Posterior:
    """A chain of noisy gradient steps through the weights of any model.

    Args:
      draws: draws kept, and averaged over by a prediction; at least 8.
      thin: steps from one kept draw to the next.
      burn_in: steps before the first, from the MAP.
      step: the step's size, or the largest that is tried; its error in the variance is some step / 4, and the steps to an independent draw
        some 4 / step.
      prior_scale: multiplies every prior standard deviation of the model.

    Raises: UserError for settings that make no chain.

    >>> sgld(draws=16, thin=10).draws
    16
    """
    if draws < 8 or thin < 1 or burn_in < 0 or not 0.0 < step <= 1.0:
        raise UserError(
            f"sgld: draws is {draws} (at least 8), thin {thin} (at least 1), burn_in {burn_in} (at least 0), step {step} (in (0, 1]). "
            "Leave them out for the defaults"
        )

    def start(network: base.Network, seed: Tensor) -> State:
        return init(network, seed, draws=draws)

    def climb(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        fitted, loss = point.update(network, state.fitted, batch, rate, prior_scale=prior_scale)
        return state._replace(fitted=fitted), loss

    def last(network: base.Network, state: State, batches: Iterable[base.Batch]) -> State:
        return finish(network, state, list(batches), thin=thin, burn_in=burn_in, step=step, prior_scale=prior_scale)

    settings = {"draws": draws, "thin": thin, "burn_in": burn_in, "step": step, "prior_scale": prior_scale}
    return base.Posterior(
        "sgld", settings, draws, start, climb, last, sample, outputs, lambda state: point.extras(state.fitted), warnings, diagnostics
    )


class State(NamedTuple):
    """The MAP fit; the kept draws' deviations from it, [S, ...] a weight; the chain's seed, int32 [2]; see below.

    lost: the MAP's log likelihood of the rows less the draws', nats a row, []; step: the chain's, [].
    """

    fitted: point.State
    deviations: tuple[Tensor, ...]
    seed: Tensor
    lost: Tensor
    step: Tensor


def init(network: base.Network, seed: Tensor, *, draws: int) -> State:
    """The MAP's start; until `finish` has run the chain, no doubt at all."""
    none = kept_draws.none_yet(network, draws, "sgld")
    return State(point.init(network, seed), none, tf.convert_to_tensor(seed, tf.int32), tf.constant(0.0), tf.constant(0.0))


def finish(
    network: base.Network, state: State, batches: Sequence[base.Batch], *, thin: int, burn_in: int, step: float, prior_scale: float
) -> State:
    """Runs the chain from the MAP over random batches and keeps every `thin`-th state."""
    at, draws = state.fitted.parameters, state.deviations[0].shape[0]
    slopes = traced_slopes(network, at.extras)
    metric = preconditioner(network, at, batches, fold(state.seed, 0), prior_scale)
    move = traced_move(network, at, slopes, metric, total=totals(slopes, at, batches), batches=len(batches), scale=prior_scale)
    order = np.floor(uniform(fold(state.seed, 1), [burn_in + draws * thin]).numpy() * len(batches)).astype(int)

    def chain(step: float) -> Iterator[tuple[Tensor, ...]]:
        size, noise = tf.constant(step), noises(fold(state.seed, 2), at.weights)
        return itertools.accumulate(order, lambda now, chosen: move(now, batches[chosen], next(noise), size), initial=at.weights)

    lost, pilot = lost_likelihood(network, at, batches), min(max(burn_in, PILOT), len(order))
    for tried in (step / SHORTER**tries for tries in range(TRIES)):
        states = chain(tried)
        begun = deque(itertools.islice(states, pilot + 1), maxlen=1)
        if float(lost(begun)) <= LOST:
            break
    if pilot != burn_in:
        states = itertools.islice(chain(tried), burn_in + 1, None)
    kept = list(itertools.islice(states, thin - 1, None, thin))
    deviations = tuple(tf.stack(draw) - w for draw, w in zip(zip(*kept, strict=True), at.weights, strict=True))
    return state._replace(deviations=deviations, lost=lost(kept[:: -(-draws // JUDGED)]), step=tf.constant(tried))


def lost_likelihood(
    network: base.Network, at: base.Parameters, batches: Sequence[base.Batch]
) -> Callable[[Iterable[Sequence[Tensor]]], Tensor]:
    """Draws -> the MAP's log likelihood less theirs on average, nats a row, []; traced once, and the MAP's own taken once."""

    @tf.function(reduce_retracing=True, autograph=False)
    def log_likelihood(weights: Sequence[Tensor], batch: base.Batch) -> Tensor:
        return tf.reduce_sum(network.log_likelihood(network.call(weights, batch.inputs), at.extras, batch))

    def whole(weights: Sequence[Tensor]) -> Tensor:
        return tf.add_n([log_likelihood(tuple(weights), batch) for batch in batches])

    there, rows = whole(at.weights), float(sum(len(batch.segments) for batch in batches))
    return lambda kept: (there - tf.reduce_mean(tf.stack([whole(weights) for weights in kept]))) / rows


def warnings(network: base.Network, state: State) -> list[str]:
    """Of a chain that left the posterior, or moved too slowly to have seen it."""
    draws, found = state.deviations[0].shape[0], diagnostics(state)
    told = []
    if not found["lost_likelihood"] <= LOST:
        told.append(
            f"sgld: the chain left the posterior: its draws make a training row's clicks {found['lost_likelihood']:.1f} nats less probable "
            "than the fit it began at. Do not use its doubt. Lower posterior.step, or take a smaller model or posterior: last_layer"
        )
    if not found["effective_draws"] >= draws / 4.0:
        told.append(
            f"sgld: the {draws} kept draws are worth {found['effective_draws']:.0f} independent ones, so the chain has not seen the whole "
            "posterior and its doubt may be too small. Raise posterior.thin fourfold"
        )
    return told


def diagnostics(state: State) -> dict[str, float]:
    """How many independent draws the kept ones are worth, averaged over the weights; nats a row lost against the MAP; the step."""
    found = {"effective_draws": kept_draws.effective_draws(state.deviations), "lost_likelihood": float(state.lost)}
    return found | {"step": float(state.step)}


Slopes = Callable[[Sequence[Tensor], base.Batch, Tensor], list[Tensor]]
"""(weights, batch, a factor a group [G]) -> slope of the weighted sum of the groups' log likelihoods, in the shape of each weight."""


def traced_slopes(network: base.Network, extras: dict[str, Tensor]) -> Slopes:
    """The likelihood's slope as a graph."""

    @tf.function(reduce_retracing=True, autograph=False)
    def slopes(weights: Sequence[Tensor], batch: base.Batch, factors: Tensor) -> list[Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            total = tf.reduce_sum(factors * network.log_likelihood(network.call(weights, batch.inputs), extras, batch))
        found = tape.gradient(total, list(weights), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(slope) for slope in found]

    return slopes


def traced_move(
    network: base.Network,
    at: base.Parameters,
    slopes: Slopes,
    metric: Sequence[Tensor],
    *,
    total: Sequence[Tensor],
    batches: int,
    scale: float,
) -> Callable[..., tuple[Tensor, ...]]:
    """One step of the chain as a graph: (weights, batch, standard normals [D], step []) -> weights. total: all rows' slope at the MAP."""

    @tf.function(reduce_retracing=True, autograph=False)
    def move(weights: tuple[Tensor, ...], batch: base.Batch, noise: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        ones = tf.ones_like(batch.groups, tf.float32)
        likelihood = [float(batches) * slope for slope in slopes(weights, batch, ones)]
        if batches > 1:
            there = slopes(at.weights, batch, ones)
            likelihood = [here - float(batches) * t + all_rows for here, t, all_rows in zip(likelihood, there, total, strict=True)]
        prior = kept_draws.prior_slopes(network, weights, at.weights, scale)
        noises = [tf.reshape(part, w.shape) for part, w in zip(tf.split(noise, [w.shape.num_elements() for w in weights]), weights)]
        parts = zip(weights, metric, likelihood, prior, noises, strict=True)
        return tuple(w + 0.5 * step * g * (up + back) + tf.sqrt(step * g) * e for w, g, up, back, e in parts)

    return move


def noises(seed: Tensor, weights: Sequence[Tensor]) -> Iterator[Tensor]:
    """Standard normals of one step after the other, [D] each; drawn for many steps at once, a call costs more than its numbers."""
    size = sum(w.shape.num_elements() for w in weights)
    ahead = max(1, AHEAD // size)
    for block in itertools.count():
        yield from tf.unstack(normal(fold(seed, block), [ahead, size]))


def totals(slopes: Slopes, at: base.Parameters, batches: Sequence[base.Batch]) -> list[Tensor]:
    """All rows' slope at the MAP."""
    parts = [slopes(at.weights, batch, tf.ones_like(batch.groups, tf.float32)) for batch in batches]
    return [tf.add_n(list(part)) for part in zip(*parts, strict=True)]


def preconditioner(network: base.Network, at: base.Parameters, batches: Sequence[base.Batch], seed: Tensor, scale: float) -> list[Tensor]:
    """G at the MAP: groups' scores with random signs, summed and squared, are on average the sum of their squares (Hutchinson 1990)."""
    slopes, squares, passes = traced_slopes(network, at.extras), [tf.zeros_like(w) for w in at.weights], -(-PROBES // len(batches))
    for probe in range(passes):
        for number, batch in enumerate(batches):
            words = bits(fold(fold(seed, probe), number), [batch.groups.shape[0]])
            signs = 1.0 - 2.0 * tf.cast(tf.bitwise.bitwise_and(words, tf.constant(1, tf.uint32)), tf.float32)
            squares = [s + tf.square(slope) / passes for s, slope in zip(squares, slopes(at.weights, batch, signs), strict=True)]
    return [1.0 / (precision + s) for precision, s in zip(kept_draws.prior_precisions(network, scale), squares, strict=True)]
