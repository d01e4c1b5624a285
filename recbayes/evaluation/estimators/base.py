"""What an estimator is: a shrunk weight, and the terms of a sum a row.

    value = sum(total) / sum(share) + mean(constant)

share is 1 where it is None: then the value is a mean. All estimators here are of this form, so that one pass over the log, whatever
its size, gives value, influence values and intervals from sums alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from recbayes.evaluation.rows import Rows
from recbayes.types import Array, UserError


class Terms(NamedTuple):
    """A row's part in the sums, [n] each; see this file's top."""

    total: Array | None = None
    share: Array | None = None
    constant: Array | None = None


class Estimator(NamedTuple):
    """An estimator with its setting. Built by the functions of this folder.

    kind: the function that built it. terms: (rows, weights) -> Terms. needs_model: whether it asks the reward model. shrink: (weights,
    setting) -> weights with less variance and some bias, None for those that take them as they are. grid: the settings to choose from,
    the least biased first; one where the setting is given. unbiased: whether its mean is the policy's value at true propensities.
    matches: whether rows are kept by the policy's probability alone, as replay does, instead of weighted by propensities.
    """

    kind: str
    terms: Callable[[Rows, Array], Terms]
    needs_model: bool = False
    shrink: Callable[[Array, float], Array] | None = None
    grid: tuple[float, ...] = ()
    unbiased: bool = False
    matches: bool = False

    @property
    def settings(self) -> tuple[float | None, ...]:
        """The settings to look at; one, None, for an estimator without."""
        return self.grid or (None,)

    def weights(self, rows: Rows, raw: Array, setting: float | None) -> Array:
        """The rows' weights, shrunk from the raw ones, [n]."""
        if self.matches:
            return rows.target
        return raw if self.shrink is None or setting is None else self.shrink(raw, setting)


def chosen(kind: str, name: str, value: float | None, grid: tuple[float, ...], most: float = float("inf")) -> tuple[float, ...]:
    """The grid, or the one setting that was given.

    Raises: UserError for a setting that is not in (0, most].

    >>> chosen("clipped_ips", "clip", 10.0, (2.0, 1.0))
    (10.0,)
    """
    if value is None:
        return grid
    if not 0 < value <= most:
        upto = "a number above 0" if most == float("inf") else f"in (0, {most:g}]"
        raise UserError(f"{kind}: {name} is {value}, must be {upto}. Leave it out to have it chosen from the log.")
    return (float(value),)


def plain(rows: Rows, weights: Array) -> Terms:
    """Inverse propensity scoring: mean of weight x reward."""
    return Terms(total=weights * rows.reward)


def ratio(rows: Rows, weights: Array) -> Terms:
    """Sum of weight x reward over the sum of weights."""
    return Terms(total=weights * rows.reward, share=weights)


def doubly_robust(rows: Rows, weights: Array) -> Terms:
    """Doubly robust: mean of the model's expectation + weight x (reward - prediction)."""
    residual = rows.reward - rows.predicted
    residual *= weights
    residual += rows.expected
    return Terms(total=residual)
