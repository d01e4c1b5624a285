"""What a density and a family of densities promise.

A *density* is a distribution of one row's click rate: a NamedTuple of tensors whose last axis is the mixture's components; every
method vectorises over the leading axes. A *family* turns a network's outputs into a density.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from recbayes.types import Array, Tensor


@runtime_checkable
class Density(Protocol):
    """A distribution of the click rate, leaves [..., K]."""

    @property
    def mean(self) -> Tensor:
        """Expected click rate, [...]."""

    @property
    def variance(self) -> Tensor:
        """Variance of the click rate, [...]."""

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the click rate, [...]."""

    @property
    def locations(self) -> Tensor:
        """Click rates about which the components lie, [..., K]."""

    def quantile(self, q: float) -> Tensor:
        """Click rate below which a share q of the distribution lies, [...]."""

    def mixture_quantile(self, q: float, log_weights: Tensor) -> Tensor:
        """The same of the mixture over the first axis, leaves [M, ..., K] -> [...]; log weights broadcast from the left."""

    def sample(self, seed: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws of the click rate, [*shape, ...]."""

    def distribution(self) -> Any:
        """The same as a TFP distribution."""

    def log_marginal(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Log of the probability of the observed count, measurement noise integrated out, [...]."""

    def condition(self, clicks: Tensor, impressions: Tensor) -> Self:
        """The density once the row's own count is seen."""

    def shift(self, u: Tensor) -> Self:
        """The density with the logit of its means moved by u [...]."""


@runtime_checkable
class Family(Protocol):
    """How a network's outputs become a density."""

    @property
    def name(self) -> str:
        """The function that builds it."""

    @property
    def size(self) -> int:
        """Outputs a row, P."""

    @property
    def location(self) -> tuple[int, ...]:
        """The outputs that move the click rate's location."""

    def density(self, outputs: Tensor) -> Any:
        """A density with leaves [..., K] from outputs [..., P]."""

    def start(self, clicks: Array, impressions: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Outputs [P] of the fit without features: the head's bias."""

    def start_at(self, mean: float, concentration: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The same from a beta fitted already, say beside a group effect."""

    def settings(self) -> dict[str, Any]:
        """What to give the function `name` to build the family again."""
