"""Mixture of normals over the logit of a row's click rate; tails heavier than a beta's, and a shift of the logit is exact.

    logit p ~ sum_k pi_k N(l_k, s_k^2),   clicks | p ~ Binomial(impressions, p)
    log P(c | r) = logsumexp_k [log pi_k + log E_k[Binomial(c | r, p)]],   pi_k' ~ pi_k E_k[Binomial(c | r, p)]

The expectations are adaptive Gauss-Hermite. What is conditioned is a normal tilted by counts, which is kept as such, so conditioning
is exact but for the weights' quadrature, in any order and any number of portions. `logit_normal.py` has the numerics and their errors.

Source: Aitchison and Shen 1980, Logistic-normal distributions; quadrature as in Liu and Pierce 1994.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import digamma, expit, polygamma

from recbayes.densities import baselines, logit_normal
from recbayes.densities.inversion import check_share, invert
from recbayes.densities.logit_normal import Tilted
from recbayes.densities.mixture import from_left, log_sum_exp, start_of_search
from recbayes.random import categorical, normal, split
from recbayes.types import Array, Tensor

LARGEST_SCALE = 1.5
"""Of a component: rates then range over a factor of 400 between its 2.5% and 97.5% quantiles. Wider is for more components."""
_CELLS = 8000
"""A component of `distribution`."""


def logit_normal_mixture(components: int = 2) -> LogitNormalMixtureFamily:
    """The family of mixtures of logit-normals.

    Args:
      components: logit-normals a row, at least 1.

    Raises: ValueError if there is no component.

    >>> logit_normal_mixture(components=2).size
    6
    """
    if components < 1:
        raise ValueError(f"logit_normal_mixture: components is {components}, must be at least 1")
    return LogitNormalMixtureFamily(components)


class LogitNormalMixture(NamedTuple):
    """A mixture of logit-normals a row, each tilted by the counts that it has seen, each leaf [..., K]. `unseen` makes one.

    log_weights: sum to 1 in exp over K; logits: where components peak; scales: of the normals, > 0; impressions, rates: of the counts
    seen, impressions 0 where there are none; log_masses: of the tilts, 0 without counts.

    >>> density = LogitNormalMixture.unseen(tf.constant([0.0]), tf.constant([-4.0]), tf.constant([0.3]))
    >>> [round(float(d.mean), 4) for d in (density, density.condition(clicks=6.0, impressions=100.0))]
    [0.0188, 0.0253]
    """

    log_weights: Tensor
    logits: Tensor
    scales: Tensor
    impressions: Tensor
    rates: Tensor
    log_masses: Tensor

    @classmethod
    def unseen(cls, log_weights: Tensor, logits: Tensor, scales: Tensor) -> LogitNormalMixture:
        """The mixture before any counts, leaves [..., K]."""
        nothing = tf.zeros_like(logits)
        return cls(log_weights, logits, scales, nothing, tf.stop_gradient(tf.sigmoid(logits)), nothing)

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [...]."""
        return tf.reduce_sum(tf.exp(self.log_weights) * logit_normal.moments(self._tilted())[0], -1)

    @property
    def variance(self) -> Tensor:
        """Variance of the click rate, [...]."""
        weights, (means, variances) = tf.exp(self.log_weights), logit_normal.moments(self._tilted())
        mean = tf.reduce_sum(weights * means, -1, keepdims=True)
        return tf.reduce_sum(weights * (variances + tf.square(means - mean)), -1)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [...]."""
        return tf.sqrt(self.variance)

    @property
    def locations(self) -> Tensor:
        """Click rates about which the components lie, [..., K]."""
        return tf.sigmoid(self.logits)

    def quantile(self, q: float) -> Tensor:
        """Click rate below which a share q of the distribution lies, [...]; exact until counts are seen."""
        return tf.nest.map_structure(lambda leaf: leaf[None], self).mixture_quantile(q, tf.zeros([1], self.logits.dtype))

    def mixture_quantile(self, q: float, log_weights: Tensor) -> Tensor:
        """The same of the mixture over the first axis, leaves [M, ..., K] -> [...].

        Args:
          q: in (0, 1).
          log_weights: normalised over the first axis, broadcasts against [M, ...] from the left.
        """
        check_share(q)
        weights = tf.exp(from_left(log_weights, self.logits) + self.log_weights)
        scored = logit_normal.score(self._tilted())

        def cdf(x: Tensor) -> Tensor:
            logit = (tf.math.log(x) - tf.math.log1p(-x))[..., None]
            return tf.reduce_sum(weights * 0.5 * tf.math.erfc(scored(logit - self.logits)[0] * -math.sqrt(0.5)), [0, -1])

        low, high = (tf.reduce_min(sign * self.logits - 8.0 * self.scales, [0, -1]) for sign in (1.0, -1.0))
        start, scale = start_of_search(weights, self.logits, logit_normal.deviations(self._tilted()), q)
        return invert(cdf, q, tf.maximum(low, -80.0), tf.minimum(-high, 15.0), scale, start)

    def sample(self, seed: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Draws of the click rate, [*shape, ...]; exact until counts are seen."""
        choose, draw = tf.unstack(split(seed, 2))
        batch = tf.broadcast_dynamic_shape(tf.shape(self.log_weights), tf.shape(self.logits))
        log_weights = tf.broadcast_to(self.log_weights, tf.concat([shape, batch], 0))
        component = tf.one_hot(categorical(choose, log_weights, 1)[0], self.logits.shape[-1], dtype=self.logits.dtype)
        chosen = Tilted(*(tf.reduce_sum(component * leaf, -1) for leaf in self._tilted()))
        return tf.sigmoid(logit_normal.unscore(chosen, normal(draw, tf.shape(chosen.logits), chosen.logits.dtype)))

    def distribution(self) -> Any:
        """The same as a TFP distribution, the slow and independent path: a histogram of 8,000 cells a component."""
        from tensorflow_probability import distributions as tfd

        edges = self.logits[..., None] + self.scales[..., None] * tf.linspace(tf.constant(-8.0, self.scales.dtype), 8.0, _CELLS + 1)
        middles = 0.5 * (edges[..., 1:] + edges[..., :-1])  # [..., K, C]
        d, impressions, rates = middles - self.logits[..., None], self.impressions[..., None], self.rates[..., None]
        falls = 0.5 * tf.square(d / self.scales[..., None]) + impressions * logit_normal.bend(d, rates)
        cells = self.log_weights[..., None] + tf.nn.log_softmax(-falls, -1)
        shape = tf.concat([tf.shape(cells)[:-2], [-1]], 0)
        low, high = (tf.reshape(tf.sigmoid(end), shape) for end in (edges[..., :-1], edges[..., 1:]))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.reshape(cells, shape)), tfd.Uniform(low, high))

    def log_marginal(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of the probability of the observed count, [...]; the binomial coefficient is included.

        Args:
          clicks: broadcasts against [...].
          impressions: broadcasts against [...].
        """
        return log_sum_exp(self._joint(clicks, impressions))

    def condition(self, clicks: Tensor, impressions: Tensor) -> LogitNormalMixture:
        """The mixture once the row's own count is seen; all but the weights are constants to a gradient."""
        log_weights = tf.nn.log_softmax(self._joint(clicks, impressions), -1)
        clicks, impressions = (tf.cast(x, self.logits.dtype)[..., None] for x in (clicks, impressions))
        peak = logit_normal.find_peak(self._tilted(), clicks, impressions)
        scales = self.scales + tf.zeros_like(peak.moved)
        log_masses = logit_normal.log_mass(scales, peak._replace(slope=tf.zeros_like(peak.slope)))
        return LogitNormalMixture(log_weights, self.logits + peak.moved, scales, peak.impressions, peak.rates, log_masses)

    def shift(self, u: Tensor) -> LogitNormalMixture:
        """The logit of the click rate moved by u, which broadcasts against [...]. Exact: location + u, whatever was seen."""
        return self._replace(logits=self.logits + tf.cast(u, self.logits.dtype)[..., None])

    def _tilted(self) -> Tilted:
        return Tilted(self.logits, self.scales, self.impressions, self.rates)

    def _joint(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of weight times the count's probability, a component, [..., K]."""
        clicks, impressions = (tf.cast(x, self.logits.dtype)[..., None] for x in (clicks, impressions))
        return self.log_weights + logit_normal.log_marginal(self._tilted(), clicks, impressions) - self.log_masses


@dataclass(frozen=True)
class LogitNormalMixtureFamily:
    """How a network's outputs become a `LogitNormalMixture`: K weights (softmax), K logits, K logs of scales."""

    components: int

    @property
    def name(self) -> str:
        """The function that builds it."""
        return "logit_normal_mixture"

    @property
    def size(self) -> int:
        """Outputs a row."""
        return 3 * self.components

    @property
    def location(self) -> tuple[int, ...]:
        """The logits."""
        return tuple(range(self.components, 2 * self.components))

    def density(self, outputs: Tensor) -> LogitNormalMixture:
        """A mixture with leaves [..., K] from outputs [..., 3 K]; logits stay in [-20, 14], scales in [1e-3, 1.5]."""
        weights, logits, scales = tf.split(outputs, 3, axis=-1)
        scales = tf.exp(tf.clip_by_value(scales, math.log(1e-3), math.log(LARGEST_SCALE)))
        return LogitNormalMixture.unseen(tf.nn.log_softmax(weights, -1), tf.clip_by_value(logits, -20.0, 14.0), scales)

    def start(self, clicks: Array, impressions: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The moments of one beta-binomial's fit to the counts."""
        return self.start_at(*baselines.beta_binomial(clicks, impressions))

    def start_at(self, mean: float, concentration: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Outputs [P] that stand for a beta: the spread of its logit, and its mean.

        Components differ in their scale, by a factor 2 from the first to the last.
        """
        spread = np.sqrt(sum(polygamma(1, concentration * share) for share in (mean, 1.0 - mean)))
        apart = np.linspace(-0.5, 0.5, self.components) * np.log(2.0) if self.components > 1 else np.zeros(1)
        scales = np.clip(spread * np.exp(apart), 1e-3, LARGEST_SCALE)
        logits = [_logit_of_mean(mean, scale, digamma(concentration * mean) - digamma(concentration * (1.0 - mean))) for scale in scales]
        return np.concatenate([np.zeros(self.components), logits, np.log(scales)]).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """What to give `logit_normal_mixture` to build the family again."""
        return asdict(self)


def _logit_of_mean(mean: float, scale: float, start: float) -> float:
    """The location of the logit-normal of that mean and scale: Newton's method on 64 nodes, from a guess."""
    t, weights = np.polynomial.hermite_e.hermegauss(64)
    location = start
    for _ in range(20):
        rates = expit(location + scale * t)
        off, slope = (weights @ rates) / weights.sum() - mean, (weights @ (rates * (1.0 - rates))) / weights.sum()
        location -= float(np.clip(off / slope, -1.0, 1.0))
    return float(location)
