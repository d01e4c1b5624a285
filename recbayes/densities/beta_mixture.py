"""Mixture of betas over a row's click rate: the count's probability and the conditioning on it are exact.

    p ~ sum_k pi_k Beta(n_k m_k, n_k (1 - m_k)),   clicks | p ~ Binomial(impressions, p)
    log P(c | r) = logsumexp_k [log pi_k + log BetaBinomial(c | r, m_k, n_k)]
    pi_k' ~ pi_k BetaBinomial(c | r, m_k, n_k),  n_k' = n_k + r,  m_k' = (n_k m_k + c) / (n_k + r)

Source: conjugacy of beta and binomial, say Gelman et al. 2013, Bayesian Data Analysis, section 2.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.densities import baselines
from recbayes.densities.beta_cdf import beta_cdf
from recbayes.densities.inversion import check_share, invert
from recbayes.densities.mixture import from_left, log_sum_exp, start_of_search
from recbayes.densities.special import log_beta_binomial
from recbayes.random import beta, categorical, split
from recbayes.types import Array, Tensor


def beta_mixture(components: int = 2) -> BetaMixtureFamily:
    """The family of mixtures of betas.

    Args:
      components: betas a row, at least 1.

    Raises: ValueError if there is no component.

    >>> beta_mixture(components=2).size
    6
    """
    if components < 1:
        raise ValueError(f"beta_mixture: components is {components}, must be at least 1")
    return BetaMixtureFamily(components)


class BetaMixture(NamedTuple):
    """A mixture of betas a row, each leaf [..., K].

    log_weights: sum to 1 in exp over K; means: in (0, 1); concentrations: > 0, in impressions.

    >>> density = BetaMixture(tf.constant([0.0]), tf.constant([0.02]), tf.constant([100.0]))
    >>> round(float(density.condition(clicks=6.0, impressions=100.0).mean), 3)   # (2 + 6) / 200
    0.04
    """

    log_weights: Tensor
    means: Tensor
    concentrations: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [...]."""
        return tf.reduce_sum(tf.exp(self.log_weights) * self.means, -1)

    @property
    def variance(self) -> Tensor:
        """Variance of the click rate, [...]."""
        within = self.means * (1.0 - self.means) / (self.concentrations + 1.0)
        between = tf.square(self.means - self.mean[..., None])
        return tf.reduce_sum(tf.exp(self.log_weights) * (within + between), -1)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [...]."""
        return tf.sqrt(self.variance)

    @property
    def locations(self) -> Tensor:
        """Click rates about which the components lie, [..., K]."""
        return self.means

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
        a, b = self.concentrations * self.means, self.concentrations * (1.0 - self.means)
        cdf, logits = beta_cdf(a, b), tf.math.log(a / b)
        scales = tf.math.rsqrt(a) + tf.math.rsqrt(b)
        low = tf.reduce_min(logits - (6.0 - math.log(q)) * (scales + 1.0 / a), [0, -1])
        high = tf.reduce_max(logits + (6.0 - math.log(1.0 - q)) * (scales + 1.0 / b), [0, -1])
        start, scale = start_of_search(weights, logits, scales, q)
        return invert(
            lambda x: tf.reduce_sum(weights * cdf(x[..., None]), [0, -1]), q, tf.maximum(low, -80.0), tf.minimum(high, 15.0), scale, start
        )

    def sample(self, seed: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Draws of the click rate, [*shape, ...]."""
        choose, draw = tf.unstack(split(seed, 2))
        batch = tf.broadcast_dynamic_shape(tf.shape(self.log_weights), tf.shape(self.means))
        log_weights = tf.broadcast_to(self.log_weights, tf.concat([shape, batch], 0))
        component = tf.one_hot(categorical(choose, log_weights, 1)[0], self.means.shape[-1], dtype=self.means.dtype)
        mean, concentration = (tf.reduce_sum(component * leaf, -1) for leaf in (self.means, self.concentrations))
        return beta(draw, concentration * mean, concentration * (1.0 - mean))

    def distribution(self) -> Any:
        """The same as a TFP distribution, the slow and independent path."""
        from tensorflow_probability import distributions as tfd

        betas = tfd.Beta(self.concentrations * self.means, self.concentrations * (1.0 - self.means))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=self.log_weights), betas)

    def log_marginal(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of the probability of the observed count, [...]; the binomial coefficient is included.

        Args:
          clicks: broadcasts against [...].
          impressions: broadcasts against [...].
        """
        return log_sum_exp(self._joint(clicks, impressions))

    def condition(self, clicks: Tensor, impressions: Tensor) -> BetaMixture:
        """The mixture once the row's own count is seen. Exact."""
        joint = self._joint(clicks, impressions)
        clicks, impressions = (tf.cast(x, self.means.dtype)[..., None] for x in (clicks, impressions))
        concentrations = self.concentrations + impressions
        means = self.means + (clicks - impressions * self.means) / concentrations
        return BetaMixture(tf.nn.log_softmax(joint, -1), means, concentrations)

    def shift(self, u: Tensor) -> BetaMixture:
        """The logit of every mean moved by u, which broadcasts against [...]; concentrations and weights stay."""
        inverse = tf.exp(-tf.cast(u, self.means.dtype))[..., None]
        return self._replace(means=self.means / (self.means + (1.0 - self.means) * inverse))

    def _joint(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of weight times the count's probability, a component, [..., K]."""
        clicks, impressions = (tf.cast(x, self.means.dtype)[..., None] for x in (clicks, impressions))
        return self.log_weights + log_beta_binomial(self.means, self.concentrations, clicks, impressions)


@dataclass(frozen=True)
class BetaMixtureFamily:
    """How a network's outputs become a `BetaMixture`: K weights (softmax), K logits of means, K logs of concentrations."""

    components: int

    @property
    def name(self) -> str:
        """The function that builds it."""
        return "beta_mixture"

    @property
    def size(self) -> int:
        """Outputs a row."""
        return 3 * self.components

    @property
    def location(self) -> tuple[int, ...]:
        """The logits of the means."""
        return tuple(range(self.components, 2 * self.components))

    def density(self, outputs: Tensor) -> BetaMixture:
        """A mixture with leaves [..., K] from outputs [..., 3 K]; means stay in [2e-9, 1 - 1e-6], concentrations in [.05, 9e6]."""
        weights, means, concentrations = self._within(*tf.split(outputs, 3, axis=-1))
        return BetaMixture(tf.nn.log_softmax(weights, -1), means, concentrations)

    def density_of_parts(self, *outputs: Tensor) -> BetaMixture:
        """`density`, leaves [..., K], from outputs [3 K, ...], whole or in parts: in half the time where rows are many."""
        weights, means, concentrations = self._within(*self._thirds(outputs))
        leaves = weights - tf.reduce_logsumexp(weights, 0), means, concentrations
        return BetaMixture(*(tf.transpose(leaf, [*range(1, leaf.shape.rank), 0]) for leaf in leaves))

    def by_component(self, *outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and concentrations of `density`, each [K, ...], from outputs [3 K, ...], whole or in parts.

        Of long rows this axis is the quicker one.
        """
        weights, means, concentrations = self._within(*self._thirds(outputs))
        return softmax(weights), means, concentrations

    def _thirds(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Outputs of weights, of means and of concentrations: parts that are these already are not copied."""
        if [part.shape[0] for part in outputs] == [self.components] * 3:
            return outputs
        thirds: list[Tensor] = tf.split(tf.concat(outputs, 0) if len(outputs) > 1 else outputs[0], 3)
        return thirds

    def _within(self, weights: Tensor, logits: Tensor, concentrations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights as they are, means and concentrations within their bounds."""
        return weights, tf.sigmoid(tf.clip_by_value(logits, -20.0, 14.0)), tf.exp(tf.clip_by_value(concentrations, -3.0, 16.0))

    def start(self, clicks: Array, impressions: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One beta-binomial's fit to the counts."""
        return self.start_at(*baselines.beta_binomial(clicks, impressions))

    def start_at(self, mean: float, concentration: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Outputs [P] of one beta; components differ in their concentration, by a factor 4 from the first to the last."""
        apart = np.linspace(-1.0, 1.0, self.components) * np.log(2.0) if self.components > 1 else np.zeros(1)
        logits = np.full(self.components, np.log(mean) - np.log1p(-mean))
        return np.concatenate([np.zeros(self.components), logits, np.log(concentration) + apart]).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """What to give `beta_mixture` to build the family again."""
        return asdict(self)


def softmax(weights: Tensor) -> Tensor:
    """Over the first axis, [K, ...]; of two by one exponential in place of two, and not as 1 - the other, which is 0 too soon."""
    if weights.shape[0] == 2:
        more = weights[0] - weights[1]
        return tf.sigmoid(tf.stack([more, -more]))
    weights = tf.exp(weights - tf.reduce_max(weights, 0))
    return weights / tf.reduce_sum(weights, 0)
