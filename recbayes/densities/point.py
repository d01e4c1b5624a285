"""The click rate alone: an ordinary click model. The count is binomial, and nothing that is seen changes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.densities import baselines
from recbayes.densities.inversion import check_share
from recbayes.densities.mixture import from_left
from recbayes.densities.special import log_binomial
from recbayes.types import Array, Tensor


def point() -> PointFamily:
    """The family of single click rates: no spread between rows that the features don't explain.

    >>> point().size
    1
    """
    return PointFamily()


class Point(NamedTuple):
    """A click rate a row, leaf [..., 1], in (0, 1)."""

    rates: Tensor

    @property
    def mean(self) -> Tensor:
        """The click rate, [...]."""
        return self.rates[..., 0]

    @property
    def variance(self) -> Tensor:
        """0, [...]."""
        return tf.zeros_like(self.mean)

    @property
    def stddev(self) -> Tensor:
        """0, [...]."""
        return tf.zeros_like(self.mean)

    @property
    def locations(self) -> Tensor:
        """Click rates about which the components lie, [..., K]."""
        return self.rates

    def quantile(self, q: float) -> Tensor:
        """The click rate, [...]."""
        check_share(q)
        return self.mean

    def mixture_quantile(self, q: float, log_weights: Tensor) -> Tensor:
        """Click rate below which a share q of the points along the first axis lies, [M, ..., 1] -> [...].

        Args:
          q: in (0, 1).
          log_weights: normalised over the first axis, broadcasts against [M, ...] from the left.
        """
        check_share(q)
        weights = tf.exp(from_left(log_weights, self.mean)) + tf.zeros_like(self.mean)
        order = tf.argsort(self.mean, axis=0)
        along = range(1, len(self.mean.shape))
        rates, weights = (_sorted(x, order, [*along, 0]) for x in (self.mean, weights))  # [..., M]
        index = tf.reduce_sum(tf.cast(tf.cumsum(weights, -1) < q, tf.int32), -1, keepdims=True)
        last = tf.shape(rates)[-1] - 1
        return tf.gather(rates, tf.minimum(index, last), batch_dims=len(rates.shape) - 1)[..., 0]

    def sample(self, seed: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """The click rate, [*shape, ...]: the seed has no part in it."""
        return tf.broadcast_to(self.mean, tf.concat([shape, tf.shape(self.mean)], 0))

    def distribution(self) -> Any:
        """The same as a TFP distribution."""
        from tensorflow_probability import distributions as tfd

        return tfd.Deterministic(self.mean)

    def log_marginal(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of the binomial probability of the observed count, [...].

        Args:
          clicks: broadcasts against [...].
          impressions: broadcasts against [...].
        """
        return log_binomial(self.mean, clicks, impressions)

    def condition(self, clicks: Tensor, impressions: Tensor) -> Point:
        """Itself, repeated where the counts have more leading axes."""
        seen = tf.cast(clicks, self.rates.dtype) + tf.cast(impressions, self.rates.dtype)
        return Point(self.rates + tf.zeros_like(seen)[..., None])

    def shift(self, u: Tensor) -> Point:
        """The logit of the rate moved by u, which broadcasts against [...]."""
        inverse = tf.exp(-tf.cast(u, self.rates.dtype))[..., None]
        return Point(self.rates / (self.rates + (1.0 - self.rates) * inverse))


@dataclass(frozen=True)
class PointFamily:
    """How a network's one output becomes a `Point`: its logit."""

    @property
    def name(self) -> str:
        """The function that builds it."""
        return "point"

    @property
    def size(self) -> int:
        """Outputs a row."""
        return 1

    @property
    def location(self) -> tuple[int, ...]:
        """The logit."""
        return (0,)

    def density(self, outputs: Tensor) -> Point:
        """Click rates, leaf [..., 1] from outputs [..., 1]; in [2e-9, 1 - 1e-6]."""
        return Point(tf.sigmoid(tf.clip_by_value(outputs, -20.0, 14.0)))

    def start(self, clicks: Array, impressions: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The counts' overall rate."""
        return self.start_at(baselines.constant(clicks, impressions), np.inf)

    def start_at(self, mean: float, concentration: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The output [1] of a mean; a point has no concentration to set."""
        return np.array([np.log(mean) - np.log1p(-mean)], np.float32)

    def settings(self) -> dict[str, Any]:
        """What to give `point` to build the family again: nothing."""
        return asdict(self)


def _sorted(values: Tensor, order: Tensor, axes: list[int]) -> Tensor:
    """Values in an order along their first axis, that axis moved last."""
    values, order = tf.transpose(values, axes), tf.transpose(order, axes)
    return tf.gather(values, order, batch_dims=len(axes) - 1)
