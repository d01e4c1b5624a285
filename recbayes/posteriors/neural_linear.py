"""Exact Bayesian regression of the empirical logit on the trained network's features: a normal-inverse-gamma posterior.

Where `last_layer` approximates the likelihood's curvature, here a linear-Gaussian model of the counts is solved exactly. Row i's
empirical logit is taken about the network's own rate m_i, and what is not known of it is the head's shift of the location:

    e_i = (clicks_i / impressions_i - m_i) / (m_i (1 - m_i)) = phi_i' delta + u_group + noise_i,
    Var[noise_i] = sigma^2 v_i,  v_i = Var[clicks_i / impressions_i | density_i] / (m_i (1 - m_i))^2,  u ~ N(0, sigma^2 tau^2)
    delta | sigma^2 ~ N(-MAP, sigma^2 prior^2),  sigma^2 ~ InverseGamma(noise_rows / 2, noise_rows / 2)

The variances v_i are known: the density's spread and the binomial's. sigma^2 says by how much they are off and is 1 where they are
right. The logit is linearised: log((c + 1/2) / (r - c + 1/2)) is off by 1.6 at a tenth of an expected click, this is unbiased at any
number of impressions and the same where there are many. The density's shape, the features and the wide weights stay at their MAP.

Source: Riquelme, Tucker, Snoek 2018, Deep Bayesian bandits showdown, arXiv:1802.09127; the conjugate posterior, Gelman et al. 2013,
Bayesian Data Analysis, section 14.2; the linearised logit, McCullagh and Nelder 1989, Generalized linear models, section 2.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.posteriors import base
from recbayes.posteriors import point_estimate as point
from recbayes.posteriors.last_layer import FLAT, Layers, find_layers, run_once
from recbayes.random import fold, log_gamma, normal
from recbayes.types import Tensor, UserError

MANY = 1e12
"""Precision and rows of a state that `finish` has not seen: no doubt at all."""
OFF = 2.0
"""Beyond this factor between the counts' variance and the density's, either way, the fit warns."""


def neural_linear(*, draws: int = 64, prior_scale: float = 1.0, noise_rows: float = 100.0) -> base.Posterior:
    """Bayesian linear regression on the network's features.

    Args:
      draws: weight draws a prediction averages over.
      prior_scale: multiplies every prior standard deviation of the model.
      noise_rows: how many rows the belief counts for that the density's variances are right.

    Raises:
      UserError: for fewer than 2 draws; at training, if the model has no dense layer named `head` or its likelihood is not of a density
        of the click rate.

    >>> neural_linear(draws=16).settings
    {'draws': 16, 'prior_scale': 1.0, 'noise_rows': 100.0}
    """
    base.check_draws("neural_linear", draws)

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        fitted, loss = point.update(network, state.fitted, batch, rate, prior_scale=prior_scale)
        return state._replace(fitted=fitted), loss

    def last(network: base.Network, state: State, batches: Iterable[base.Batch]) -> State:
        return finish(network, state, batches, prior_scale=prior_scale, noise_rows=noise_rows)

    settings = {"draws": draws, "prior_scale": prior_scale, "noise_rows": noise_rows}
    return base.Posterior(
        "neural_linear", settings, draws, init, step, last, sample, outputs, lambda state: point.extras(state.fitted), warnings, diagnostics
    )


class State(NamedTuple):
    """The MAP fit, and the normal-inverse-gamma of the shift from it, float64.

    mean: [H + 1], the bias last; precision: [H + 1, H + 1], over sigma^2; shape, rate: [], of sigma^2.
    """

    fitted: point.State
    mean: Tensor
    precision: Tensor
    shape: Tensor
    rate: Tensor


class Draws(NamedTuple):
    """MAP weights; shifts of the location's head, [S, H + 1]."""

    weights: tuple[Tensor, ...]
    shift: Tensor


class Sums(NamedTuple):
    """What the regression needs of the rows: rows [], e' V^-1 e [], Phi' V^-1 e [D], Phi' V^-1 Phi [D, D]; float64."""

    rows: Tensor
    square: Tensor
    moment: Tensor
    precision: Tensor


def init(network: base.Network, seed: Tensor) -> State:
    """The MAP's start; until `finish` has seen the rows, no doubt at all."""
    layers = find_layers(network.model, "neural_linear")
    if network.family is None:
        raise UserError("neural_linear: this likelihood has no density of the click rate to take variances from. Use last_layer")
    size = layers.head.kernel.shape[0] + 1
    many = tf.constant(MANY, tf.float64)
    return State(point.init(network, seed), tf.zeros([size], tf.float64), many * tf.eye(size, dtype=tf.float64), many, many)


def finish(network: base.Network, state: State, batches: Iterable[base.Batch], *, prior_scale: float, noise_rows: float) -> State:
    """The exact posterior given all rows."""
    layers = find_layers(network.model)

    totals = list(base.each(lambda batch: regression_sums(network, layers, state.fitted.parameters, batch), batches))
    seen = Sums(*(tf.add_n(list(parts)) for parts in zip(*totals, strict=True)))
    mean, precision = prior(network, layers, state.fitted.parameters.weights, prior_scale)
    half = tf.constant(noise_rows / 2.0, tf.float64)
    return state._replace(**normal_inverse_gamma(mean, precision, half, seen))


