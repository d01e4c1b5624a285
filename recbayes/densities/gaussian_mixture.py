"""Mixture of Gaussians over a row's log click rate y: the deep density network paper's own.

    y ~ sum_k pi_k N(mu_k, sigma_k^2),   log(clicks / impressions) | y ~ N(y, s^2),   s^2 = (1 - p) / (impressions p)

p is the model's mean, held constant for the gradient: with the observed rate in its place the estimate of mu is biased by .28 at 3
expected clicks. log_marginal is the Gaussian's log density at log(c / r), as a probability a count (less log c). REG is one component
with a constant sigma, MDN leaves s out of training, DDN is the default.

A row without clicks has no logarithm. The rule: it says that log(clicks / impressions) lies below that of half a click, with the
probability of that event; conditioning on it keeps the first two moments (exact where there are clicks: normal-normal). A fit's record and
calibration.json say what share of the rows that is (`share_without_clicks`). The family is an approximation for few clicks: prefer another
where that share is above some percent; what it costs is in docs/densities.md.

Source: Zeldes et al. 2017, Deep density networks and uncertainty in recommender systems, arXiv:1711.02487.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from recbayes.densities import baselines
from recbayes.densities.inversion import check_share, invert
from recbayes.densities.mixture import from_left, log_sum_exp, lognormal_moments, start_of_search
from recbayes.random import categorical, normal, split
from recbayes.types import Array, Tensor


def gaussian_mixture(components: int = 2, measurement_noise: bool = True, constant_sigma: float | bool = False) -> GaussianMixtureFamily:
    """The family of Gaussian mixtures of the log click rate.

    Args:
      components: Gaussians a row, at least 1.
      measurement_noise: whether training allows for the noise of few impressions (DDN) or takes it for spread (MDN).
      constant_sigma: the spread of the log click rate of every row in place of the network's; True is 1 (REG: squared error).

    Raises: ValueError if there is no component or the constant spread is negative.

    >>> gaussian_mixture(components=1, measurement_noise=False, constant_sigma=True).size
    2
    """
    if components < 1:
        raise ValueError(f"gaussian_mixture: components is {components}, must be at least 1")
    if constant_sigma < 0:
        raise ValueError(f"gaussian_mixture: constant_sigma is {constant_sigma}, must be positive, or false for the network's own")
    return GaussianMixtureFamily(components, measurement_noise, constant_sigma)


class GaussianMixture(NamedTuple):
    """A mixture of Gaussians of the log click rate a row, each leaf [..., K].

    log_weights: sum to 1 in exp over K; means: of the log click rate; stddevs: > 0; rates: click rate in (0, 1) at which the
    measurement noise is taken: the model's mean, which conditioning does not move, so that the order of counts does not matter.
    """

    log_weights: Tensor
    means: Tensor
    stddevs: Tensor
    rates: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [...]."""
        return tf.reduce_sum(tf.exp(self.log_weights) * lognormal_moments(self.means, self.stddevs)[0], -1)

    @property
    def variance(self) -> Tensor:
        """Variance of the click rate, [...]."""
        means, variances = lognormal_moments(self.means, self.stddevs)
        return tf.reduce_sum(tf.exp(self.log_weights) * (variances + tf.square(means - self.mean[..., None])), -1)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [...]."""
        return tf.sqrt(self.variance)

    @property
    def locations(self) -> Tensor:
        """Click rates about which the components lie, [..., K]."""
        return tf.exp(tf.minimum(self.means, -1e-6))

    def quantile(self, q: float) -> Tensor:
        """Click rate below which a share q of the distribution lies, [...]."""
        return tf.nest.map_structure(lambda leaf: leaf[None], self).mixture_quantile(q, tf.zeros([1], self.means.dtype))

    def mixture_quantile(self, q: float, log_weights: Tensor) -> Tensor:
        """The same of the mixture over the first axis, leaves [M, ..., K] -> [...].

        Args:
          q: in (0, 1).
          log_weights: normalised over the first axis, broadcasts against [M, ...] from the left.
        """
        check_share(q)
        weights = tf.exp(from_left(log_weights, self.means) + self.log_weights)

        def cdf(x: Tensor) -> Tensor:
            return tf.reduce_sum(weights * _normal_cdf((tf.math.log(x)[..., None] - self.means) / self.stddevs), [0, -1])

        ends = (tf.reduce_min(self.means - 8.0 * self.stddevs, [0, -1]), tf.reduce_max(self.means + 8.0 * self.stddevs, [0, -1]))
        low, high = (_logit_of_log(end) for end in ends)
        start, scale = start_of_search(weights, _logit_of_log(self.means), self.stddevs, q)
        return invert(cdf, q, low, high, scale, start)

    def sample(self, seed: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Draws of the click rate, [*shape, ...]; the Gaussian's tail above 1 counts as 1."""
        choose, draw = tf.unstack(split(seed, 2))
        batch = tf.concat([shape, tf.broadcast_dynamic_shape(tf.shape(self.log_weights), tf.shape(self.means))], 0)
        index = categorical(choose, tf.broadcast_to(self.log_weights, batch), 1)[0]
        component = tf.one_hot(index, self.means.shape[-1], dtype=self.means.dtype)
        mean, stddev = (tf.reduce_sum(component * leaf, -1) for leaf in (self.means, self.stddevs))
        return tf.minimum(tf.exp(mean + stddev * normal(draw, tf.shape(mean), mean.dtype)), 1.0)

    def distribution(self) -> Any:
        """The same as a TFP distribution, the slow and independent path."""
        from tensorflow_probability import distributions as tfd

        return tfd.MixtureSameFamily(tfd.Categorical(logits=self.log_weights), tfd.LogNormal(self.means, self.stddevs))

    def log_marginal(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of the probability of the observed count, [...], the Gaussian measurement noise integrated out.

        Args:
          clicks: broadcasts against [...].
          impressions: broadcasts against [...]; a row without any has log probability 0.
        """
        clicks, impressions = (tf.cast(x, self.means.dtype)[..., None] for x in (clicks, impressions))
        return log_sum_exp(self.log_weights + self._log_probability(clicks, impressions, self.training_noise(impressions)))

    def condition(self, clicks: Tensor, impressions: Tensor) -> Self:
        """The mixture once the row's own count is seen, measurement noise allowed for: normal-normal, exact where there are clicks."""
        clicks, impressions = (tf.cast(x, self.means.dtype)[..., None] for x in (clicks, impressions))
        noise, variance = self.noise(impressions), tf.square(self.stddevs)
        total = variance + noise
        gain = variance / total
        clicked = self.means + gain * (_log_rate(clicks, impressions) - self.means)
        score = (_log_rate(tf.zeros_like(clicks), impressions) - self.means) * tf.math.rsqrt(total)
        hazard = tf.exp(-0.5 * tf.square(score) - 0.5 * math.log(2.0 * math.pi) - _log_normal_cdf(score))
        below = self.means - variance * hazard * tf.math.rsqrt(total)
        shrink = tf.where(clicks > 0.0, gain, gain * hazard * (hazard + score))
        log_weights = tf.nn.log_softmax(self.log_weights + self._log_probability(clicks, impressions, noise), -1)
        moved = self._replace(
            log_weights=log_weights,
            means=tf.where(clicks > 0.0, clicked, below),
            stddevs=self.stddevs * tf.sqrt(tf.maximum(1.0 - shrink, 1e-6)),
            rates=self.rates + tf.zeros_like(gain),
        )
        seen = impressions > 0.0
        return tf.nest.map_structure(lambda new, old: tf.where(seen, new, old), moved, self)

    def shift(self, u: Tensor) -> Self:
        """The logit of every mean's click rate moved by u, which broadcasts against [...]; spreads and weights stay."""
        u = tf.cast(u, self.means.dtype)[..., None]
        rates = tf.exp(tf.minimum(self.means, -1e-6))
        fewer = tf.exp(-u)
        return self._replace(
            means=tf.minimum(self.means, -1e-6) - tf.math.log(rates + (1.0 - rates) * fewer),
            rates=self.rates / (self.rates + (1.0 - self.rates) * fewer),
        )

    def noise(self, impressions: Tensor) -> Tensor:
        """Variance of an observed log rate about the true one, [..., K]."""
        return (1.0 - self.rates) / (tf.maximum(impressions, 1.0) * self.rates)

    def training_noise(self, impressions: Tensor) -> Tensor:
        """That part of it which `log_marginal` allows for."""
        return self.noise(impressions)

    def _log_probability(self, clicks: Tensor, impressions: Tensor, noise: Tensor) -> Tensor:
        """Of the count, a component, [..., K]."""
        variance = tf.square(self.stddevs) + noise
        score = (_log_rate(clicks, impressions) - self.means) * tf.math.rsqrt(variance)
        density = -0.5 * tf.square(score) - 0.5 * tf.math.log(2.0 * math.pi * variance) - tf.math.log(tf.maximum(clicks, 1.0))
        return tf.where(impressions > 0.0, tf.where(clicks > 0.0, density, _log_normal_cdf(score)), 0.0)


class NoiselessGaussianMixture(GaussianMixture):
    """The same, its log_marginal blind to measurement noise (MDN): what few impressions scatter counts as spread.

    `condition` still allows for the noise, or one impression would settle the rate; so for this class conditioning and log_marginal
    do not chain.
    """

    def training_noise(self, impressions: Tensor) -> Tensor:
        """None."""
        return tf.zeros_like(impressions)


@dataclass(frozen=True)
class GaussianMixtureFamily:
    """How a network's outputs become a `GaussianMixture`: K weights (softmax), K means, K logs of spreads unless they are constant."""

    components: int
    measurement_noise: bool
    constant_sigma: float | bool

    @property
    def name(self) -> str:
        """The function that builds it."""
        return "gaussian_mixture"

    @property
    def size(self) -> int:
        """Outputs a row."""
        return (2 if self.constant_sigma else 3) * self.components

    @property
    def location(self) -> tuple[int, ...]:
        """The means."""
        return tuple(range(self.components, 2 * self.components))

    def density(self, outputs: Tensor) -> GaussianMixture:
        """A mixture with leaves [..., K] from outputs [..., P]; means stay in [-20, -1e-4], spreads in [1e-3, 2]."""
        weights, means, *spreads = tf.split(outputs, self.size // self.components, axis=-1)
        means = tf.clip_by_value(means, -20.0, -1e-4)
        log_stddevs = tf.clip_by_value(spreads[0], math.log(1e-3), math.log(2.0)) if spreads else math.log(self.constant_sigma)
        stddevs = tf.exp(log_stddevs + tf.zeros_like(means))
        log_weights = tf.nn.log_softmax(weights, -1)
        rate = tf.reduce_sum(tf.exp(log_weights) * lognormal_moments(means, stddevs)[0], -1, keepdims=True)
        rates = tf.stop_gradient(tf.clip_by_value(rate, 1e-8, 1.0 - 1e-6)) + tf.zeros_like(means)
        return (GaussianMixture if self.measurement_noise else NoiselessGaussianMixture)(log_weights, means, stddevs, rates)

    def start(self, clicks: Array, impressions: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The moments of one beta-binomial's fit to the counts."""
        return self.start_at(*baselines.beta_binomial(clicks, impressions))

    def start_at(self, mean: float, concentration: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Outputs [P] that stand for a beta; components differ in their spread, by a factor 2 from the first to the last."""
        variance = np.log1p((1.0 - mean) / (mean * (concentration + 1.0)))
        apart = np.linspace(-0.5, 0.5, self.components) * np.log(2.0) if self.components > 1 else np.zeros(1)
        outputs = [np.zeros(self.components), np.full(self.components, np.log(mean) - 0.5 * variance), 0.5 * np.log(variance) + apart]
        return np.concatenate(outputs[: self.size // self.components]).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """What to give `gaussian_mixture` to build the family again."""
        return asdict(self)


def _log_rate(clicks: Tensor, impressions: Tensor) -> Tensor:
    """Log of the observed rate; half a click where there is none, one impression where there is none."""
    return tf.math.log(tf.where(clicks > 0.0, clicks, 0.5) / tf.maximum(impressions, 1.0))


def _logit_of_log(log_rate: Tensor) -> Tensor:
    """The logit of exp(log_rate), which is kept below 1."""
    log_rate = tf.minimum(log_rate, -1e-6)
    return log_rate - tf.math.log(-tf.math.expm1(log_rate))


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * tf.math.erfc(-x * math.sqrt(0.5))


def _log_normal_cdf(x: Tensor) -> Tensor:
    """Log of the normal distribution function; below -5 its asymptotic series, 1e-5."""
    far = x < -5.0
    tail = tf.where(far, x, -5.0)
    inverse = 1.0 / tf.square(tail)
    series = tf.math.log1p(-inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse))))
    asymptote = -0.5 * tf.square(tail) - tf.math.log(-tail) - 0.5 * math.log(2.0 * math.pi) + series
    return tf.where(far, asymptote, tf.math.log(_normal_cdf(tf.where(far, tf.zeros_like(x), x))))
