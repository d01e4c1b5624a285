"""A row's law of the click rate as few numbers: equally likely points for the count's law and its scores, quantiles for recalibration."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy.special import ndtr

from recbayes.calibration.counts import Floats, condense
from recbayes.calibration.recalibration import SCORES
from recbayes.calibration.thin import thin
from recbayes.predictive import Predictive

POINTS = 100
PAIRS = 256


def few_of(predictive: Predictive) -> Predictive:
    """The predictive of PAIRS (page node, weight draw) pairs instead of thousands."""
    return thin(predictive, PAIRS)


def rate_points(few: Predictive, *, draws: int = 512, seed: int = 0) -> Floats:
    """Equally likely points of each row's click rate, rising, [POINTS, N].

    Args:
      few: what `few_of` gives, of N decisions of one candidate.
      draws: of each row's click rate, at least.
      seed: of the draws.

    >>> from recbayes.densities import BetaMixture
    >>> one = BetaMixture(tf.zeros([1, 2, 1, 1]), tf.fill([1, 2, 1, 1], 0.1), tf.fill([1, 2, 1, 1], 9.0))
    >>> rate_points(few_of(Predictive.from_draws(one))).shape
    (100, 2)
    """
    return condense(_drawn(few, draws, seed), POINTS)


def quantile_knots(few: Predictive, *, draws: int = 4096, seed: int = 0) -> Floats:
    """Quantiles of each row's click rate at the levels ndtr(SCORES), from draws, [25, N].

    Args:
      few: what `few_of` gives, of N decisions of one candidate.
      draws: of each row's click rate, at least.
      seed: of the draws.
    """
    return np.quantile(_drawn(few, draws, seed), ndtr(SCORES), axis=0)


def _drawn(few: Predictive, draws: int, seed: int) -> Floats:
    density = tf.nest.map_structure(lambda leaf: leaf[:, 0, :, 0], few.density)  # [PAIRS, N, K]
    drawn = np.asarray(density.sample(tf.constant([seed, 0]), (-(-draws // PAIRS),)), np.float64)
    return drawn.reshape(-1, drawn.shape[-1])
