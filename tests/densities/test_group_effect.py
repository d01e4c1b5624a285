"""The page effect: its quadrature against fine grids, its posterior, its gradient."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exact import beta_binomial, groups_on_a_fine_grid, groups_on_a_grid, log_choose
from scipy.special import expit, logit, logsumexp

import recbayes
from recbayes import densities
from recbayes.densities import BetaMixture, GroupEffect

TAU = 0.664
UPWORTHY = Path(recbayes.__file__).parent / "log" / "examples" / "upworthy.parquet"


@pytest.fixture(scope="module")
def upworthy():
    """Clicks, impressions, segments of all 3,898 tests."""
    frame = pd.read_parquet(UPWORTHY, columns=["clickability_test_id", "clicks", "impressions"])
    segments = pd.factorize(frame.clickability_test_id)[0].astype(np.int32)
    return frame.clicks.to_numpy(np.float64), frame.impressions.to_numpy(np.float64), segments


def mixtures(rows, components, *, spread=0.25, width=1.0, seed=0):
    """About the feature-free fit: log rates and log concentrations differ from it by `spread` and `width`."""
    rng = np.random.default_rng(seed)
    means = expit(logit(0.0141) + spread * rng.normal(size=(rows, components)))
    concentrations = 1360 * np.exp(width * rng.normal(size=(rows, components)))
    return BetaMixture(np.log(rng.dirichlet(np.ones(components), rows)), means, concentrations)


def tensors(density, dtype=tf.float64):
    return BetaMixture(*(tf.constant(leaf, dtype) for leaf in density))


def log_marginal(density, tau, clicks, impressions, segments, dtype=tf.float64):
    run = tf.function(GroupEffect(tf.constant(tau, dtype)).log_marginal, autograph=False)
    return run(tensors(density, dtype), clicks, impressions, tf.constant(segments), int(segments.max()) + 1).numpy()


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_all_upworthy_tests_against_401_points(upworthy, dtype):
    """Acceptance: within 1e-3 nats a group. Fixed Gauss-Hermite nodes miss by up to 8."""
    clicks, impressions, segments = upworthy
    assert segments.max() + 1 == 3898
    density = mixtures(len(clicks), 2)
    exact = groups_on_a_grid(density, TAU, clicks, impressions, segments)[0]
    error = np.abs(log_marginal(density, TAU, clicks, impressions, segments, dtype) - exact)
    assert error.max() < 1e-3
    assert error.mean() < 1e-5


@pytest.mark.parametrize(("components", "tau"), [(1, TAU), (3, TAU), (4, TAU), (1, 0.2), (2, 2.0)])
def test_any_number_of_components_and_any_tau(upworthy, components, tau):
    clicks, impressions, segments = (x[:1000] for x in upworthy)
    density = mixtures(1000, components)
    exact = groups_on_a_fine_grid(density, tau, clicks, impressions, segments)
    assert np.abs(log_marginal(density, tau, clicks, impressions, segments) - exact).max() < 1e-3


def test_several_modes(upworthy):
    """Components a factor e apart within a row: where a search for one mode is off by hundreds of nats, few groups are, and by little."""
    clicks, impressions, segments = (x[:2000] for x in upworthy)
    density = mixtures(2000, 2, spread=1.0, width=1.5)
    exact = groups_on_a_fine_grid(density, TAU, clicks, impressions, segments)
    error = np.abs(log_marginal(density, TAU, clicks, impressions, segments) - exact)
    assert (error > 1e-3).mean() < 0.03
    assert error.max() < 0.05


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_huge_counts_no_clicks_and_groups_of_one_row(dtype):
    """Impressions and concentrations up to 1e6: the posterior is then a thousandth of the prior's width."""
    rng = np.random.default_rng(3)
    segments = np.concatenate([np.repeat(np.arange(30), 5), np.arange(30, 130)]).astype(np.int32)
    rows = len(segments)
    impressions = np.round(10 ** rng.uniform(0, 6, rows))
    clicks = rng.binomial(impressions.astype(int), expit(rng.normal(-3, 1, rows))).astype(float)
    clicks[segments < 4], impressions[:10] = 0, 0
    density = BetaMixture(np.zeros((rows, 1)), expit(rng.normal(-3, 1, (rows, 1))), 10 ** rng.uniform(1, 6, (rows, 1)))
    exact = groups_on_a_fine_grid(density, 1.0, clicks, impressions, segments)
    error = np.abs(log_marginal(density, 1.0, clicks, impressions, segments, dtype) - exact)
    assert error.max() < 1e-3


