"""What learners believe of a world's arms: fitted priors, merged weight draws, counts shared by item."""

import numpy as np
import pytest
import tensorflow as tf
from replay.worlds import Model, log, pages

import recbayes as rb
from recbayes.densities import BetaMixture, LogitNormalMixture, Point, baselines
from recbayes.replay import beliefs
from recbayes.replay.beliefs import Arms
from recbayes.replay.density import merged
from recbayes.replay.layout import blocks
from recbayes.replay.learner import Prior
from recbayes.replay.world import Feedback, Offer


def seen_by(learner, world, clicks, impressions):
    """What a policy sees after these counts [N], laid back to [N]: mean, stddev, contrast_stddev."""
    bound = learner.bind(world)
    (block,) = blocks(world.segments, together=True)
    arms = tf.nest.map_structure(lambda leaf: None if leaf is None else tf.constant(block.arms(leaf)), bound.arms)
    prior = Prior(arms, bound.settings, tf.constant(block.present))
    told = Feedback(*(tf.constant(block.counts(x))[None] for x in (impressions, clicks)))
    state = tf.nest.map_structure(lambda leaf: leaf[0], bound.update(bound.start(prior, 1), prior, told))
    known = bound.predictive(state, prior, Offer(tf.transpose(prior.present), None))
    group, arm = np.nonzero(block.present.T)
    rows = block.place.T[group, arm]
    laid = {}
    for name in ("mean", "stddev", "contrast_stddev"):
        laid[name] = np.empty(len(rows))
        laid[name][rows] = getattr(known, name).numpy()[group, arm]
    return laid


def test_flat_counts_are_a_beta():
    """Beta(1, 1): (clicks + 1) / (impressions + 2)."""
    world = rb.queue(pages())
    got = seen_by(rb.counts(), world, world.clicks, world.impressions)
    a, n = world.clicks + 1, world.impressions + 2
    np.testing.assert_allclose(got["mean"], a / n, rtol=1e-6)
    np.testing.assert_allclose(got["stddev"], np.sqrt(a / n * (1 - a / n) / (n + 1)), rtol=1e-4)


def test_counts_fade():
    """With a discount, clicks of three updates count .25, .5 and 1: a rate that moved is found again."""
    world = rb.queue(pages())
    bound = rb.counts(discount=0.5).bind(world)
    prior = Prior(None, (), tf.ones([2, 1], tf.bool))
    state = bound.start(prior, 1)
    for clicks in (8.0, 4.0, 1.0):
        state = bound.update(state, prior, Feedback(tf.fill([1, 2, 1], 16.0), tf.fill([1, 2, 1], clicks)))
    np.testing.assert_allclose(state.clicks, 0.25 * 8 + 0.5 * 4 + 1)
    np.testing.assert_allclose(state.impressions, 28.0)


def test_a_window_is_the_last_updates():
    """Clicks of the last two updates count, older ones not at all; the sums are exact."""
    bound = rb.counts(window=2).bind(rb.queue(pages()))
    prior = Prior(None, (), tf.ones([2, 1], tf.bool))
    state = bound.start(prior, 1)
    for clicks, known in zip((8.0, 4.0, 1.0, 3.0), (8.0, 12.0, 5.0, 4.0)):
        state = bound.update(state, prior, Feedback(tf.fill([1, 2, 1], 16.0), tf.fill([1, 2, 1], clicks)))
        np.testing.assert_array_equal(bound.look(state, prior, None).clicks, known)
    np.testing.assert_array_equal(bound.look(state, prior, None).impressions, 32.0)


def test_a_fitted_prior_is_that_of_the_training_log():
    """Before any feedback every arm is the training log's beta; nothing of the replayed log is used."""
    world, train = rb.queue(pages(seed=1)), pages(groups=80, seed=2)
    got = seen_by(rb.counts(train, prior="fitted"), world, 0 * world.clicks, 0 * world.clicks)
    mean, concentration = baselines.beta_binomial(train.clicks, train.impressions)
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(got["stddev"], np.sqrt(mean * (1 - mean) / (concentration + 1)), rtol=1e-4)


def test_a_page_prior_knows_that_arms_share_a_page():
    """One arm's clicks must raise the expectation of the page's other arms, and of no other page's."""
    world = rb.queue(pages(seed=1))
    learner = rb.counts(pages(groups=80, seed=2), prior="page")
    before = seen_by(learner, world, 0 * world.clicks, 0 * world.clicks)["mean"]
    first = np.arange(len(world.clicks)) == 0
    after = seen_by(learner, world, 30 * first, 200 * first)["mean"]
    same = world.segments == world.segments[0]
    assert (after[same] > 1.1 * before[same]).all()
    np.testing.assert_allclose(after[~same], before[~same], rtol=1e-5)


def test_counts_may_be_shared_by_item():
    """The same headline on two pages: with counts_scope item its clicks elsewhere count, with group they don't."""
    world = rb.queue(log([5, 5, 5, 5], [100] * 4, [1, 1, 2, 2], item=list("abac")), steps=2)
    clicks, shown = np.array([40, 0, 0, 0]), np.array([100, 0, 0, 0])
    shared = seen_by(rb.counts(counts_scope="item"), world, clicks, shown)["mean"]
    alone = seen_by(rb.counts(), world, clicks, shown)["mean"]
    np.testing.assert_allclose(shared, [41 / 102, 0.5, 41 / 102, 0.5], rtol=1e-5)
    np.testing.assert_allclose(alone, [41 / 102, 0.5, 0.5, 0.5], rtol=1e-5)
    assert seen_by(rb.density(Model(), counts_scope="item"), world, clicks, shown)["mean"][2] > 0.1


