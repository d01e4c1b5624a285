"""The No-U-Turn sampler on all weights of a small model: the reference by which the other posteriors are judged.

The weights are whitened about their mode: w = mode + V |Lambda|^(-1/2) z, with minus the log posterior's Hessian V Lambda V' there, so z
is near a standard normal and a few leapfrog steps make an independent draw. Chains run as one batch from overdispersed starts; where a
training has several workers and there are many rows, as a batch on each of them. Scalars beside the network stay at their fit.

A chain that did not converge looks like one that did: R-hat (between chains against within, halves of chains apart), the effective
sample size and the share of divergent steps go into the fit's record, and a bad one into its warnings.

Source: Hoffman and Gelman 2014, The No-U-turn sampler, arXiv:1111.4246 (TensorFlow Probability's); R-hat, Gelman et al. 2013, Bayesian
Data Analysis, section 11.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from recbayes.posteriors import base, kept_draws
from recbayes.posteriors import point_estimate as point
from recbayes.posteriors.kept_draws import outputs, sample
from recbayes.posteriors.last_layer import FLAT
from recbayes.random import fold, normal
from recbayes.types import Array, Tensor, UserError

LARGEST = 1_000
"""Weights: the whitening takes a Hessian row by row, and each draw some ten passes over all rows a chain."""
STEP, NEAR = 0.03, 0.3
"""How far apart slopes are taken for the Hessian: in a weight's own unit, and at most in standard deviations given the others."""
R_HAT, EFFECTIVE, DIVERGENT = 1.05, 100.0, 0.01
"""What the fit warns beyond: R-hat above, effective sample size below, share of divergent steps above."""
LEAST_ROWS, LEAST_CHAINS = 1_000, 2
"""Of rows in all, and of chains on each of several workers: below, the time of a batch of chains hardly hangs on how many they are."""
SPREAD = 1.5
"""Starts are drawn this many posterior standard deviations wide, so that R-hat sees chains that have not met."""