def test_groups_without_rows_or_impressions_have_log_probability_zero():
    density = tensors(mixtures(3, 2), tf.float32)
    found = GroupEffect(tf.constant(0.5)).log_marginal(density, tf.zeros(3), tf.zeros(3), tf.constant([0, 0, 3]), 5)
    np.testing.assert_allclose(found, 0.0, atol=1e-5)


def test_a_tiny_tau_is_no_page_effect(upworthy):
    clicks, impressions, segments = (x[:200] for x in upworthy)
    density = mixtures(200, 2)
    rows = tensors(density).log_marginal(clicks, impressions).numpy()
    np.testing.assert_allclose(log_marginal(density, 1e-4, clicks, impressions, segments), np.bincount(segments, rows), atol=1e-3)


def test_leading_axes_are_weight_draws(upworthy):
    """[S, R, N, K] gives each draw what it gives it alone."""
    clicks, impressions, segments = (x[:100] for x in upworthy)
    draws = [[mixtures(100, 2, seed=3 * s + r) for r in range(3)] for s in range(2)]
    stacked = BetaMixture(*(np.array([[draw[i] for draw in row] for row in draws]) for i in range(3)))
    found = log_marginal(stacked, TAU, clicks, impressions, segments)
    assert found.shape == (2, 3, segments.max() + 1)
    np.testing.assert_allclose(found[1, 2], log_marginal(draws[1][2], TAU, clicks, impressions, segments), atol=1e-10)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_gradient_is_the_derivative_of_the_exact_integral(upworthy, dtype):
    """Though the nodes are constants to it."""
    clicks, impressions, segments = (x[:60] for x in upworthy)
    density, groups = mixtures(60, 2), int(segments.max()) + 1

    def exact(shift, factor, tau):
        moved = density._replace(means=expit(logit(density.means) + shift), concentrations=density.concentrations * np.exp(factor))
        return groups_on_a_grid(moved, TAU * np.exp(tau), clicks, impressions, segments)[0].sum()

    moves = [tf.constant(0.0, dtype) for _ in range(3)]
    with tf.GradientTape() as tape:
        tape.watch(moves)
        moved = tensors(density, dtype).shift(moves[0])
        moved = moved._replace(concentrations=moved.concentrations * tf.exp(moves[1]))
        effect = GroupEffect(tf.constant(TAU, dtype) * tf.exp(moves[2]))
        value = tf.reduce_sum(effect.log_marginal(moved, clicks, impressions, tf.constant(segments), groups))
    found = [float(x) for x in tape.gradient(value, moves)]
    steps = 1e-4 * np.eye(3)
    differences = [(exact(*step) - exact(*-step)) / 2e-4 for step in steps]
    np.testing.assert_allclose(found, differences, rtol=2e-3, atol=2e-2)


def test_conditioning_chains_over_the_rows_of_a_group(upworthy):
    """Acceptance 2 for groups: some rows first, the others after, in either order, make the joint."""
    clicks, impressions, segments = (x[:80] for x in upworthy)
    density, effect = tensors(mixtures(80, 2)), GroupEffect(tf.constant(TAU, tf.float64))
    groups, first = int(segments.max()) + 1, np.arange(80) % 2
    joint = effect.log_marginal(density, clicks, impressions, segments, groups)
    for mask in (first, 1 - first):
        seen, unseen = (clicks * mask, impressions * mask), (clicks * (1 - mask), impressions * (1 - mask))
        together = effect.log_marginal(density, *seen, segments, groups) + predicted(effect, density, seen, unseen, segments)
        np.testing.assert_allclose(together, joint, rtol=5e-5)  # the posterior's nodes end where it is e^-10 of its peak


@pytest.mark.parametrize(
    "family",
    [densities.beta_mixture(2), densities.gaussian_mixture(2), densities.logit_normal_mixture(2), densities.point()],
    ids=lambda f: f.name,
)
def test_conditioning_chains_over_time(upworthy, family):
    """Acceptance 2 for groups, every family: two thirds of the counts and then the rest, in either order, are as probable."""
    clicks, impressions, segments = (x[:80] for x in upworthy)
    some = (np.ceil(clicks * 0.6), np.round(impressions * 0.6))
    others = (clicks - some[0], impressions - some[1])
    assert others[0].min() > 0
    effect, groups = GroupEffect(tf.constant(0.6, tf.float64)), int(segments.max()) + 1
    outputs = family.start_at(0.014, 1360.0) + 0.2 * np.random.default_rng(0).normal(size=(80, family.size))
    density = family.density(tf.constant(outputs))
    one, other = (
        effect.log_marginal(density, *first, segments, groups) + predicted(effect, density, first, second, segments)
        for first, second in ((some, others), (others, some))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)
    if family.name != "gaussian_mixture":  # whose noise of two portions is not that of their sum
        ways = log_choose(clicks, impressions) - log_choose(*some) - log_choose(*others)
        joint = effect.log_marginal(density, clicks, impressions, segments, groups) - np.bincount(segments, ways)
        np.testing.assert_allclose(one, joint, rtol=1e-5)


