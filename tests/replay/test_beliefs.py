"""What counts say of arms that share a page's effect: against a fine grid in float64, and against the densities' own room."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import betaln, expit, logit, logsumexp

from recbayes.densities import BetaMixture, GaussianMixture, GroupEffect, LogitNormalMixture, Point
from recbayes.replay import beliefs
from recbayes.replay.beliefs import Arms

S, K, A, G = 2, 2, 5, 60
TAU = 0.65
PRESENT = np.random.default_rng(5).random((A, G)) < 0.8
PRESENT[:2] = True


def priors(seed=0):
    """Leaves [S, K, A, G] of beta mixtures at a rate of .013, as on the headline tests."""
    rng = np.random.default_rng(seed)
    means = np.broadcast_to(expit(np.log(0.013) + rng.normal(0, 0.2, (S, 1, A, G))), (S, K, A, G))
    sizes = np.broadcast_to(np.array([400.0, 3000.0])[:, None, None], (S, K, A, G))
    weights = np.broadcast_to(np.log([0.4, 0.6])[:, None, None], (S, K, A, G))
    return weights, means, sizes


def seen(impressions, seed=1):
    """Clicks and impressions [A, G] of pages that differ, 0 in padding."""
    rng = np.random.default_rng(seed)
    rates = expit(np.log(0.013) + rng.normal(0, TAU, G) + rng.normal(0, 0.25, (A, G)))
    shown = np.where(PRESENT, rng.integers(impressions // 3, impressions + 1, (A, G)), 0)
    return rng.binomial(shown, rates), shown


def exact(weights, means, sizes, clicks, impressions):
    """Mean, stddev and contrast stddev given u [A, G], weight draws alike, by a grid of 801 nodes."""
    u = np.linspace(-6, 6, 801)[:, None, None, None, None] * TAU
    prior = expit(logit(means) + u)  # [Q, S, K, A, G]
    a, b = prior * sizes, (1 - prior) * sizes
    joint = weights + betaln(a + clicks, b + impressions - clicks) - betaln(a, b)
    rows = logsumexp(joint, 2)
    nodes = np.where(PRESENT, rows, 0).sum(2) - 0.5 * (u[:, :, 0, 0] / TAU) ** 2
    nodes = np.exp(nodes - logsumexp(nodes, 0))[:, :, None]
    shares, mean = np.exp(joint - rows[:, :, None]), (a + clicks) / (sizes + impressions)
    first = (shares * mean).sum(2)
    second = (shares * (mean * (1 - mean) / (sizes + impressions + 1) + mean**2)).sum(2)
    overall = (nodes * first).sum(0).mean(0)
    return overall, np.sqrt((nodes * second).sum(0).mean(0) - overall**2), (nodes * (second - first**2)).sum(0).mean(0)


def arms(density, tau=TAU):
    return Arms(
        type(density)(*(tf.constant(np.array(leaf), tf.float32) for leaf in density)), None if tau is None else tf.fill([A, G], tau)
    )


@pytest.mark.parametrize("impressions", [0, 30, 300, 3000, 10_000])
def test_moments_against_a_fine_grid(impressions):
    """A misplaced node or a lost digit of float32 would move the means that policies rank by: bounds as the file states them."""
    clicks, shown = seen(impressions)
    got = beliefs.known(arms(BetaMixture(*priors())), tf.constant(clicks, tf.float32), tf.constant(shown, tf.float32), tf.constant(PRESENT))
    mean, stddev, contrast = (x.T[PRESENT.T] for x in exact(*priors(), clicks, shown))
    np.testing.assert_allclose(got.mean.numpy()[PRESENT.T], mean, rtol=3e-3)
    np.testing.assert_allclose(np.abs(got.mean.numpy()[PRESENT.T] / mean - 1).mean(), 0, atol=3e-4)
    np.testing.assert_allclose(got.stddev.numpy()[PRESENT.T], stddev, rtol=1e-2)
    spread = got.contrast_stddev.numpy()[PRESENT.T] ** 2
    assert (spread >= contrast * (1 - 1e-2)).all()  # the model's part comes on top


@pytest.mark.parametrize("kind", ["beta", "one beta", "gaussian", "logit normal", "point"])
@pytest.mark.parametrize("tau", [TAU, None])
def test_both_views_agree(kind, tau):
    """`known`, which is fast, and the whole mixture, which is exact, give the same means, deviations and, in law, draws."""
    weights, means, sizes = priors()
    density = {
        "beta": BetaMixture(weights, means, sizes),
        "one beta": BetaMixture(0 * weights[:, :1], means[:, :1], sizes[:, :1]),
        "gaussian": GaussianMixture(weights, np.log(means), 0.2 + 0 * means, means),
        "logit normal": LogitNormalMixture.unseen(weights, logit(means), 0.2 + 0 * means),
        "point": Point(means[:, :1]),
    }[kind]
    clicks, shown = (tf.constant(x, tf.float32) for x in seen(1000))
    fast = beliefs.known(arms(density, tau), clicks, shown, tf.constant(PRESENT))
    whole = beliefs.predictive(arms(density, tau), clicks, shown, tf.constant(PRESENT))
    for name in ("mean", "stddev", "contrast_stddev"):
        np.testing.assert_allclose(getattr(fast, name), getattr(whole, name), rtol=2e-3, atol=1e-7)
        assert (getattr(fast, name).numpy()[~PRESENT.T] == 0).all()
    ours, theirs = fast.sample(4000, [1, 2]).numpy()[:, PRESENT.T], whole.sample(4000, [3, 4]).numpy()[:, PRESENT.T]
    stddev = fast.stddev.numpy()[PRESENT.T]
    noise = 6 * np.sqrt(2 / 4000)  # alarm 1e-6 over 240 arms
    assert np.abs((ours.mean(0) - theirs.mean(0)) / stddev).max() < noise
    assert np.abs(ours.std(0) / stddev - 1).max() < noise


def test_agrees_with_the_group_effect():
    """The densities' own posterior of the same pages, in another layout and by other quadrature."""
    weights, means, sizes = (leaf[:1] for leaf in priors())
    clicks, shown = seen(2000)
    got = beliefs.known(
        arms(BetaMixture(weights, means, sizes)), *(tf.constant(x, tf.float32) for x in (clicks, shown)), tf.constant(PRESENT)
    )
    arm, group = np.nonzero(PRESENT)
    flat = BetaMixture(*(tf.constant(leaf[0][:, arm, group].T, tf.float32) for leaf in (weights, means, sizes)))
    counts = (tf.constant(x[arm, group], tf.float32) for x in (clicks, shown))
    posterior = GroupEffect(tf.constant(TAU)).condition(flat, *counts, tf.constant(group, tf.int32), G)
    mean = (np.exp(posterior.log_weights.numpy())[:, group] * posterior.density.mean.numpy()).sum(0)
    np.testing.assert_allclose(got.mean.numpy()[group, arm], mean, rtol=3e-3)


