"""CRPS of the click count against its definition, and the interval of a mean against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recbayes.calibration import crps, mean_interval, scores


def laws(rows: int, points: int, seed: int = 0) -> np.ndarray:
    """Rates near 1% that spread by 70%, as pages do."""
    return np.sort(np.clip(np.random.default_rng(seed).lognormal(np.log(0.012), 0.7, (points, rows)), 0, 0.6), axis=0)


def by_definition(clicks: float, impressions: float, points: np.ndarray) -> float:
    """The sum over every count that there can be."""
    k = np.arange(int(impressions) + 1)
    cdf = stats.binom.cdf(k[:, None], impressions, points).mean(axis=1)
    return float(((cdf - (k >= clicks)) ** 2).sum())


def test_it_is_the_sum_of_its_definition() -> None:
    """Rows of few and many impressions, no click, all clicks, far tails: a skill figure rests on it."""
    impressions = np.array([1.0, 2.0, 50.0, 400.0, 3000.0, 9000.0, 9000.0, 30.0, 5000.0])
    clicks = np.array([0.0, 2.0, 0.0, 5.0, 60.0, 0.0, 900.0, 30.0, 61.0])
    points = laws(len(clicks), 30)
    expected = [by_definition(c, r, points[:, i]) for i, (c, r) in enumerate(zip(clicks, impressions, strict=True))]
    np.testing.assert_allclose(crps(clicks, impressions, points), expected, rtol=1e-8)


def test_rates_near_one_do_not_overflow() -> None:
    """A fit gone wrong says 0 and 1 at once: its score is still the definition's, with no warning of an overflow."""
    points = np.stack([np.full(3, 1e-9), np.full(3, 0.4), np.full(3, 1.0 - 1e-12)])
    impressions, clicks = np.array([10.0, 800.0, 3000.0]), np.array([3.0, 790.0, 0.0])
    expected = [by_definition(c, r, points[:, i]) for i, (c, r) in enumerate(zip(clicks, impressions, strict=True))]
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(crps(clicks, impressions, points), expected, rtol=1e-8)


def test_a_point_prediction_without_noise_scores_its_absolute_error() -> None:
    """Rate 0 or 1: the count is certain."""
    np.testing.assert_allclose(crps(np.array([3.0, 3.0]), np.array([10.0, 10.0]), np.array([[0.0, 1.0]])), [3.0, 7.0], rtol=1e-6)


def test_the_closed_form_for_large_counts_is_as_good_as_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stated error, 1e-3, where it is used: laws that span more than 4,096 counts; and where it would just not be."""
    impressions = np.array([1e5, 3e5, 1e6])
    points = laws(3, 30)
    clicks = np.round(impressions * points[20])
    monkeypatch.setattr(scores, "EXACT", 10**9)
    exact = crps(clicks, impressions, points)
    monkeypatch.setattr(scores, "EXACT", 0)
    np.testing.assert_allclose(crps(clicks, impressions, points), exact, rtol=1e-3)


def test_the_true_law_scores_best() -> None:
    """Proper: wider, narrower and shifted laws score worse on 4,000 rows (their excess is over 5 of its own standard errors)."""
    rng = np.random.default_rng(2)
    points = np.linspace(0.01, 0.03, 40)[:, None] + np.zeros(4000)
    clicks, impressions = rng.binomial(2000, rng.uniform(0.01, 0.03, 4000)).astype(float), np.full(4000, 2000.0)
    right = crps(clicks, impressions, points)
    for wrong in (0.02 + (points - 0.02) * 1.6, 0.02 + (points - 0.02) * 0.5, points + 0.004):
        assert mean_interval(crps(clicks, impressions, wrong) - right)[0] > 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log larger than a block: the same scores."""
    points, impressions = laws(50, 20), np.geomspace(10, 1e6, 50).round()
    clicks = np.floor(impressions * 0.01)
    whole = crps(clicks, impressions, points)
    monkeypatch.setattr(scores, "CELLS", 60)
    np.testing.assert_allclose(crps(clicks, impressions, points), whole, rtol=1e-12)


def test_the_mean_s_interval_counts_groups() -> None:
    """Rows of a group that move together: 95% intervals hold the truth in 93 to 97% of 2,000 logs (alarm 5e-5); by rows in 70%."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 4).astype(np.int32)
    held, by_rows = 0, 0
    for _ in range(2000):
        values = np.repeat(rng.normal(size=60), 4) + 0.3 * rng.normal(size=240)
        low, high = mean_interval(values, clusters)
        held += low <= 0.0 <= high
        low, high = mean_interval(values)
        by_rows += low <= 0.0 <= high
    assert 0.93 < held / 2000 < 0.97
    assert by_rows / 2000 < 0.8
    assert np.isnan(mean_interval(np.array([1.0]))).all()
