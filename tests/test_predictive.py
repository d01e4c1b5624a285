"""Predictive: the law of total variance, joint draws, contrasts, quantiles, padding."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes import densities
from recbayes.densities import BetaMixture, GroupEffect, Point
from recbayes.predictive import Predictive

Q, S, R, B, A, K = 3, 4, 2, 5, 6, 2


def some(seed=0, dtype=tf.float32, concentration=300.0):
    """A predictive with every axis, uneven weights, and padding: [Q, S, R, B, A, K]."""
    rng = np.random.default_rng(seed)
    shape = (Q, S, R, B, A, K)
    means = 1 / (1 + np.exp(3 - 0.5 * rng.normal(size=shape)))
    leaves = np.log(rng.dirichlet(np.ones(K), shape[:-1])), means, concentration * np.exp(rng.normal(size=shape))
    nodes = np.moveaxis(rng.dirichlet(np.ones(Q), (S, R, B)), -1, 0)
    present = rng.random((R, B, A)) < 0.7
    present[..., 0] = True
    density = BetaMixture(*(tf.constant(x, dtype) for x in leaves))
    weights = rng.dirichlet(np.ones(S))
    return Predictive(density, tf.constant(np.log(nodes), dtype), tf.constant(np.log(weights), dtype), tf.constant(present))


def pairs(predictive):
    """Weights [Q, S, ..., B, 1] of all (node, draw) pairs."""
    nodes, draws = predictive.node_log_weights.numpy(), predictive.draw_log_weights.numpy()
    return np.exp(nodes + draws.reshape(-1, *[1] * (nodes.ndim - 2))).astype(float)[..., None]


def shown(predictive, values):
    return np.where(predictive.present, values, 0.0)


def test_law_of_total_variance_is_exact():
    """data^2 + model^2 is the variance of the whole mixture, and model^2 that of the draws' means."""
    predictive = some(dtype=tf.float64)
    means, variances, weights = predictive.density.mean.numpy(), predictive.density.variance.numpy(), pairs(predictive)
    mean = (weights * means).sum((0, 1))
    variance = (weights * (variances + (means - mean) ** 2)).sum((0, 1))
    draws = (np.exp(predictive.node_log_weights)[..., None] * means).sum(0)  # [S, R, B, A]
    draw_weights = np.exp(predictive.draw_log_weights)[:, None, None, None]
    model = (draw_weights * (draws - mean) ** 2).sum(0)
    np.testing.assert_allclose(predictive.mean, shown(predictive, mean), rtol=1e-9)
    np.testing.assert_allclose(predictive.stddev, shown(predictive, np.sqrt(variance)), rtol=1e-9)
    data_stddev, model_stddev = predictive.split()
    np.testing.assert_allclose(model_stddev, shown(predictive, np.sqrt(model)), rtol=1e-9)
    np.testing.assert_allclose(data_stddev, shown(predictive, np.sqrt(variance - model)), rtol=1e-9)


def test_measurement_stddev_is_the_binomials():
    predictive = some(dtype=tf.float64)
    means, variances = predictive.density.mean.numpy(), predictive.density.variance.numpy()
    expected = (pairs(predictive) * (means - variances - means**2)).sum((0, 1))
    np.testing.assert_allclose(predictive.measurement_stddev(50.0), shown(predictive, np.sqrt(expected / 50)), rtol=1e-9)


def test_draws_have_its_mean_stddev_and_quantiles():
    """Alarm 1e-6 for right code (6 standard errors, some 40 candidates); sees a mean off by 3% of a standard deviation."""
    predictive, n = some(), 40_000
    draws = predictive.sample(n, [1, 2]).numpy()
    assert draws.shape == (n, R, B, A)
    mean, stddev = predictive.mean.numpy(), predictive.stddev.numpy()
    assert (np.abs(draws.mean(0) - mean) <= 6 * stddev / np.sqrt(n)).all()
    np.testing.assert_allclose(draws.std(0), stddev, rtol=0.06)
    for q in (0.05, 0.5, 0.95):
        share = (draws < predictive.quantile(q).numpy()).mean(0)[predictive.present.numpy()]
        assert np.abs(share - q).max() < 6 * np.sqrt(q * (1 - q) / n) + 1.5e-3


