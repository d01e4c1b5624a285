"""IPS with weights cut off: less variance, and too low by what is cut off.

    V = mean of min(w, clip) r

Source: Ionides 2008, Truncated importance sampling, JCGS 17(2); the choice of clip: ../slope.py.
"""

from __future__ import annotations

import numpy as np

from recbayes.evaluation.estimators.base import Estimator, chosen, plain

GRID = (float("inf"), *(2.0**k for k in range(12, -1, -1)))


def clipped_ips(*, clip: float | None = None) -> Estimator:
    """Mean of min(weight, clip) x reward; biased towards 0.

    Args:
      clip: largest weight, above 0; None chooses it from the log.

    >>> clipped_ips(clip=10).shrink([0.5, 40.0], 10.0).tolist()
    [0.5, 10.0]
    """
    return Estimator("clipped_ips", plain, shrink=np.minimum, grid=chosen("clipped_ips", "clip", clip, GRID))
