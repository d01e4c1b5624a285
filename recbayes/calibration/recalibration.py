"""Recalibration: a monotone map of the predictive distribution, fitted to groups that the model has not seen.

The quantile at level q of the recalibrated law of a click rate is the model's own at level

    r(q) = ndtr(shift + scale ndtri(q)),      scale > 0,

so intervals grow where the model was too sure (scale > 1), shrink where it was too doubtful, and move where its level is off. Rows keep
their order, and the identity is (0, 1). The two numbers maximise the likelihood of the observed counts under the recalibrated law,

    sum over rows of log integral N(t; shift, scale^2) Binomial(clicks | impressions, F^-1(ndtr(t))) dt,

the measurement noise integrated out: a map of the counts' own PIT would take that noise for spread of the rate. The binomial does not
depend on the map, so it is computed once on a grid of t, and a step of the fit is a product of a vector and a matrix. A weak prior,
N(0, PRIOR^2) on shift and log scale, keeps few rows near the identity. Rows of one group rise and fall together: the standard errors count
groups (sandwich).

After a row's own counts are seen, the likelihood of those counts (which needs no recalibration) takes over from the predictive, and the map
fades: `faded`.
Source: Kuleshov, Fenner and Ermon 2018, arXiv:1807.00263 (the map on held-out PIT values); Platt 1999 (two parameters instead of a step
function a row).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtr, ndtri

from recbayes.calibration.counts import TINY, Floats
from recbayes.types import UserError

PRIOR = 0.5
LEAST_GROUPS = 20
"""Fewer groups than this say nothing about a tail."""
MOST_ROWS = 20_000
"""Rows that the map is fitted to, at most; of more, evenly chosen groups."""
BOUNDS = [(-3.0, 3.0), (-1.7, 1.7)]
"""Of shift and log scale: beyond, the model is not off, it is wrong."""
SCORES = np.linspace(-3.0, 3.0, 25)
"""Normal scores of the levels at which a law is given to the fit; between and beyond it is linear in the logit."""
GRID = np.linspace(-6.0, 6.0, 481)
MOST_CLICKS = 10_000.0
"""Counts are taken as if they had so many clicks at most: a noise of 1% in the rate, which the grid still sees."""


class Recalibration(NamedTuple):
    """A fitted map; see the module. stderrs are standard errors; rows, groups: what it was fitted to.

    >>> narrower = Recalibration(shift=0.0, scale=0.9)
    >>> round(narrower.level(0.95), 3)
    0.931
    """

    shift: float = 0.0
    scale: float = 1.0
    shift_stderr: float = 0.0
    scale_stderr: float = 0.0
    rows: int = 0
    groups: int = 0

    def level(self, q: float) -> float:
        """The model's own level whose quantile is the recalibrated one at level q, both in (0, 1)."""
        return float(ndtr(self.shift + self.scale * ndtri(q)))

    def points(self, points: Floats) -> Floats:
        """Recalibrated points of each row's law.

        Args:
          points: click rates, equally likely, rising along the first axis, [n, N] (as `condense` gives them).

        Returns: [n, N], rising; between and beyond the points the law is linear in the logit against the normal score of the level.
        """
        if len(points) == 1:
            return np.asarray(points, np.float64)
        edges = ndtri(np.arange(len(points) + 1) / len(points))
        scores = -len(points) * np.diff(np.exp(-0.5 * edges**2) / np.sqrt(2.0 * np.pi))  # a point is the mean of its share of the law
        return np.asarray(expit(_read(_logits(points), scores, self.shift + self.scale * scores)))

    def record(self) -> dict[str, Any]:
        """For JSON; `of` reads it."""
        return dict(self._asdict())

    @classmethod
    def of(cls, record: dict[str, Any] | None) -> Self | None:
        """What `record` wrote, or None."""
        return None if record is None else cls(**record)