def test_evidence_keeps_its_digits():
    """The stated errors, against SciPy in float64."""
    rng = np.random.default_rng(0)
    mean, size = rng.beta(1, 30, 5000).astype(np.float32) + np.float32(1e-5), np.exp(rng.normal(6, 2, 5000)).astype(np.float32)
    shown = np.floor(np.exp(rng.normal(6, 2, 5000)))
    clicks = rng.binomial(shown.astype(int), mean)
    a, b = mean.astype(float) * size, (1 - mean.astype(float)) * size
    wanted = betaln(a + clicks, b + shown - clicks) - betaln(a, b)
    errors = np.abs(beliefs.evidence(*(tf.constant(x, tf.float32) for x in (mean, size, clicks, shown))).numpy() - wanted)
    assert errors.max() < 0.01
    assert errors[(clicks < 500) & (size < 5000)].max() < 5e-4


def test_draws_share_the_page():
    """Identical arms must not look independent because of what their page does: draws of a page's arms move together."""
    weights = priors()[0][:1]
    density = BetaMixture(weights, np.full((1, K, A, G), 0.013), np.full((1, K, A, G), 1e5))
    got = beliefs.known(arms(density), tf.zeros([A, G]), tf.zeros([A, G]), tf.constant(PRESENT)).sample(500, [0, 1]).numpy()
    assert np.mean([np.corrcoef(got[:, g, 0], got[:, g, 1])[0, 1] for g in range(G)]) > 0.98
