"""Predictions held against what was observed: counts' law, PIT, coverage, reliability, sharpness, scores; and their recalibration."""

from recbayes.calibration.calibrate import calibrate
from recbayes.calibration.counts import condense, count_cdf, count_quantile
from recbayes.calibration.coverage import coverage, coverage_by, covered, deciles, share_interval
from recbayes.calibration.pit import histogram, pit
from recbayes.calibration.recalibration import Recalibration, fit_map
from recbayes.calibration.reliability import reliability, sharpness
from recbayes.calibration.scores import crps, mean_interval

__all__ = [
    "Recalibration",
    "calibrate",
    "condense",
    "count_cdf",
    "count_quantile",
    "coverage",
    "coverage_by",
    "covered",
    "crps",
    "deciles",
    "fit_map",
    "histogram",
    "mean_interval",
    "pit",
    "reliability",
    "share_interval",
    "sharpness",
]