def sample(network: base.Network, state: State, draws: int, seed: Tensor) -> Draws:
    """Independent draws: sigma^2 first, then the shift given it."""
    size = state.mean.shape[0]
    log_variance = tf.math.log(state.rate) - log_gamma(fold(seed, 0), tf.fill([draws], state.shape))
    noise = tf.cast(normal(fold(seed, 1), [size, draws]), tf.float64)
    spread = tf.linalg.triangular_solve(tf.linalg.cholesky(state.precision), noise, adjoint=True)  # [H + 1, S]
    shift = state.mean[:, None] + tf.exp(0.5 * log_variance) * spread
    return Draws(state.fitted.parameters.weights, tf.cast(tf.transpose(shift), tf.float32))


def outputs(network: base.Network, weights: Draws, inputs: dict[str, Tensor]) -> Tensor:
    """[S, N, P]: the MAP's outputs, those of the location moved by the head's shift."""
    layers = find_layers(network.model)
    features, _, own = run_once(network, layers, weights.weights, inputs)
    shift = tf.einsum("nh,sh->sn", features, weights.shift)
    return own[None] + shift[:, :, None] * on_location(network)


def warnings(network: base.Network, state: State) -> list[str]:
    """Whether the counts scatter as the density says they do."""
    scale = diagnostics(state)["noise_scale"]
    if 1.0 / OFF <= scale <= OFF:
        return []
    more, mend = ("more", "more components or a group effect") if scale > 1.0 else ("less", "fewer components or a longer training")
    return [
        f"neural_linear: the counts' variance is {scale:.2f} times what the fitted density says ({more} scatter); the doubt allows for it, "
        f"the density does not. Try {mend}"
    ]


def diagnostics(state: State) -> dict[str, float]:
    """The counts' variance over what the fitted density says."""
    return {"noise_scale": float(state.rate / state.shape)}


def regression_sums(network: base.Network, layers: Layers, at: base.Parameters, batch: base.Batch) -> Sums:
    """Sums over a batch of whole groups; the page effect's part of V is taken off a group at a time (Sherman and Morrison 1950)."""
    features, _, own = run_once(network, layers, at.weights, batch.inputs)  # [N, D]
    features = tf.cast(features, tf.float64)
    error, weight = (tf.cast(x, tf.float64) for x in logits(network.family.density(own), batch))
    rows = tf.concat([features, error[:, None]], 1)  # [N, D + 1]
    square = tf.einsum("ni,n,nj->ij", rows, weight, rows)
    if "log_tau" in at.extras:
        ones = tf.concat([rows, tf.ones_like(rows[:, :1])], 1) * weight[:, None]
        by_group = tf.math.unsorted_segment_sum(ones, batch.segments, tf.shape(batch.groups)[0])  # [G, D + 2]
        variance = tf.cast(tf.exp(2.0 * at.extras["log_tau"]), tf.float64)
        square -= tf.einsum("gi,g,gj->ij", by_group[:, :-1], variance / (1.0 + variance * by_group[:, -1]), by_group[:, :-1])
    count = tf.cast(tf.math.count_nonzero(weight), tf.float64)
    return Sums(count, square[-1, -1], square[:-1, -1], square[:-1, :-1])


def logits(density: Any, batch: base.Batch) -> tuple[Tensor, Tensor]:
    """Each row's empirical logit less the network's, and the inverse of its known variance, [N]; 0 where nothing was shown."""
    mean, variance, shown = density.mean, density.variance, batch.impressions
    slope = mean * (1.0 - mean)
    error = (tf.math.divide_no_nan(batch.clicks, shown) - mean) / slope
    return tf.where(shown > 0.0, error, 0.0), tf.square(slope) * shown / (variance * shown + slope - variance)


def prior(network: base.Network, layers: Layers, weights: tuple[Tensor, ...], scale: float) -> tuple[Tensor, Tensor]:
    """Mean [D] and precision [D, D] of the shift: back to zero from the MAP's location, a flat bias from where it is."""
    position = {id(v): i for i, v in enumerate(network.model.trainable_variables)}
    location = list(network.family.location)
    means, diagonal = [], []
    for variable in (layers.head.kernel, layers.head.bias):
        stddev = network.prior_stddev[position[id(variable)]] * scale
        entry = tf.reduce_mean(tf.gather(weights[position[id(variable)]], location, axis=-1), -1)  # [H] or []
        entry = tf.cast(tf.reshape(entry, [-1]), tf.float64)
        means.append(-entry if math.isfinite(stddev) else tf.zeros_like(entry))
        diagonal.append(tf.ones_like(entry) * (1.0 / stddev**2 if math.isfinite(stddev) else FLAT))
    return tf.concat(means, 0), tf.linalg.diag(tf.concat(diagonal, 0))


def normal_inverse_gamma(mean: Tensor, precision: Tensor, half: Tensor, seen: Sums) -> dict[str, Tensor]:
    """The conjugate update of N(mean, sigma^2 / precision) InverseGamma(half, half)."""
    whole = precision + seen.precision
    pull = tf.linalg.matvec(precision, mean)
    moved = tf.linalg.cholesky_solve(tf.linalg.cholesky(whole), (pull + seen.moment)[:, None])[:, 0]
    left = seen.square + tf.tensordot(mean, pull, 1) - tf.tensordot(moved, pull + seen.moment, 1)
    return {"mean": moved, "precision": whole, "shape": half + seen.rows / 2.0, "rate": half + left / 2.0}


def on_location(network: base.Network) -> Tensor:
    """1 at the outputs that are locations of the click rate, [P]."""
    return tf.constant([1.0 if i in network.family.location else 0.0 for i in range(network.family.size)])
