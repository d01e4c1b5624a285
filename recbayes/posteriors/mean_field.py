"""Mean-field variational inference: every weight an independent Gaussian, fitted by gradient descent on the evidence lower bound.

    ELBO = E_q [sum log p(clicks | w)] - KL(q || prior),  q = prod N(w_i; m_i, (prior_stddev_i exp(l_i))^2)

The expectation is one draw a group (`flipout.py`), the batch's log likelihood is scaled to all rows, and the KL's weight grows from 0 to
1 over the first steps: a network that has not yet learned anything is else driven back to its prior. Independence has a price: where
weights are correlated a posteriori, their standard deviations are too small (those of the weight given the others).

Source: Blundell et al. 2015, Weight uncertainty in neural networks, arXiv:1505.05424; annealing, Sønderby et al. 2016, arXiv:1602.02282.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from recbayes.posteriors import base, stacked
from recbayes.posteriors.flipout import Noise, call
from recbayes.random import fold, normal
from recbayes.types import Tensor, UserError

FLAT_STDDEV = 10.0
"""What a flat prior (of a bias) is here: a KL needs a proper one."""
START = 0.1
"""Standard deviations start at this share of the prior's, those of flat priors at a thirtieth of that share."""
SPEED = 4.0
"""Steps of a log standard deviation against those of a mean: it has farther to go, from START to the prior's own where rows say nothing."""


