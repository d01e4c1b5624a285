"""Fits without features: they find what was planted, and they score a test log."""

from types import SimpleNamespace

import numpy as np
import pytest
from exact import groups_on_a_grid
from scipy import stats
from scipy.special import expit, logit

from recbayes.densities import baselines


@pytest.fixture(scope="module")
def log():
    """1,500 pages of 4 rows: rate .014, concentration 1,200, tau .65."""
    rng = np.random.default_rng(0)
    segments = np.repeat(np.arange(1500), 4)
    mean = expit(logit(0.014) + 0.65 * rng.normal(size=1500))[segments]
    rate = rng.beta(1200 * mean, 1200 * (1 - mean))
    impressions = rng.integers(2000, 5000, 6000).astype(float)
    return SimpleNamespace(
        clicks=rng.binomial(impressions.astype(int), rate).astype(float), impressions=impressions, segments=(segments, 1500), group=segments
    )


def test_page_effect_recovers_what_was_planted(log):
    """5 standard errors: alarm 1e-6."""
    mean, concentration, tau = baselines.page_effect(log.clicks, log.impressions, log.segments[0])
    assert abs(logit(mean) - logit(0.014)) < 0.09
    assert abs(np.log(concentration / 1200)) < 0.25
    assert abs(tau - 0.65) < 0.065


def test_beta_binomial_is_at_its_maximum(log):
    mean, concentration = baselines.beta_binomial(log.clicks, log.impressions)

    def score(m, n):
        return stats.betabinom.logpmf(log.clicks, log.impressions, m * n, (1 - m) * n).sum()

    best = score(mean, concentration)
    for m, n in ((mean * 1.01, concentration), (mean / 1.01, concentration), (mean, concentration * 1.02), (mean, concentration / 1.02)):
        assert score(m, n) < best


def test_held_out_scores(log):
    """Binomial coefficients included, page effect joint over pages: what calibration.json compares the network with."""
    found = baselines.held_out(log, log)
    rows = len(log.clicks)
    rate = baselines.constant(log.clicks, log.impressions)
    assert np.isclose(found["constant"], stats.binom.logpmf(log.clicks, log.impressions, rate).mean())
    mean, concentration = baselines.beta_binomial(log.clicks, log.impressions)
    exact = stats.betabinom.logpmf(log.clicks, log.impressions, mean * concentration, (1 - mean) * concentration).mean()
    assert np.isclose(found["beta_binomial"], exact)
    mean, concentration, tau = baselines.page_effect(log.clicks, log.impressions, log.segments[0])
    one = [np.full((rows, 1), x) for x in (0.0, mean, concentration)]
    exact = groups_on_a_grid(one, tau, log.clicks, log.impressions, log.segments[0])[0].sum() / rows
    assert np.isclose(found["page_effect"], exact, atol=1e-4)
    assert found["constant"] < found["beta_binomial"] < found["page_effect"]


def test_without_groups_there_is_no_page_effect(log):
    flat = SimpleNamespace(clicks=log.clicks, impressions=log.impressions, group=None)
    assert set(baselines.held_out(flat, flat)) == {"constant", "beta_binomial"}


def test_a_log_without_clicks_has_a_rate_above_zero():
    assert 0.0 < baselines.constant([0, 0], [10, 20]) < 0.03
    mean, concentration = baselines.beta_binomial([0, 0], [10, 20])
    assert 0.0 < mean < 0.05
    assert concentration > 0.0


def test_scores_by_group_are_those_of_all(log):
    """The gain's interval pairs groups: their scores must sum to the stated figure."""
    fits = baselines.fits(log)
    by_group, whole = baselines.by_group(fits, log), baselines.held_out(log, log)
    for name, groups in by_group.items():
        assert len(groups) == log.segments[0].max() + 1
        assert np.isclose(groups.sum() / len(log.clicks), whole[name])


def test_points_have_the_law_s_quantiles():
    """CRPS of a baseline rests on them: a beta's own quantiles, and a page effect's mean and spread by simulation (within 2%)."""
    levels = (np.arange(100) + 0.5) / 100
    assert np.allclose(baselines.points((0.02, 300.0)).ravel(), stats.beta.ppf(levels, 6.0, 294.0), rtol=1e-6)
    assert baselines.points((0.013,)).tolist() == [[0.013]]
    rng = np.random.default_rng(0)
    means = 1 / (1 + np.exp(-(np.log(0.02 / 0.98) + 0.6 * rng.normal(size=400_000))))
    rates = rng.beta(1200 * means, 1200 * (1 - means))
    found = baselines.points((0.02, 1200.0, 0.6), 400).ravel()
    assert np.isclose(found.mean(), rates.mean(), rtol=0.02)
    assert np.allclose(np.quantile(found, [0.05, 0.5, 0.95]), np.quantile(rates, [0.05, 0.5, 0.95]), rtol=0.02)
