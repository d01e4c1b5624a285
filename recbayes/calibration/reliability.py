"""Predicted against observed click rates, and how sharp the predictions are.

Reliability: rows sorted by the predicted rate and cut into bins of equal size; in each bin clicks over impressions, against the
predicted clicks over impressions. A calibrated model lies on the diagonal within the intervals. Sharpness says how narrow the
predictions are, which calibration alone does not: the constant rate is calibrated and useless.
Source: Gneiting, Balabdaoui and Raftery 2007, JRSS B 69.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbayes.calibration.counts import Floats
from recbayes.calibration.coverage import deciles


def reliability(
    clicks: Floats, impressions: Floats, mean: Floats, *, bins: int = 10, clusters: NDArray[np.int32] | None = None
) -> list[dict[str, float]]:
    """Predicted and observed click rate by bin of the prediction.

    Args:
      clicks: observed, [N].
      impressions: [N].
      mean: predicted click rates, [N].
      bins: how many, of equally many rows.
      clusters: rows that belong together, [N]; the intervals count clusters (none: rows).

    Returns: a record a bin, in rising order: rows, impressions, predicted, observed, lower, upper (95% of the observed rate, normal, by
      the ratio estimator).

    >>> record, = reliability(np.array([2.0, 4.0]), np.array([100.0, 100.0]), np.array([0.02, 0.03]), bins=1)
    >>> record["predicted"], record["observed"]
    (0.025, 0.03)
    """
    which = deciles(mean, bins)
    groups = np.arange(len(mean)) if clusters is None else np.asarray(clusters)
    return [_bin(clicks[rows], impressions[rows], mean[rows], groups[rows]) for rows in (which == b for b in range(bins)) if rows.any()]


def _bin(clicks: Floats, impressions: Floats, mean: Floats, groups: NDArray[Any]) -> dict[str, float]:
    shown = float(impressions.sum())
    observed = float(clicks.sum()) / shown
    distinct, index = np.unique(groups, return_inverse=True)
    off = np.bincount(index, weights=clicks - observed * impressions)
    stderr = float(np.sqrt(len(distinct) / max(len(distinct) - 1, 1) * np.sum(off**2)) / shown)
    return {
        "rows": len(mean),
        "impressions": shown,
        "predicted": float((mean * impressions).sum()) / shown,
        "observed": observed,
        "lower": max(observed - 1.96 * stderr, 0.0),
        "upper": observed + 1.96 * stderr,
    }


def sharpness(mean: Floats, data_stddev: Floats, model_stddev: Floats, lower: Floats, upper: Floats) -> dict[str, float]:
    """How narrow the predictions are, relative to the predicted rate; medians over rows.

    Args:
      mean: predicted click rates, [N].
      data_stddev: spread that the features cannot explain, [N].
      model_stddev: spread from knowing too little, [N].
      lower: lower end of the click rate's 90% interval, [N].
      upper: its upper end, [N].

    Returns: relative_stddev, relative_width (of the 90% interval), model_share (of the variance; 0 where there is none).

    >>> sharpness(*np.array([[0.02], [0.003], [0.004], [0.01], [0.03]]))["relative_stddev"]
    0.25
    """
    total = np.sqrt(data_stddev**2 + model_stddev**2)
    share = np.divide(model_stddev**2, total**2, out=np.zeros_like(total), where=total > 0)
    return {
        "relative_stddev": float(np.median(total / mean)),
        "relative_width": float(np.median((upper - lower) / mean)),
        "model_share": float(np.median(share)),
    }