def mean_field(*, draws: int = 32, prior_scale: float = 1.0, learn_prior: bool = False, anneal: int = 100) -> base.Posterior:
    """An independent Gaussian a weight.

    Args:
      draws: weight draws a prediction averages over; at least 2.
      prior_scale: multiplies every prior standard deviation of the model.
      learn_prior: whether each weight tensor's prior standard deviation is the one that maximises the ELBO, in place of the model's.
      anneal: steps over which the KL's weight grows from 0 to 1.

    Raises: UserError if draws is below 2 or anneal below 0.

    >>> mean_field(draws=16).settings["anneal"]
    100
    """
    base.check_draws("mean_field", draws)
    if anneal < 0:
        raise UserError(f"mean_field: anneal is {anneal}, must be 0 or more steps. Say 0 for the full KL from the first step on")

    def step(network: base.Network, state: State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[State, Tensor]:
        return update(network, state, batch, seed, rate, prior_scale=prior_scale, learn_prior=learn_prior, anneal=anneal)

    def told(network: base.Network, state: State) -> list[str]:
        return warnings(state, anneal=anneal)

    settings = {"draws": draws, "prior_scale": prior_scale, "learn_prior": learn_prior, "anneal": anneal}
    return base.Posterior("mean_field", settings, draws, init, step, base.unfinished, sample, outputs, extras, told)


class Gaussians(NamedTuple):
    """Means of the weights; logs of their standard deviations over the prior's, divided by SPEED; the scalars beside the network."""

    means: tuple[Tensor, ...]
    spreads: tuple[Tensor, ...]
    extras: dict[str, Tensor]


class State(NamedTuple):
    """The variational parameters and Adam's moments."""

    fitted: Gaussians
    optimizer: base.Optimizer


def init(network: base.Network, seed: Tensor) -> State:
    """Means at the network's own start, narrow."""
    start = network.start()
    shares = [START if math.isfinite(s) else START / 30.0 for s in network.prior_stddev]
    spreads = tuple(tf.fill(w.shape, math.log(share) / SPEED) for w, share in zip(start.weights, shares, strict=True))
    fitted = Gaussians(start.weights, spreads, start.extras)
    return State(fitted, base.adam_start(fitted))


def update(
    network: base.Network,
    state: State,
    batch: base.Batch,
    seed: Tensor,
    learning_rate: Tensor,
    *,
    prior_scale: float,
    learn_prior: bool,
    anneal: int,
) -> tuple[State, Tensor]:
    """One step up the ELBO; the loss is minus the whole ELBO over the number of rows, whatever the KL's weight in the step."""
    weight = tf.minimum((state.optimizer.steps + 1.0) / max(anneal, 1), 1.0) if anneal else tf.constant(1.0)
    noise = standard_normals(fold(seed, 0), state.fitted.means)
    groups = tf.shape(batch.groups)[0]

    def kl(fitted: Gaussians) -> Tensor:
        return divergence(network, fitted, prior_scale=prior_scale, learn_prior=learn_prior)

    def objective(fitted: Gaussians) -> Tensor:
        deviations = [s * e for s, e in zip(stddevs(network, fitted), noise, strict=True)]
        outputs = call(network, fitted.means, Noise(deviations, batch.segments, groups, fold(seed, 1), batch.share), batch.inputs)
        return base.loss(network, network.log_likelihood(outputs, fitted.extras, batch), -weight * kl(fitted), batch)

    fitted, optimizer, value = base.descend(objective, state.fitted, state.optimizer, learning_rate)
    return State(fitted, optimizer), value + (1.0 - weight) * kl(state.fitted) / float(network.rows)


def sample(network: base.Network, state: State, draws: int, seed: Tensor) -> tuple[Tensor, ...]:
    """Independent draws of all weights, each [S, ...]."""
    noise = standard_normals(seed, [tf.TensorSpec([draws, *m.shape]) for m in state.fitted.means])
    return tuple(m + s * e for m, s, e in zip(state.fitted.means, stddevs(network, state.fitted), noise, strict=True))


def outputs(network: base.Network, weights: tuple[Tensor, ...], inputs: dict[str, Tensor]) -> Tensor:
    """[S, N, P]."""
    return stacked.passes(network, weights, inputs)


def extras(state: State) -> dict[str, Tensor]:
    """The scalars beside the network."""
    return state.fitted.extras


def warnings(state: State, *, anneal: int) -> list[str]:
    """Of a training that ended before the KL had its full weight."""
    steps = int(state.optimizer.steps)
    if steps >= anneal:
        return []
    return [
        f"mean_field: training ended after {steps} steps, before the KL had its full weight (posterior.anneal is {anneal}): its doubt is "
        "too small. Lower posterior.anneal or raise train.epochs"
    ]


def stddevs(network: base.Network, fitted: Gaussians) -> list[Tensor]:
    """Standard deviation of each weight."""
    return [proper(s) * tf.exp(SPEED * spread) for s, spread in zip(network.prior_stddev, fitted.spreads, strict=True)]


def proper(stddev: float) -> float:
    """A prior standard deviation, that of a flat prior replaced."""
    return stddev if math.isfinite(stddev) else FLAT_STDDEV


def divergence(network: base.Network, fitted: Gaussians, *, prior_scale: float, learn_prior: bool) -> Tensor:
    """KL(q || prior), []: sum log(b / s) + (s^2 + m^2) / (2 b^2) - 1/2 with b the prior's standard deviation.

    A learned b is the one that minimises it, b^2 = the mean of s^2 + m^2 over the tensor (empirical Bayes), put in its place.
    """
    total = tf.constant(0.0)
    for prior, mean, spread in zip(network.prior_stddev, fitted.means, fitted.spreads, strict=True):
        scale = prior_scale if math.isfinite(prior) else 1.0
        squares = (tf.exp(2.0 * SPEED * spread) + tf.square(mean / proper(prior))) / scale**2  # (s^2 + m^2) / b^2
        logs = SPEED * tf.reduce_sum(spread) - math.log(scale) * mean.shape.num_elements()  # sum log (s / b)
        if learn_prior and math.isfinite(prior):
            total += 0.5 * mean.shape.num_elements() * tf.math.log(tf.reduce_mean(squares)) - logs
        else:
            total += 0.5 * tf.reduce_sum(squares - 1.0) - logs
    return total


def standard_normals(seed: Tensor, like: list[tf.TensorSpec] | tuple[Tensor, ...]) -> list[Tensor]:
    """Standard normal numbers of the shapes of some tensors, all from one call."""
    sizes = [x.shape.num_elements() for x in like]
    drawn = tf.split(normal(seed, [sum(sizes)]), sizes)
    return [tf.reshape(d, x.shape) for d, x in zip(drawn, like, strict=True)]