@pytest.mark.parametrize("family", [densities.beta_mixture(2), densities.gaussian_mixture(2), densities.point()], ids=lambda f: f.name)
def test_identical_candidates_share_every_draw_of_weights_and_page(family):
    """Acceptance 6: or a bandit would explore between two copies of one headline."""
    rng = np.random.default_rng(0)
    outputs = family.start_at(0.02, 400.0) + 0.5 * rng.normal(size=(16, 8, 1, family.size)) + np.zeros((16, 8, 3, family.size))
    predictive = Predictive.from_draws(family.density(tf.constant(outputs, tf.float32)), group_effect=GroupEffect(tf.constant(0.6)))
    drawn = predictive.drawn(50, [3, 4])
    for leaf in drawn:
        assert leaf.shape[:3] == (50, 8, 3)
        np.testing.assert_array_equal(leaf[:, :, 0], leaf[:, :, 1])
        np.testing.assert_array_equal(leaf[:, :, 0], leaf[:, :, 2])
    assert len(np.unique(drawn.locations[:, 0, 0, 0])) > 30


def test_candidates_are_drawn_jointly():
    """Draws of one decision's candidates go together as the shared draws and nodes make them: the covariance is that of the means."""
    predictive = some(concentration=1e6)._replace(present=tf.fill([R, B, A], True))
    lift = 1.0 * np.random.default_rng(9).normal(size=(Q, S, R, B, 1, 1))  # of all candidates alike
    predictive = predictive._replace(density=predictive.density.shift(tf.constant(lift[..., 0], tf.float32)))
    draws = predictive.sample(20_000, [5, 6]).numpy()[:, 0, 0].astype(float)  # [n, A]
    means = predictive.density.mean.numpy()[:, :, 0, 0].reshape(Q * S, A) * predictive.present.numpy()[0, 0]
    weights = pairs(predictive)[:, :, 0, 0].reshape(-1)
    centred = means - weights @ means
    exact = (weights[:, None] * centred).T @ centred
    covariance = np.cov(draws.T)
    error = np.abs(covariance - exact) / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) + 1e-30)
    np.fill_diagonal(error, 0.0)  # a candidate's own component and rate are its own
    assert error.max() < 6 * np.sqrt(2 / 20_000)  # alarm 1e-7 for right code
    assert np.abs(exact[0, 1:]).max() > 0.2 * exact[0, 0]  # independent draws would fail


def test_contrast_takes_out_what_moves_all_candidates_alike():
    """A draw that lifts every candidate's logit by the same leaves the choice among them as it is."""
    rng = np.random.default_rng(1)
    logits, lift = rng.normal(-4, 0.5, (1, 1, 5, 1)), 0.4 * rng.normal(size=(30, 1, 1, 1))
    means = tf.constant(1 / (1 + np.exp(-(logits + lift))), tf.float64)
    density = BetaMixture(tf.zeros_like(means), means, tf.fill([30, 1, 5, 1], tf.constant(500.0, tf.float64)))
    predictive = Predictive.from_draws(density, group_effect=GroupEffect(tf.constant(0.6, tf.float64)))
    within = np.sqrt((pairs(predictive) * predictive.density.variance.numpy()).sum((0, 1)))
    np.testing.assert_allclose(predictive.contrast_stddev, within, rtol=0.01)
    assert (predictive.contrast_stddev.numpy() < 0.6 * predictive.stddev.numpy()).all()


def test_contrast_keeps_the_doubt_about_one_candidate():
    """Of five candidates one is unsure; its own contrast keeps most of that, and the padding has no say."""
    rng = np.random.default_rng(2)
    logits = np.full((400, 1, 6, 1), -4.0)
    logits[:, 0, 1, 0] += 0.5 * rng.normal(size=400)
    logits[:, 0, 5, 0] += 3.0 * rng.normal(size=400)
    means = tf.constant(1 / (1 + np.exp(-logits)), tf.float64)
    density = BetaMixture(tf.zeros_like(means), means, tf.fill([400, 1, 6, 1], tf.constant(1e9, tf.float64)))
    present = tf.constant([[True] * 5 + [False]])
    found = Predictive.from_draws(density, present=present).contrast_stddev.numpy()[0]
    whole = Predictive.from_draws(density, present=present).stddev.numpy()[0]
    assert abs(found[1] / whole[1] - 0.8) < 0.06
    assert abs(found[0] / (0.018 * 0.1) - 1.0) < 0.1
    assert found[5] == 0.0


def test_padding_is_zero_and_finite_whatever_lies_in_it():
    predictive = some()
    present = predictive.present.numpy()
    wild = tf.where(predictive.present[None, None, ..., None], predictive.density.means, 0.0)
    predictive = predictive._replace(density=predictive.density._replace(means=wild))
    answers = [predictive.mean, predictive.stddev, *predictive.split(), predictive.contrast_stddev, predictive.quantile(0.9)]
    for answer in [*answers, predictive.measurement_stddev(9.0), predictive.sample(1, [1, 2])[0]]:
        assert np.isfinite(answer).all()
        assert (answer.numpy()[~present] == 0.0).all()
        assert (answer.numpy()[present] > 0.0).all()