def nuts(*, draws: int = 256, chains: int = 4, warmup: int = 300, samples: int = 500, prior_scale: float = 1.0) -> base.Posterior:
    """Markov chains through the weights of a model of at most 1,000.

    Args:
      draws: draws kept, evenly spaced, and averaged over by a prediction.
      chains: run side by side; R-hat compares them.
      warmup: steps of each chain that set the step size and are thrown away.
      samples: steps of each chain after that.
      prior_scale: multiplies every prior standard deviation of the model.

    Raises: UserError for fewer than 2 chains, too few steps, more draws than there are steps, or, at training, a model that is too large.

    >>> nuts(draws=100).draws
    100
    """
    if chains < 2 or warmup < 10 or samples < 4 or not 2 <= draws <= chains * samples:
        raise UserError(
            f"nuts: chains is {chains} (at least 2), warmup {warmup} (at least 10), samples {samples} (at least 4), draws {draws} (2 to "
            f"chains x samples, {chains * samples}). Leave them out for the defaults"
        )

    def start(network: base.Network, seed: Tensor) -> State:
        return init(network, seed, draws=draws)

    def climb(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        fitted, loss = point.update(network, state.fitted, batch, rate, prior_scale=prior_scale)
        return state._replace(fitted=fitted), loss

    def last(network: base.Network, state: State, batches: Iterable[base.Batch], workers: base.Workers | None = None) -> State:
        return finish(network, state, batches, workers, chains=chains, steps=(warmup, samples), prior_scale=prior_scale)

    settings = {"draws": draws, "chains": chains, "warmup": warmup, "samples": samples, "prior_scale": prior_scale}
    return base.Posterior(
        "nuts",
        settings,
        draws,
        start,
        climb,
        last,
        sample,
        outputs,
        lambda state: point.extras(state.fitted),
        warnings,
        diagnostics,
        finish_on=last,
    )


class Convergence(NamedTuple):
    """Largest R-hat and smallest effective sample size over all directions, share of steps that diverged; each []."""

    r_hat: Tensor
    effective_draws: Tensor
    divergent_share: Tensor


class State(NamedTuple):
    """The mode; the kept draws' deviations from it, [S, ...] a weight; how the chains converged; their seed, int32 [2]."""

    fitted: point.State
    deviations: tuple[Tensor, ...]
    convergence: Convergence
    seed: Tensor


def init(network: base.Network, seed: Tensor, *, draws: int) -> State:
    """The MAP's start; until `finish` has run the chains, no doubt at all."""
    size = sum(math.prod(v.shape) for v in network.model.trainable_variables)
    if size > LARGEST:
        raise UserError(
            f"nuts: the model has {size:,} weights, more than {LARGEST:,}. Take a smaller one (model: linear, fewer features, a larger "
            "min_count), or a posterior that samples any model, say posterior: sgld"
        )
    none = Convergence(tf.constant(1.0), tf.constant(float(draws)), tf.constant(0.0))
    return State(point.init(network, seed), kept_draws.none_yet(network, draws, "nuts"), none, tf.convert_to_tensor(seed, tf.int32))


class Walk(NamedTuple):
    """What a chain walks through: the log posterior about `at`, whitened at a mode [D] by a factor [D, D], and its steps."""

    network: base.Network
    at: base.Parameters
    rows: base.Batch
    prior_scale: float
    mode: Array
    factor: Array
    steps: tuple[int, int]


def finish(
    network: base.Network,
    state: State,
    batches: Iterable[base.Batch],
    workers: base.Workers | None,
    *,
    chains: int,
    steps: tuple[int, int],
    prior_scale: float,
) -> State:
    """Climbs to the mode, whitens, runs the chains and keeps draws that lie evenly along them."""
    rows, at = joined(list(batches)), state.fitted.parameters
    log_posterior = log_posterior_from(network, at, rows, prior_scale)
    minus = slope_of(log_posterior)
    mode = climbed(minus, np.zeros(sum(math.prod(w.shape) for w in at.weights)))
    factor = whitening(curvature_at(minus, mode))
    begin = SPREAD * normal(fold(state.seed, 0), [chains, len(mode)])
    walk = Walk(network, at, rows, prior_scale, mode, factor, steps)
    z, diverged = walked(walk, begin, fold(state.seed, 1), workers)
    flat = z.reshape(-1, len(mode))
    kept = flat[np.arange(state.deviations[0].shape[0]) * len(flat) // state.deviations[0].shape[0]] @ factor.T
    there = base.Parameters(
        tuple(w + m for w, m in zip(at.weights, parted(tf.constant(mode, tf.float32), at.weights), strict=True)), at.extras
    )
    deviations = tuple(tf.reshape(tf.constant(part, tf.float32), [len(kept), *w.shape]) for part, w in split_columns(kept, at.weights))
    return State(state.fitted._replace(parameters=there), deviations, converged(z, diverged), state.seed)


def warnings(network: base.Network, state: State) -> list[str]:
    """Of chains that have not met, are too short, or broke off."""
    found = diagnostics(state)
    told = []
    if not found["r_hat"] <= R_HAT:
        told.append(f"the chains have not converged to one posterior (R-hat {found['r_hat']:.2f}, should be below {R_HAT})")
    if not found["effective_draws"] >= EFFECTIVE:
        told.append(
            f"the draws are worth {found['effective_draws']:.0f} independent ones in the worst direction (should be {EFFECTIVE:.0f})"
        )
    if not found["divergent_share"] <= DIVERGENT:
        told.append(f"{found['divergent_share']:.1%} of the steps diverged: part of the posterior was not reached")
    mend = "Raise posterior.warmup and posterior.samples fourfold, or narrow the prior with posterior.prior_scale"
    return [f"nuts: {'; '.join(told)}. {mend}"] if told else []


def diagnostics(state: State) -> dict[str, float]:
    """R-hat, effective draws and the share of divergent steps, in the worst direction."""
    return {name: float(value) for name, value in state.convergence._asdict().items()}


def log_posterior_from(network: base.Network, at: base.Parameters, rows: base.Batch, scale: float) -> Callable[[Tensor], Tensor]:
    """Log posterior of the weights moved by vectors [C, D] from `at`, less its value there, float32 [C].

    The groups' log likelihoods are subtracted before they are summed, in float64: their sum alone would lose the last digits.
    """
    there = network.log_likelihood(network.call(at.weights, rows.inputs), at.extras, rows)  # [G]
    precisions = kept_draws.prior_precisions(network, scale)
    centres = [w if not math.isfinite(s) else tf.zeros_like(w) for w, s in zip(at.weights, network.prior_stddev, strict=True)]

    def log_posterior(moved: Tensor) -> Tensor:
        chains = [parted(one, at.weights) for one in tf.unstack(moved)]
        passes = [network.call([w + step for w, step in zip(at.weights, steps, strict=True)], rows.inputs) for steps in chains]
        each = network.log_likelihood(
            tf.concat(passes, 0), at.extras, joined([rows] * len(chains))
        )  # every chain's rows as groups of its own
        likelihood = tf.cast(tf.reshape(each, [len(chains), -1]) - there, tf.float64)
        return tf.cast(tf.reduce_sum(likelihood, 1), tf.float32) + tf.stack([log_prior(steps) for steps in chains])

    def log_prior(steps: Sequence[Tensor]) -> Tensor:
        parts = zip(precisions, centres, at.weights, steps, strict=True)
        return tf.add_n([-0.5 * p * tf.reduce_sum(step * (2.0 * (w - c) + step)) for p, c, w, step in parts])

    return log_posterior


def slope_of(log_posterior: Callable[[Tensor], Tensor]) -> Callable[[Array], tuple[float, Array]]:
    """Minus the log posterior at a point [D], and its gradient there, [D], in float64."""

    @tf.function(autograph=False)
    def value_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = log_posterior(x[None])[0]
        return value, tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def minus(x: Array) -> tuple[float, Array]:
        value, slope = value_and_slope(tf.constant(x, tf.float32))
        return -float(value), -slope.numpy().astype(np.float64)

    return minus


def climbed(minus: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    """The mode, [D], by L-BFGS from where Adam stopped."""
    return minimize(minus, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x


def curvature_at(minus: Callable[[Array], tuple[float, Array]], mode: Array) -> Array:
    """Minus the log posterior's Hessian, [D, D], by differences of slopes: whitening asks for no more than their two digits.

    >>> curvature_at(lambda x: (2.0 * x[0] ** 2, np.array([4.0 * x[0], 0.0])), np.zeros(2)).round(6) + 0.0
    array([[4., 0.],
           [0., 0.]])
    """

    def row(direction: Array, step: float) -> Array:
        return (minus(mode + step * direction)[1] - minus(mode - step * direction)[1]) / (2.0 * step)

    rows = []
    for direction in np.eye(len(mode)):
        found = row(direction, STEP)
        bend = float(found @ direction)
        rows.append(row(direction, NEAR / math.sqrt(bend)) if bend > (NEAR / STEP) ** 2 else found)
    return 0.5 * (np.array(rows) + np.array(rows).T)


def whitening(minus_hessian: Array) -> Array:
    """V |Lambda|^(-1/2), [D, D]; directions in which the posterior is flat or bends upwards get a standard deviation of at most 10."""
    values, vectors = np.linalg.eigh(np.asarray(minus_hessian, np.float64))
    return vectors / np.sqrt(np.maximum(np.abs(values), FLAT))


def walked(walk: Walk, begin: Tensor, seed: Tensor, workers: base.Workers | None) -> tuple[Array, Array]:
    """The chains after their warm-up, [T, C, D], and which steps diverged, bool [T, C]; of several workers where that is quicker."""
    parts = parts_of(len(walk.rows.clicks), len(begin), workers.size) if workers is not None else 1
    if workers is None or parts == 1:
        return run_chains(walk, begin, seed)
    z, diverged = zip(*workers.each(part_of_chains, (walk, begin, seed, parts))[:parts], strict=True)
    return np.concatenate(z, axis=1), np.concatenate(diverged, axis=1)


def parts_of(rows: int, chains: int, workers: int) -> int:
    """How many batches of chains, each on a worker of its own, are quicker than one.

    >>> parts_of(2_000, 4, 2), parts_of(2_000, 4, 8), parts_of(2_000, 3, 2), parts_of(200, 4, 2)
    (2, 2, 1, 1)
    """
    return max(min(workers, chains // LEAST_CHAINS), 1) if rows >= LEAST_ROWS else 1


def part_of_chains(shared: tuple[Walk, Tensor, Tensor, int], rank: int) -> tuple[Array, Array] | None:
    """`run_chains` of one of several workers' chains, with random numbers of its own; None where there are none left for it."""
    walk, begin, seed, parts = shared
    return run_chains(walk, begin[base.stretch(len(begin), rank, parts)], fold(seed, rank)) if rank < parts else None


def run_chains(walk: Walk, begin: Tensor, seed: Tensor) -> tuple[Array, Array]:
    """The chains from `begin` [C, D] as one batch, after their warm-up, [T, C, D], and which steps diverged, bool [T, C]."""
    from tensorflow_probability import mcmc

    warmup, samples = walk.steps
    log_posterior = log_posterior_from(walk.network, walk.at, walk.rows, walk.prior_scale)

    def target(z: Tensor) -> Tensor:
        return log_posterior(tf.constant(walk.mode, tf.float32) + tf.linalg.matmul(z, tf.constant(walk.factor.T, tf.float32)))

    @tf.function(autograph=False)
    def chains(begin: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        inner = mcmc.NoUTurnSampler(target, step_size=0.5, max_tree_depth=8)
        kernel = mcmc.DualAveragingStepSizeAdaptation(inner, num_adaptation_steps=int(0.8 * warmup), target_accept_prob=0.8)
        return mcmc.sample_chain(
            samples,
            begin,
            kernel=kernel,
            num_burnin_steps=warmup,
            trace_fn=lambda _, results: results.inner_results.has_divergence,
            seed=seed,
        )

    z, diverged = chains(begin, seed)
    return z.numpy(), diverged.numpy()


def converged(z: Array, diverged: Array) -> Convergence:
    """How chains [T, C, D], of whose steps some diverged, bool [T, C], have converged."""
    from tensorflow_probability import mcmc

    r_hat = mcmc.potential_scale_reduction(z, independent_chain_ndims=1, split_chains=True)
    level = tf.get_logger().level
    tf.get_logger().setLevel("ERROR")  # it warns of its own cast from complex numbers
    effective = mcmc.effective_sample_size(z, cross_chain_dims=1, filter_beyond_positive_pairs=True)
    tf.get_logger().setLevel(level)
    return Convergence(tf.reduce_max(r_hat), tf.reduce_min(effective), tf.reduce_mean(tf.cast(diverged, tf.float32)))


def joined(batches: Sequence[base.Batch]) -> base.Batch:
    """All batches as one, groups counted on."""
    starts = np.cumsum([0, *(int(b.groups.shape[0]) for b in batches)])
    one = base.Batch(*(tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *field) for field in zip(*batches, strict=True)))
    return one._replace(segments=tf.concat([b.segments + int(s) for b, s in zip(batches, starts[:-1], strict=True)], 0))


def parted(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A vector [D] as tensors of these shapes."""
    parts = tf.split(vector, [math.prod(w.shape) for w in like])
    return [tf.reshape(part, w.shape) for part, w in zip(parts, like, strict=True)]


def split_columns(rows: Array, like: Sequence[Tensor]) -> Iterable[tuple[Array, Any]]:
    """Columns [S, D] that belong to each tensor, and the tensor."""
    ends = np.cumsum([math.prod(w.shape) for w in like])
    return zip(np.split(rows, ends[:-1], axis=1), like, strict=True)