def predicted(effect, density, seen, unseen, segments):
    """Log probability of the unseen counts once the seen ones are known, [G]."""
    groups = int(segments.max()) + 1
    posterior = effect.condition(density, *seen, segments, groups)
    rows = posterior.density.log_marginal(*unseen).numpy()  # [Q, N]
    each = np.array([np.bincount(segments, row, groups) for row in rows])
    return logsumexp(posterior.log_weights.numpy() + each, axis=0)


def test_posterior_of_rows_against_a_grid(upworthy):
    """Mean and variance of each row's rate once all counts of its group are seen; every draw with node weights of its own."""
    clicks, impressions, segments = (x[:60] for x in upworthy)
    draws = [mixtures(60, 2, spread=0.4, seed=s) for s in range(2)]
    stacked = BetaMixture(*(np.array([draw[i] for draw in draws]) for i in range(3)))
    effect = GroupEffect(tf.constant(TAU, tf.float64))
    posterior = effect.condition(tensors(stacked), clicks, impressions, tf.constant(segments), int(segments.max()) + 1)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(posterior.log_weights), 0), 1.0, rtol=1e-9)
    weights = np.exp(posterior.log_weights.numpy())[..., segments]  # [Q, S, N]
    means, variances = posterior.density.mean.numpy(), posterior.density.variance.numpy()
    found = (weights * means).sum(0)
    found_variance = (weights * (variances + (means - found) ** 2)).sum(0)
    for s, draw in enumerate(draws):
        mean, variance = rows_on_a_grid(draw, clicks, impressions, segments)
        np.testing.assert_allclose(found[s], mean, rtol=1e-5)
        np.testing.assert_allclose(found_variance[s], variance, rtol=1e-4)


def rows_on_a_grid(density, clicks, impressions, segments):
    """Posterior mean and variance of each row's rate, on 401 points of the effect."""
    _, u, log_f = groups_on_a_grid(density, TAU, clicks, impressions, segments)
    nodes = np.exp(log_f - logsumexp(log_f, axis=1, keepdims=True))[segments]  # [N, 401]
    means = expit(logit(density.means)[:, None] + u[segments][..., None])  # [N, 401, K]
    counts = (clicks[:, None, None], impressions[:, None, None])
    log_weights = density.log_weights[:, None] + beta_binomial(means, density.concentrations[:, None], *counts)
    weights = nodes[..., None] * np.exp(log_weights - logsumexp(log_weights, axis=2, keepdims=True))
    after = density.concentrations[:, None] + counts[1]
    means = (density.concentrations[:, None] * means + counts[0]) / after
    mean = (weights * means).sum((1, 2))
    variance = means * (1 - means) / (after + 1) + (means - mean[:, None, None]) ** 2
    return mean, (weights * variance).sum((1, 2))


def test_grid_is_the_prior():
    nodes, log_weights = GroupEffect(tf.constant(0.7)).grid(33)
    weights, nodes = np.exp(log_weights), nodes.numpy()
    assert nodes.shape == (33,)
    np.testing.assert_allclose([weights.sum(), (weights * nodes).sum(), (weights * nodes**2).sum()], [1.0, 0.0, 0.49], atol=2e-4)


def test_compiled_is_the_same(upworthy):
    clicks, impressions, segments = (x[:100] for x in upworthy)
    density, groups = tensors(mixtures(100, 2), tf.float32), int(segments.max()) + 1

    def loss(means, tau):
        with tf.GradientTape() as tape:
            tape.watch((means, tau))
            effect = GroupEffect(tau)
            value = tf.reduce_sum(effect.log_marginal(density._replace(means=means), clicks, impressions, tf.constant(segments), groups))
        return value, *tape.gradient(value, (means, tau))

    compiled = tf.function(loss, jit_compile=True, autograph=False)
    for one, other in zip(loss(density.means, tf.constant(TAU)), compiled(density.means, tf.constant(TAU)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
