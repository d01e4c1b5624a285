"""The logit-normal and the counts that it has seen, against fine grids in float64."""

import numpy as np
import pytest
import tensorflow as tf
from exact import log_counts, on_the_logit
from scipy import stats
from scipy.special import expit, logsumexp

from recbayes.densities import GroupEffect, LogitNormalMixture, logit_normal, logit_normal_mixture
from recbayes.densities.logit_normal import Tilted


def cases(largest, n=400, seed=0):
    """Locations, scales from .001, clicks and impressions up to 1e6; a quarter without clicks, a quarter with too many."""
    rng = np.random.default_rng(seed)
    locations = rng.uniform(-8, 1, n).astype(np.float32).astype(np.float64)
    scales = (10 ** rng.uniform(-3, np.log10(largest), n)).astype(np.float32).astype(np.float64)
    scales[::9] = np.float32(largest)
    impressions = np.round(10 ** rng.uniform(0, 6, n))
    clicks = rng.binomial(impressions.astype(int), expit(locations + scales * rng.normal(size=n))).astype(np.float64)
    clicks[: n // 4] = 0
    clicks[n // 4 : n // 2] = np.minimum(impressions, 2 * clicks + 3)[n // 4 : n // 2]
    clicks[-8:] = impressions[-8:]
    return locations, scales, clicks, impressions


def seen(locations, scales, *portions):
    """Log density of the logit, up to the prior's own constant, after portions of (clicks, impressions, the logit's shift since)."""

    def log_density(x):
        value = stats.norm.logpdf(x - sum(p[2] for p in portions), locations[..., None], scales[..., None])
        since = 0.0
        for clicks, impressions, moved in reversed(portions):
            since += moved
            value = value + log_counts(clicks, impressions, x - since)
        return value

    return log_density


def mixture(locations, scales, dtype=tf.float64):
    """One component a row."""
    return LogitNormalMixture.unseen(*(tf.constant(x[..., None], dtype) for x in (0 * locations, locations, scales)))


def grid(locations, scales, *portions, shift=0.0):
    return on_the_logit(seen(locations, scales, *portions), locations + shift, 60.0 + 0 * locations)


# float32: counts of 1e6 are worth the location's own rounding; where every impression is a click, the rate has lost 1 - p.
@pytest.mark.parametrize(("dtype", "largest", "error"), [("float64", 1.0, 4e-7), ("float64", 1.5, 1e-5), ("float32", 1.5, 1e-4)])
def test_log_marginal_against_quadrature(dtype, largest, error):
    """Acceptance 1: impressions up to 1e6, scales down to .001 (a concentration of 1e6 and more)."""
    locations, scales, clicks, impressions = cases(largest)
    exact = grid(locations, scales, (clicks, impressions, 0.0))[2]
    counts = (tf.constant(x, dtype) for x in (clicks, impressions))
    found = mixture(locations, scales, dtype).log_marginal(*counts).numpy()
    errors = np.abs(found - exact) / np.maximum(np.abs(exact), 1.0)
    assert np.max(errors[(clicks < impressions) | (dtype == "float64")]) < error
    assert np.max(errors) < 1e-3


def test_conditioning_chains():
    """Acceptance 2: two portions one after the other are as probable as one after the other the other way round, and as both together."""
    locations, scales, clicks, impressions = cases(1.5)
    more, shown = np.round(impressions * np.linspace(0, 1, 400) * 0.01), np.round(impressions * np.linspace(3, 0.1, 400)) + 1
    density, counts = mixture(locations, scales), [tf.constant(x) for x in (clicks, impressions, more, shown)]
    one = density.log_marginal(*counts[:2]) + density.condition(*counts[:2]).log_marginal(*counts[2:])
    other = density.log_marginal(*counts[2:]) + density.condition(*counts[2:]).log_marginal(*counts[:2])
    exact = grid(locations, scales, (clicks, impressions, 0.0), (more, shown, 0.0))[2]
    for found in (one, other):
        assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1.0)) < 1e-5
    for a, b in zip(
        density.condition(*counts[:2]).condition(*counts[2:]), density.condition(*counts[2:]).condition(*counts[:2]), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("largest", "share"), [(0.3, 6e-5), (0.6, 5e-4), (1.0, 2e-3), (1.5, 5e-3)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conditioned_law_is_within_the_stated_error(largest, share, dtype):
    """Moments, quantiles and draws once counts are seen: what a policy ranks by."""
    locations, scales, clicks, impressions = cases(largest)
    ordinary = clicks < impressions
    locations, scales, clicks, impressions = (x[ordinary] for x in (locations, scales, clicks, impressions))
    after = mixture(locations, scales, dtype).condition(*(tf.constant(x, dtype) for x in (clicks, impressions)))
    x, weights, _ = grid(locations, scales, (clicks, impressions, 0.0))
    rates = expit(x)
    mean = (weights * rates).sum(-1)
    stddev = np.sqrt((weights * (rates - mean[:, None]) ** 2).sum(-1))
    assert np.max(np.abs(after.mean - mean) / stddev) < (1e-4 if dtype == "float64" else 2e-2)
    np.testing.assert_allclose(after.stddev, stddev, rtol=5e-3 if dtype == "float32" else 1e-4 if largest <= 1.0 else 2e-3)
    below = np.cumsum(weights, -1) - 0.5 * weights
    slack = share + (1e-4 if dtype == "float64" else 5e-3)
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        at = after.quantile(q).numpy().astype(np.float64)
        at = np.log(at) - np.log1p(-at)
        found = np.array([np.interp(*row) for row in zip(at, x, below, strict=True)])
        assert np.max(np.abs(found - q)) < slack


def test_draws_of_the_conditioned_law():
    """Against the quantile function, Kolmogorov's distance over 20 rows of 20,000 draws: alarm 1e-6, sees a share off by .02."""
    locations, scales, clicks, impressions = (x[::20] for x in cases(1.0))
    after = mixture(locations, scales).condition(tf.constant(clicks), tf.constant(impressions))
    drawn = after.sample([3, 4], [20_000]).numpy()
    for q in (0.02, 0.2, 0.5, 0.8, 0.98):
        assert np.max(np.abs((drawn < after.quantile(q).numpy()).mean(0) - q)) < 5.5 * 0.5 / np.sqrt(20_000)


def test_a_shift_is_exact_whatever_was_seen():
    """A page's effect moves the whole law, skewed as it is."""
    locations, scales, clicks, impressions = cases(1.0)
    after = mixture(locations, scales).condition(tf.constant(clicks), tf.constant(impressions)).shift(tf.constant(0.8, tf.float64))
    x, weights, _ = grid(locations, scales, (clicks, impressions, 0.0))
    rates = expit(x + 0.8)
    mean = (weights * rates).sum(-1)
    np.testing.assert_allclose(after.mean, mean, rtol=2e-5)
    np.testing.assert_allclose(after.stddev, np.sqrt((weights * (rates - mean[:, None]) ** 2).sum(-1)), rtol=1e-4)


def test_counts_seen_before_and_after_a_shift_add_up():
    """An item known from elsewhere, on a page with an effect of its own: off by less than 2e-3 standard deviations, and 2e-3 nats."""
    rng = np.random.default_rng(0)
    n, moved = 300, rng.normal(0.0, 0.7, 300)
    locations, scales = rng.uniform(-6, -1, n), rng.uniform(0.1, 0.8, n)
    impressions, shown = (np.round(10 ** rng.uniform(1, 5, n)) for _ in range(2))
    rate = locations + scales * rng.normal(size=n)
    clicks, more = rng.binomial(impressions.astype(int), expit(rate)), rng.binomial(shown.astype(int), expit(rate + moved))
    portions = (clicks.astype(float), impressions, moved[:, None]), (more.astype(float), shown, 0.0)
    before = mixture(locations, scales).condition(tf.constant(portions[0][0]), tf.constant(impressions)).shift(tf.constant(moved))
    after = before.condition(tf.constant(portions[1][0]), tf.constant(shown))
    x, weights, total = grid(locations, scales, *portions, shift=moved)
    first = grid(locations, scales, portions[0])[2]
    mean = (weights * expit(x)).sum(-1)
    stddev = np.sqrt((weights * (expit(x) - mean[:, None]) ** 2).sum(-1))
    assert np.max(np.abs(after.mean - mean) / stddev) < 2e-3
    np.testing.assert_allclose(after.stddev, stddev, rtol=2e-3)
    np.testing.assert_allclose(before.log_marginal(portions[1][0], shown), total - first, atol=2e-3)


def test_gradient_of_a_conditioned_density():
    """In logit and scale, by central differences of the grid."""
    locations, scales, clicks, impressions = (x[200:390:10] for x in cases(1.0))
    more, shown = np.round(0.1 * clicks) + 1, np.round(0.2 * impressions) + 3
    after = mixture(locations, scales).condition(tf.constant(clicks), tf.constant(impressions))
    leaves = [after.logits, after.scales]
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        value = after._replace(logits=leaves[0], scales=leaves[1]).log_marginal(more, shown)
    by_logit, by_scale = (g.numpy()[:, 0] for g in tape.gradient(value, leaves))
    d = 1e-5

    def tilted(moved, wider):
        s = scales * (1 + wider)

        def log_density(x):
            away = x - moved - after.logits.numpy()
            fall = impressions[:, None] * logit_normal.bend(tf.constant(away), after.rates).numpy() * after.impressions.numpy()
            return stats.norm.logpdf(away, 0.0, s[:, None]) - fall / impressions[:, None] + log_counts(more, shown, x)

        return on_the_logit(log_density, locations, 60.0 + 0 * locations)[2]

    np.testing.assert_allclose(by_logit, (tilted(d, 0) - tilted(-d, 0)) / (2 * d), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_scale * scales, (tilted(0, d) - tilted(0, -d)) / (2 * d), rtol=1e-4, atol=1e-4)


def test_group_effect_of_logit_normals_is_a_grids():
    """The page's effect over the rows' quadrature, within 1e-3 nats a group."""
    rng = np.random.default_rng(1)
    groups, rows, tau = 8, 4, 0.65
    segments = np.repeat(np.arange(groups), rows).astype(np.int32)
    locations, scales = rng.normal(-4.2, 0.2, groups * rows), rng.uniform(0.1, 0.4, groups * rows)
    impressions = rng.integers(500, 5000, groups * rows).astype(float)
    clicks = rng.binomial(impressions.astype(int), expit(locations + tau * rng.normal(size=groups)[segments])).astype(float)
    u = tau * np.linspace(-6, 6, 97)
    x = locations[:, None] + scales[:, None] * np.linspace(-9, 9, 801)
    prior = stats.norm.logpdf(x, locations[:, None], scales[:, None]) + np.log(x[:, 1:2] - x[:, :1])
    each = np.stack([logsumexp(prior + log_counts(clicks, impressions, x + v), axis=1) for v in u], -1)  # [N, Q]
    joint = np.stack([np.bincount(segments, column) for column in each.T], -1) + stats.norm.logpdf(u, 0, tau)
    exact = logsumexp(joint, axis=1) + np.log(u[1] - u[0])
    found = GroupEffect(tf.constant(tau, tf.float64)).log_marginal(mixture(locations, scales), clicks, impressions, segments, groups)
    np.testing.assert_allclose(found, exact, atol=1e-3)


@pytest.mark.parametrize(("mean", "concentration"), [(0.02, 500.0), (0.3, 10.0), (0.001, 3000.0), (0.5, 4.0)])
def test_start_has_the_betas_mean(mean, concentration):
    """And nearly its spread; where that is out of reach, the widest there is."""
    density = logit_normal_mixture(1).density(tf.constant(logit_normal_mixture(1).start_at(mean, concentration)))
    np.testing.assert_allclose(density.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(density.stddev, np.sqrt(mean * (1 - mean) / (concentration + 1)), rtol=0.35)


def test_nothing_seen_is_a_normal():
    """r = 0: score and moments are the normal's own."""
    one = Tilted(*(tf.constant(x, tf.float64) for x in (-3.0, 0.8, 0.0, 0.2)))
    d = tf.constant([-2.0, -0.01, 0.0, 0.3, 3.0], tf.float64)
    np.testing.assert_allclose(logit_normal.score(Tilted(*(leaf + 0 * d for leaf in one)))(d)[0], d / 0.8, atol=1e-12)
    t, weights = np.polynomial.hermite_e.hermegauss(100)
    mean = (weights @ expit(-3.0 + 0.8 * t)) / weights.sum()
    np.testing.assert_allclose(logit_normal.moments(one)[0], mean, rtol=1e-7)