def test_merged_draws_keep_their_moments():
    """Before feedback: mean and variance of every arm, and its variance given what its page shares, as with the draws kept apart."""
    world = rb.queue(pages(groups=30, seed=3, arms=(3, 5)))
    nothing = 0 * world.clicks
    got = seen_by(rb.density(Model(), draws=64), world, nothing, nothing)
    apart = seen_by(rb.density(Model(), draws=64, merge=False), world, nothing, nothing)
    np.testing.assert_allclose(got["mean"], apart["mean"], rtol=0.01)
    np.testing.assert_allclose(got["stddev"], apart["stddev"], rtol=0.04)
    np.testing.assert_allclose(got["contrast_stddev"], apart["contrast_stddev"], rtol=0.03)


def test_merged_draws_learn_alike():
    """After feedback, against draws kept apart: what the file states of the shortcut."""
    world = rb.queue(pages(groups=30, seed=3, arms=(3, 5)))
    half = world.impressions // 2
    clicks = np.random.default_rng(0).binomial(half, world.clicks / world.impressions)
    got = seen_by(rb.density(Model(), draws=64), world, clicks, half)
    apart = seen_by(rb.density(Model(), draws=64, merge=False), world, clicks, half)
    np.testing.assert_allclose(got["mean"], apart["mean"], rtol=0.02)
    np.testing.assert_allclose(got["contrast_stddev"], apart["contrast_stddev"], rtol=0.05)


def test_merging_one_draw_changes_nothing():
    """A model without doubt: the densities as they are, the page effect as it is."""
    rng = np.random.default_rng(0)
    shape = (6, 1, 2)
    one = BetaMixture(np.log(rng.dirichlet([1, 1], shape[:2])), rng.uniform(0.01, 0.1, shape), rng.uniform(50, 500, shape))
    got, tau = merged(one, np.full(6, 0.4), np.array([0, 0, 0, 1, 1, 1]))
    for ours, theirs in zip(got, one):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(tau, 0.4)


def test_merged_logit_normals_keep_their_moments():
    """The second family whose draws merge: its arms' means and spreads before feedback, as with the draws kept apart."""
    world = rb.queue(pages(groups=30, seed=3, arms=(3, 5)))
    nothing = 0 * world.clicks

    class LogitNormals(Model):
        def densities(self, log, *, draws, seed=0):
            betas = super().densities(log, draws=draws, seed=seed)
            return LogitNormalMixture.unseen(betas.log_weights, tf.math.log(betas.means / (1 - betas.means)), 0.25 + 0 * betas.means)

    got = seen_by(rb.density(LogitNormals(), draws=32), world, nothing, nothing)
    apart = seen_by(rb.density(LogitNormals(), draws=32, merge=False), world, nothing, nothing)
    np.testing.assert_allclose(got["mean"], apart["mean"], rtol=0.01)
    np.testing.assert_allclose(got["stddev"], apart["stddev"], rtol=0.04)
    np.testing.assert_allclose(got["contrast_stddev"], apart["contrast_stddev"], rtol=0.05)


def test_without_a_page_effect_draws_stay_apart():
    """Their common doubt has no page effect to go into, and must not pass for the arms' own."""
    world = rb.queue(pages())
    assert rb.density(Model(tau=None), draws=8).bind(world).arms.beliefs.density.means.shape == (len(world.clicks), 8, 2)
    assert rb.density(Model(), draws=8).bind(world).arms.beliefs.density.means.shape == (len(world.clicks), 1, 2)


def test_point_densities_never_learn():
    """The ablation: an ordinary click model conditions on nothing, and its replay says so."""
    point = Point(tf.fill([1, 1, 2, 3], 0.02))
    got = beliefs.known(Arms(point, None), tf.fill([2, 3], 9.0), tf.fill([2, 3], 10.0), tf.ones([2, 3], tf.bool))
    np.testing.assert_allclose(got.mean, 0.02, rtol=1e-6)
    assert not got.stddev.numpy().any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rb.counts(prior="fitted"), "prior fitted is fitted to a training log"),
        (lambda: rb.counts(prior="jeffreys"), "must be one of flat, fitted, page"),
        (lambda: rb.counts(counts_scope="page"), "must be group or item"),
        (lambda: rb.density(Model(), counts_scope="page"), "must be group or item"),
        (lambda: rb.density(Model(), draws=0), "draws is 0"),
        (lambda: rb.counts(discount=0.0), r"counts: discount is 0.0, must be in \(0, 1\]"),
        (lambda: rb.density(Model(), discount=2.0), "density: discount is 2.0"),
        (lambda: rb.counts(window=0), "counts: window is 0, must be at least 1 update"),
        (lambda: rb.density(Model(), window=3, discount=0.5), "density: window and discount are two ways to forget"),
        (lambda: rb.counts(window=9).bind(rb.queue(pages(), steps=9)), "window is 9, the queue world has 9 steps, so nothing"),
    ],
)
def test_settings_out_of_range_say_so(build, message):
    """The command line shows these lines to its user."""
    with pytest.raises(rb.UserError, match=message):
        build()
