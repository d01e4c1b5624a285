"""Predictions held against what was observed: counts' law, PIT, coverage, reliability, sharpness."""

from recbayes.calibration.calibrate import calibrate
from recbayes.calibration.counts import condense, count_cdf, count_quantile
from recbayes.calibration.coverage import coverage, coverage_by, covered, deciles, share_interval
from recbayes.calibration.pit import histogram, pit
from recbayes.calibration.reliability import reliability, sharpness

__all__ = [
    "calibrate",
    "condense",
    "count_cdf",
    "count_quantile",
    "coverage",
    "coverage_by",
    "covered",
    "deciles",
    "histogram",
    "pit",
    "reliability",
    "share_interval",
    "sharpness",
]