def test_from_density_has_no_doubt_of_the_model():
    density = densities.beta_mixture(2).density(tf.random.stateless_normal([4, 3, 6], [0, 1]))
    predictive = Predictive.from_density(density)
    np.testing.assert_allclose(predictive.mean, density.mean, rtol=1e-6)
    np.testing.assert_allclose(predictive.split()[0], density.stddev, rtol=1e-5)
    np.testing.assert_array_equal(predictive.split()[1], 0.0)
    np.testing.assert_allclose(predictive.quantile(0.3), density.quantile(0.3), rtol=1e-4)


def test_page_effect_at_its_prior_widens_the_predictive():
    """With points and no doubt of the weights, the rate is logit-normal."""
    density = Point(tf.fill([1, 2, 1, 1], tf.constant(0.02, tf.float64)))
    predictive = Predictive.from_draws(density, group_effect=GroupEffect(tf.constant(0.6, tf.float64)), nodes=129)
    z = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    rates = 1 / (1 + np.exp(-(np.log(0.02 / 0.98) + 0.6 * z)))
    np.testing.assert_allclose(predictive.mean, rates.mean(), rtol=1e-3)
    np.testing.assert_allclose(predictive.stddev, rates.std(), rtol=5e-3)
    np.testing.assert_allclose(predictive.quantile(0.9), np.quantile(rates, 0.9), rtol=0.05)


def test_quantile_of_many_draws_and_nodes_against_scipy():
    """S = 64, Q = 33, K = 2: 4,224 betas a row."""
    rng = np.random.default_rng(0)
    means = 1 / (1 + np.exp(4.3 - 0.4 * rng.normal(size=(1, 5, 1, 1)) - 0.1 * rng.normal(size=(64, 5, 1, 2))))
    leaves = (np.full(means.shape, np.log(0.5)), means, np.full(means.shape, 900.0))
    density = BetaMixture(*(tf.constant(x, tf.float32) for x in leaves))
    predictive = Predictive.from_draws(density, group_effect=GroupEffect(tf.constant(0.65)))
    a = predictive.density.means.numpy().astype(float) * 900.0
    weights = np.exp(predictive.node_log_weights.numpy())[..., None, None] / 128
    for q in (0.05, 0.95):
        x = predictive.quantile(q).numpy().astype(float)
        np.testing.assert_allclose((weights * stats.beta(a, 900.0 - a).cdf(x[..., None])).sum((0, 1, 4)), q, atol=5e-4)


def test_parts_make_the_whole():
    predictive = some()
    parts = [predictive.part(0, 2), predictive.part(2, 5)]
    np.testing.assert_allclose(tf.concat([p.quantile(0.9) for p in parts], -2), predictive.quantile(0.9), rtol=1e-4)
    np.testing.assert_allclose(tf.concat([p.contrast_stddev for p in parts], -2), predictive.contrast_stddev, rtol=1e-6)


def test_compiled_is_the_same():
    def everything(predictive):
        moments = predictive.mean, predictive.stddev, predictive.split(), predictive.contrast_stddev
        return moments, predictive.quantile(0.9), predictive.sample(3, [1, 2])

    compiled = tf.function(everything, jit_compile=True, autograph=False)
    for one, other in zip(tf.nest.flatten(everything(some())), tf.nest.flatten(compiled(some())), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_decisions_and_candidates_known_only_at_run_time():
    """The export serves any number of both."""
    spec = tf.nest.map_structure(lambda _: tf.TensorSpec([7, None, None, 2], tf.float32), BetaMixture(0, 0, 0))

    @tf.function(input_signature=[spec], autograph=False)
    def served(density):
        predictive = Predictive.from_draws(density, group_effect=GroupEffect(tf.constant(0.5)), nodes=5)
        return predictive.mean, predictive.contrast_stddev, predictive.quantile(0.9), predictive.sample(4, [1, 2])

    for decisions, arms in ((1, 3), (2, 1)):
        means = tf.fill([7, decisions, arms, 2], 0.1)
        *rest, draws = served(BetaMixture(tf.fill(means.shape, np.log(0.5).astype(np.float32)), means, tf.fill(means.shape, 50.0)))
        assert draws.shape == (4, decisions, arms)
        assert all(x.shape == (decisions, arms) for x in rest)
