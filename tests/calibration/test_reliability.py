"""Reliability's bins and intervals, and sharpness."""

from __future__ import annotations

import numpy as np
import pytest

from recbayes.calibration.reliability import reliability, sharpness


def test_bins_share_out_all_rows_and_rise() -> None:
    """A bin lost or counted twice would shift the curve."""
    rng = np.random.default_rng(0)
    mean, impressions = rng.uniform(0.005, 0.03, 997), rng.integers(100, 5000, 997).astype(float)
    clicks = rng.binomial(impressions.astype(int), mean).astype(float)
    bins = reliability(clicks, impressions, mean)
    assert sum(b["rows"] for b in bins) == 997
    assert sum(b["observed"] * b["impressions"] for b in bins) == pytest.approx(clicks.sum())
    assert np.all(np.diff([b["predicted"] for b in bins]) > 0)


def test_the_interval_holds_the_rate_when_pages_differ() -> None:
    """95% intervals over 300 logs of 100 groups that share an effect.

    Alarm 1e-5 (4.3 binomial sd under .93: .02 for 100 skewed groups being few); one that counts rows holds it in under 80%.
    """
    rng = np.random.default_rng(2)
    clusters, impressions, held = np.repeat(np.arange(100), 5), np.full(500, 1000.0), 0
    for _ in range(300):
        page = np.exp(rng.normal(-0.125, 0.5, 100))[clusters]
        clicks = rng.binomial(1000, 0.01 * page).astype(float)
        (record,) = reliability(clicks, impressions, np.full(500, 0.01), bins=1, clusters=clusters)
        held += record["lower"] <= 0.01 <= record["upper"]
    assert held / 300 > 0.93 - 4.3 * np.sqrt(0.95 * 0.05 / 300)


def test_fewer_rows_than_bins() -> None:
    """A tiny log gives as many bins as rows, not empty ones."""
    assert len(reliability(np.array([1.0, 2.0]), np.array([10.0, 10.0]), np.array([0.1, 0.2]))) == 2


def test_sharpness_is_relative() -> None:
    """Doubling every rate and spread changes nothing."""
    rows = np.array([[0.02, 0.01], [0.003, 0.002], [0.001, 0.001], [0.01, 0.006], [0.03, 0.02]])
    assert sharpness(*rows) == pytest.approx(sharpness(*(2 * rows)))
    assert 0 < sharpness(*rows)["model_share"] < 0.5


def test_a_point_has_no_share_of_doubt() -> None:
    """A point density under map has no spread at all: NaN would make calibration.json unreadable for a strict reader."""
    assert sharpness(*np.array([[0.02], [0.0], [0.0], [0.02], [0.02]]))["model_share"] == 0.0
