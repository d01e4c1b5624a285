"""Fits without features, in float64: the heads' start, the fitted prior of counts, and the yardsticks of the report.

Each is maximum likelihood. `held_out` holds them against a test log: log likelihood a row, joint over groups, binomial
coefficients included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaincinv, betaln, expit, gammaln, logit, logsumexp, ndtri

from recbayes.types import Array

_NODES = 33
_REACH = 4.5
"""The grid of the page effect, in standard deviations to either side."""
_BOUNDS = [(-20, 20), (-3, 16)]
"""Of the mean's logit and the concentration's log."""


def constant(clicks: Array, impressions: Array) -> float:
    """One click rate for all rows, kept off 0 and 1 by half a click.

    >>> constant([1, 2], [100, 199])
    0.01...
    """
    clicks, impressions = _counts(clicks, impressions)
    return float((clicks.sum() + 0.5) / (impressions.sum() + 1.0))


def beta_binomial(clicks: Array, impressions: Array) -> tuple[float, float]:
    """Mean and concentration of the beta that rows' click rates are drawn from.

    >>> mean, concentration = beta_binomial([1, 30, 2, 0, 9], [100] * 5)
    >>> round(mean, 2)
    0.08
    """
    clicks, impressions = _counts(clicks, impressions)

    def loss(x: Array) -> float:
        return -float(_beta_binomial(clicks, impressions, expit(x[0]), np.exp(x[1])).sum()) / len(clicks)

    start = [logit(constant(clicks, impressions)), np.log(100.0)]
    best = minimize(loss, start, method="Nelder-Mead", bounds=_BOUNDS, options={"xatol": 1e-4, "fatol": 1e-9})
    return float(expit(best.x[0])), float(np.exp(best.x[1]))


def page_effect(clicks: Array, impressions: Array, segments: Array) -> tuple[float, float, float]:
    """Mean, concentration and tau: rows of a group share a normal shift of the logit with standard deviation tau.

    Args:
      clicks: [N].
      impressions: [N].
      segments: the rows' groups, counted from 0, [N].
    """
    clicks, impressions = _counts(clicks, impressions)
    mean, concentration = beta_binomial(clicks, impressions)

    def loss(x: Array) -> float:
        return -float(_page_effect(clicks, impressions, segments, expit(x[0]), np.exp(x[1]), np.exp(x[2])).sum()) / len(clicks)

    bounds = [*_BOUNDS, (-5, 2)]
    start = np.clip([logit(mean), np.log(concentration * 4.0), np.log(0.5)], *np.transpose(bounds))
    best = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"eps": 1e-5})
    return float(expit(best.x[0])), float(np.exp(best.x[1])), float(np.exp(best.x[2]))


def fits(train: Any) -> dict[str, tuple[float, ...]]:
    """The parameters of each baseline, fitted to a training log.

    Args:
      train: has clicks, impressions [N] and, with groups, group and segments ([N], their number).

    Returns: {"constant": (rate,), "beta_binomial": (mean, concentration), "page_effect": (mean, concentration, tau)}; the last only where
      rows have groups.
    """
    found: dict[str, tuple[float, ...]] = {
        "constant": (constant(train.clicks, train.impressions),),
        "beta_binomial": beta_binomial(train.clicks, train.impressions),
    }
    if getattr(train, "group", None) is not None:
        found["page_effect"] = page_effect(train.clicks, train.impressions, train.segments[0])
    return found


def by_group(fitted: Mapping[str, tuple[float, ...]], test: Any) -> dict[str, Array]:
    """Log likelihood of each group of a test log under each of `fits`, [G]; of each row where rows have no groups."""
    clicks, impressions = _counts(test.clicks, test.impressions)
    segments = test.segments[0] if getattr(test, "group", None) is not None else np.arange(len(clicks))
    found = {
        "constant": np.bincount(segments, _binomial(clicks, impressions, *fitted["constant"])),
        "beta_binomial": np.bincount(segments, _beta_binomial(clicks, impressions, *fitted["beta_binomial"])),
    }
    if "page_effect" in fitted:
        found["page_effect"] = _page_effect(clicks, impressions, segments, *fitted["page_effect"])
    return found


def points(parameters: tuple[float, ...], count: int = 100) -> Array:
    """A baseline's law of a new row's click rate as equally likely points, [count, 1]; one point of a constant rate.

    >>> points((0.5, 2.0), 4).ravel()
    array([0.125, 0.375, 0.625, 0.875])
    """
    if len(parameters) == 1:
        return np.full((1, 1), parameters[0])
    mean, concentration, *tau = parameters
    levels = (np.arange(count) + 0.5) / count
    effect = tau[0] * ndtri(levels) if tau else np.zeros(1)
    means = np.clip(expit(logit(mean) + effect), 1e-12, 1.0 - 1e-12)
    every = np.sort(betaincinv(concentration * means, concentration * (1.0 - means), levels[:, None]), axis=None)
    return every.reshape(count, -1).mean(axis=1, keepdims=True)


def held_out(train: Any, test: Any) -> dict[str, float]:
    """Log likelihood a row on a test log of the fits to a training log.

    Args:
      train: see `fits`.
      test: the same.

    Returns: {"constant", "beta_binomial", "page_effect"}; the last only where rows have groups.
    """
    return {name: float(groups.sum()) / len(test.clicks) for name, groups in by_group(fits(train), test).items()}


def _counts(clicks: Array, impressions: Array) -> tuple[Array, Array]:
    return np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)


def _binomial(clicks: Array, impressions: Array, rate: float) -> Array:
    return _log_choose(clicks, impressions) + clicks * np.log(rate) + (impressions - clicks) * np.log1p(-rate)


def _beta_binomial(clicks: Array, impressions: Array, mean: Array, concentration: float) -> Array:
    a, b = concentration * mean, concentration * (1.0 - mean)
    return _log_choose(clicks, impressions) + betaln(a + clicks, b + impressions - clicks) - betaln(a, b)


def _page_effect(clicks: Array, impressions: Array, segments: Array, mean: float, concentration: float, tau: float) -> Array:
    """Log likelihood of each group on a fixed grid of the effect, [G]."""
    z = np.linspace(-_REACH, _REACH, _NODES)
    at_nodes = expit(logit(mean) + tau * z)
    a, b = concentration * at_nodes, concentration * (1.0 - at_nodes)  # [Q]
    fixed = _log_choose(clicks, impressions) + gammaln(concentration) - gammaln(concentration + impressions)
    rows = gammaln(a + clicks[:, None])  # what varies with the node, [N, Q]
    rows += gammaln(b + (impressions - clicks)[:, None])
    rows += fixed[:, None] - (gammaln(a) + gammaln(b))
    order = np.argsort(segments, kind="stable")
    groups = np.add.reduceat(rows[order], np.searchsorted(np.asarray(segments)[order], np.arange(np.max(segments) + 1)), axis=0)
    log_weights = -0.5 * z**2
    return logsumexp(groups + log_weights - logsumexp(log_weights), axis=1)


def _log_choose(clicks: Array, impressions: Array) -> Array:
    return gammaln(impressions + 1.0) - gammaln(clicks + 1.0) - gammaln(impressions - clicks + 1.0)
