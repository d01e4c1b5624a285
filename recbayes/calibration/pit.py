"""Probability integral transform of observed click counts.

If the predictive law of a count is right, where the observed count falls in it is uniform on (0, 1). Counts are whole numbers, so the
step of the CDF at the observed count is filled evenly:

    pit = F(c - 1) + v (F(c) - F(c - 1)),      v ~ U(0, 1) from the seed.

Source: Czado, Gneiting and Held 2009, "Predictive model assessment for count data", Biometrics 65.

How to read its histogram: a hump in the middle means intervals too wide, a bowl too narrow, a slope a level that is off. Rows of one
group share their page effect, so the histogram of a right model wobbles more than independent rows would: judge it by coverage's
intervals over groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbayes.calibration.counts import Floats, count_cdf


def pit(clicks: Floats, impressions: Floats, draws: Floats, *, seed: int = 0) -> Floats:
    """Randomised transform of each row's observed clicks.

    Args:
      clicks: observed counts, [N].
      impressions: [N].
      draws: click rates, equally likely, [n, N] (`condense` makes few points of many draws).
      seed: of the numbers that break the ties of the counts.

    Returns: [N], in [0, 1]; uniform when the draws are from the right law.

    >>> pit(np.array([3.0]), np.array([100.0]), np.full((5, 1), 0.03)).round(2)
    array([0.56])
    """
    both = count_cdf(np.stack([np.asarray(clicks, np.float64) - 1.0, np.asarray(clicks, np.float64)]), impressions, draws)
    return both[0] + np.random.default_rng(seed).random(both.shape[1]) * (both[1] - both[0])


def histogram(values: Floats, bins: int = 20) -> NDArray[np.int64]:
    """Rows in each of equally wide bins of (0, 1), [bins].

    >>> histogram(np.array([0.1, 0.2, 0.9]), bins=2)
    array([2, 1])
    """
    return np.histogram(values, bins=bins, range=(0.0, 1.0))[0].astype(np.int64)
