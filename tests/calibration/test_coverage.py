"""Coverage and PIT on simulated logs whose law is known (acceptance 8)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from recbayes.calibration.coverage import LEVELS, coverage, coverage_by, covered, deciles, share_interval
from recbayes.calibration.pit import histogram, pit

ROWS = 4000


def simulated(spread: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
    """PIT values of a log of counts from beta rates; the predictions' spread is the true one times `spread`.

    Impressions run from 5 (mostly zero clicks: all ties) to 20,000.
    """
    rng = np.random.default_rng(seed)
    impressions = np.geomspace(5, 20_000, ROWS).round()
    mean, concentration = rng.uniform(0.005, 0.03, ROWS), 300.0
    clicks = rng.binomial(impressions.astype(int), rng.beta(mean * concentration, (1 - mean) * concentration)).astype(float)
    told = (concentration + 1) / spread**2 - 1
    points = (np.arange(200)[:, None] + 0.5) / 200
    return pit(clicks, impressions, stats.beta.ppf(points, mean * told, (1 - mean) * told), seed=seed)


def test_right_predictions_are_covered_as_often_as_they_say() -> None:
    """Within binomial error at all levels. Alarm 4e-6 over the four levels (z < 4.9); sees a coverage off by 3 points with power > 0.99."""
    shares = coverage(simulated())
    assert list(shares) == [str(level) for level in LEVELS]
    for level in LEVELS:
        assert abs(shares[str(level)] - level) < 4.9 * np.sqrt(level * (1 - level) / ROWS)


def test_right_predictions_have_a_flat_pit() -> None:
    """Chi^2 of 20 bins: alarm 1e-6."""
    counts = histogram(simulated(), bins=20)
    assert counts.sum() == ROWS
    assert stats.chi2.sf(np.sum((counts - ROWS / 20) ** 2) / (ROWS / 20), 19) > 1e-6


def test_too_narrow_and_too_wide_predictions_are_seen() -> None:
    """A spread told 30% too small or too large moves the 90% coverage past its error: what the figure is for."""
    assert coverage(simulated(0.7))["0.9"] < 0.88
    assert coverage(simulated(1.4))["0.9"] > 0.92


def test_coverage_holds_in_every_decile_of_impressions() -> None:
    """Each tenth by itself. Alarm 2e-5 over ten tenths (z < 4.8)."""
    parts = coverage_by(simulated(seed=3), deciles(np.geomspace(5, 20_000, ROWS)), level=0.9)
    assert parts.part.tolist() == list(range(10))
    assert (parts.rows == ROWS / 10).all()
    assert (np.abs(parts.coverage - 0.9) < 4.8 * np.sqrt(0.09 / (ROWS / 10))).all()


def test_the_interval_of_a_share_holds_it_when_rows_move_together() -> None:
    """95% intervals over 400 simulated logs of 150 groups of 6 rows that agree: counting groups covers, counting rows does not.

    Alarm 1e-5 (coverage of 400 logs below 0.95 by 4.3 binomial sd); the interval that counts rows holds the truth in under 70%.
    """
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(150), 6)
    held = np.zeros(2)
    for _ in range(400):
        hits = np.repeat(rng.random(150) < 0.9, 6)
        for i, ids in enumerate((clusters, None)):
            low, high = share_interval(hits, ids)
            held[i] += low <= 0.9 <= high
    assert held[0] / 400 > 0.95 - 4.3 * np.sqrt(0.95 * 0.05 / 400)
    assert held[1] / 400 < 0.7


def test_the_interval_of_a_certain_share_is_not_a_point() -> None:
    """All of 50 rows covered does not mean 100%; no rows is no answer."""
    low, high = share_interval(np.ones(50, bool), np.arange(50))
    assert 0.9 < low < 0.96
    assert high == 1.0
    assert np.isnan(share_interval(np.zeros(0, bool))).all()


def test_coverage_by_a_column_keeps_every_row() -> None:
    """Nulls are a part of their own, not lost."""
    values = np.array([0.5, 0.5, 0.001, 0.5])
    parts = coverage_by(values, ["a", None, "b", "a"], level=0.9)
    assert parts.rows.sum() == 4
    assert parts.set_index("part").coverage["b"] == 0.0


def test_deciles_are_equal_even_with_ties() -> None:
    """Impressions repeat; a tenth is still a tenth."""
    assert np.bincount(deciles(np.repeat([3.0, 7.0], 50))).tolist() == [10] * 10


@pytest.mark.parametrize(("value", "level", "inside"), [(0.05, 0.9, True), (0.0499, 0.9, False), (0.75, 0.5, True), (0.751, 0.5, False)])
def test_the_central_interval_is_meant(value: float, level: float, inside: bool) -> None:
    """Not one-sided."""
    assert bool(covered(np.array([value]), level)[0]) is inside


def test_ties_are_broken_by_the_seed() -> None:
    """Same seed, same figures in the report; another seed, other ties."""
    assert np.array_equal(simulated(seed=1), simulated(seed=1))
    draws = np.full((3, 5), 0.01)
    assert not np.array_equal(pit(np.zeros(5), np.full(5, 10.0), draws, seed=0), pit(np.zeros(5), np.full(5, 10.0), draws, seed=1))
