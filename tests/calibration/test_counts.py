"""The law of the count: if it is off, every interval and every coverage figure of a report is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from recbayes.calibration.counts import condense, count_cdf, count_quantile


def lognormal_draws(rows: int, draws: int, seed: int = 0) -> NDArray[np.float64]:
    """Rates near 1% that spread by 70%, as pages do."""
    return np.clip(np.random.default_rng(seed).lognormal(np.log(0.012), 0.7, (draws, rows)), 0, 0.6)


def test_cdf_is_the_mean_of_binomial_cdfs() -> None:
    """Against scipy's binomial, at counts below, inside and beyond the range."""
    draws = lognormal_draws(5, 40)
    impressions = np.array([1.0, 10.0, 500.0, 3000.0, 1e6])
    for count in (-1.0, 0.0, 1.0, 7.0, 400.0, 1e6):
        expected = stats.binom.cdf(count, impressions, draws).mean(axis=0)
        np.testing.assert_allclose(count_cdf(np.full(5, count), impressions, draws), expected, rtol=1e-9, atol=1e-12)


def test_rates_of_zero_and_one_are_no_trouble() -> None:
    """A mean-field or point model may draw a rate that rounds to 0."""
    answer = count_cdf(np.array([0.0, 0.0]), np.array([10.0, 10.0]), np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(answer, [1.0, 0.0], atol=1e-9)


def test_cdf_against_the_beta_binomial() -> None:
    """Many draws of a beta reproduce the closed form: alarm 1e-6 (5 sd of 0.5/sqrt(n) over 4 rows); sees an off-by-one in the count."""
    draws = np.random.default_rng(1).beta(3.0, 200.0, (200_000, 4))
    counts, impressions = np.array([0.0, 2.0, 10.0, 40.0]), np.array([20.0, 200.0, 500.0, 2000.0])
    np.testing.assert_allclose(
        count_cdf(counts, impressions, draws), stats.betabinom.cdf(counts, impressions, 3.0, 200.0), atol=5 * 0.5 / np.sqrt(200_000)
    )


def test_condensed_draws_answer_as_all_of_them() -> None:
    """The shortcut's stated error: 2e-3 in the CDF anywhere in the count's range, whatever the impressions."""
    draws = lognormal_draws(60, 4000)
    impressions = np.geomspace(20, 50_000, 60).round()
    few = condense(draws, 100)
    assert few.shape == (100, 60)
    np.testing.assert_allclose(few.mean(axis=0), draws.mean(axis=0), rtol=1e-12)
    for level in (0.01, 0.05, 0.5, 0.95, 0.99):
        counts = np.floor(impressions * np.quantile(draws, level, axis=0))
        assert np.abs(count_cdf(counts, impressions, few) - count_cdf(counts, impressions, draws)).max() < 2e-3


def test_condense_takes_a_number_that_does_not_divide() -> None:
    """Blocks of 10/4 draws: the mean is kept, the order is rising."""
    draws = np.random.default_rng(0).random((10, 3))
    few = condense(draws, 4)
    np.testing.assert_allclose(few.mean(axis=0), draws.mean(axis=0))
    assert (np.diff(few, axis=0) >= 0).all()


@pytest.mark.parametrize("level", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_quantiles_are_the_smallest_counts_that_reach_the_level(level: float) -> None:
    """By definition, and for rows with one impression, rates near 0 and rates near 1."""
    draws = np.concatenate([lognormal_draws(40, 200), np.full((200, 1), 1e-9), np.full((200, 1), 1 - 1e-9)], axis=1)
    impressions = np.concatenate([np.geomspace(1, 1e5, 40).round(), [50.0, 50.0]])
    (answer,) = count_quantile([level], impressions, draws)
    assert (count_cdf(answer, impressions, draws) >= level).all()
    assert (count_cdf(answer - 1, impressions, draws) < level).all()


def test_quantiles_of_no_draws_spread_are_the_binomial_s() -> None:
    """One rate: scipy's own quantiles."""
    (answer,) = count_quantile([0.9], np.array([1000.0]), np.full((3, 1), 0.02))
    assert answer[0] == stats.binom.ppf(0.9, 1000, 0.02)


def test_a_level_outside_is_refused() -> None:
    """A percentage instead of a share is the likely slip."""
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        count_quantile([90], np.array([10.0]), np.array([[0.1]]))