def fit_map(clicks: Floats, impressions: Floats, knots: Floats, clusters: NDArray[np.int32]) -> Recalibration:
    """Fits the map to rows that the model was not trained on.

    Args:
      clicks: observed counts, [N].
      impressions: [N].
      knots: the model's quantiles of each row's click rate at the levels ndtr(SCORES), [25, N].
      clusters: a whole number a row, equal for rows that belong together, [N].

    Returns: the map.
    Raises: UserError if there are fewer than LEAST_GROUPS clusters, or the best map lies at the ends of what is allowed.

    >>> rng = np.random.default_rng(0)
    >>> knots = expit(-4.0 + 0.4 * SCORES)[:, None] + np.zeros(200)
    >>> rates = expit(rng.normal(-4.0, 0.2, 200))  # they spread half as wide
    >>> round(fit_map(rng.binomial(10**5, rates), np.full(200, 1e5), knots, np.arange(200)).scale, 1)
    0.5
    """
    groups = np.unique(clusters, return_inverse=True)[1]
    rows = _some(groups)
    groups = np.unique(groups[rows], return_inverse=True)[1]
    _must_be_enough(groups)
    given = _given_scores(np.asarray(clicks, np.float64)[rows], np.asarray(impressions, np.float64)[rows], _logits(knots[:, rows]))

    def by_row(x: Floats) -> Floats:
        weights = np.exp(-0.5 * ((GRID - x[0]) / np.exp(x[1])) ** 2 - x[1])
        return np.asarray(np.log(weights @ given + 1e-300))

    def loss(x: Floats) -> float:
        return (-float(by_row(x).sum()) + 0.5 * float(np.sum(x**2)) / PRIOR**2) / len(rows)

    best = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=BOUNDS, options={"ftol": 1e-12, "gtol": 1e-7}).x
    _must_be_inside(best)
    errors, scale = _stderr(by_row, best, groups), float(np.exp(best[1]))
    return Recalibration(float(best[0]), scale, float(errors[0]), float(errors[1] * scale), len(rows), int(groups.max()) + 1)


def faded(plain: Any, mapped: Any, left: Any) -> Any:
    """An interval's end once own counts are seen: from the recalibrated to the plain one as the variance that is left shrinks to 0.

    To first order in (shift, scale - 1) what Bayes' rule makes of a recalibrated normal prior. Works on arrays and on tensors.

    Args:
      plain: the end by the model's own law, given the counts.
      mapped: the end at the map's level of the same law.
      left: the share of the predictive's variance, relative to the squared mean, that the counts leave, in [0, 1].

    >>> faded(0.02, 0.03, 0.5)
    0.025
    """
    return plain + left * (mapped - plain)


def _logits(points: Floats) -> Floats:
    return np.asarray(logit(np.clip(np.asarray(points, np.float64), TINY, 1.0 - 1e-9)))


def _read(logits: Floats, scores: Floats, at: Floats) -> Floats:
    """Each row's logits read off at other scores, [len(at), N]: linear in between and beyond."""
    left = np.clip(np.searchsorted(scores, at) - 1, 0, len(scores) - 2)
    along = ((at - scores[left]) / (scores[left + 1] - scores[left]))[:, None]
    found: Floats = logits[left] + along * (logits[left + 1] - logits[left])
    return found


def _given_scores(clicks: Floats, impressions: Floats, logits: Floats) -> Floats:
    """Likelihood of each row's count at each score of GRID, relative to the row's largest, [481, N]."""
    share = np.minimum(1.0, MOST_CLICKS / np.maximum(clicks, 1.0))
    at = _read(logits, SCORES, GRID)
    log_given = share * (clicks * at - impressions * np.logaddexp(0.0, at))
    return np.asarray(np.exp(log_given - log_given.max(axis=0)))


def _some(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of evenly chosen groups, MOST_ROWS of them about."""
    return np.flatnonzero(groups % max(-(-len(groups) // MOST_ROWS), 1) == 0)


def _must_be_enough(groups: NDArray[np.int64]) -> None:
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < LEAST_GROUPS:
        raise UserError(
            f"recalibrate: {count} groups to fit the map to, it needs {LEAST_GROUPS}. Set more aside (train.held_out), or leave "
            "train.recalibrate out."
        )


def _must_be_inside(best: Floats) -> None:
    if any(min(value - low, high - value) < 1e-3 for value, (low, high) in zip(best, BOUNDS, strict=True)):
        raise UserError(
            f"recalibrate: the predictions are so far off (shift {best[0]:.2f}, scale {np.exp(best[1]):.2f}) that a map can't mend them. "
            "Look at the report's calibration section and change the model or the density."
        )


def _stderr(by_row: Any, best: Floats, groups: NDArray[np.int64]) -> Floats:
    """Sandwich over groups, derivatives by central differences; [2]."""
    step = 0.02 * np.eye(2)
    up, down = [by_row(best + s) for s in step], [by_row(best - s) for s in step]
    scores = np.stack([np.bincount(groups, (u - d) / 0.04) for u, d in zip(up, down, strict=True)])  # [2, G]
    middle, mixed = by_row(best).sum(), sum(k * by_row(best + np.array([i, j])).sum() for i, j, k in _CORNERS)
    hessian = np.diag([(u.sum() - 2.0 * middle + d.sum()) / 0.0004 for u, d in zip(up, down, strict=True)])
    hessian[0, 1] = hessian[1, 0] = mixed / 0.0016
    bread = np.linalg.inv(hessian - np.eye(2) / PRIOR**2)
    return np.asarray(np.sqrt(np.diag(bread @ (scores @ scores.T) @ bread)))


_CORNERS = [(0.02, 0.02, 1.0), (-0.02, -0.02, 1.0), (0.02, -0.02, -1.0), (-0.02, 0.02, -1.0)]
