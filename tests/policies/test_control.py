"""The shuffled control: same means, every candidate's uncertainty another one's, each of them as often."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes import UserError, policies
from recbayes.densities import BetaMixture
from recbayes.policies.base import EXCHANGE
from recbayes.policies.control import shuffled
from recbayes.policies.exchanged import exchange, placed, turned
from recbayes.predictive import Predictive
from recbayes.random import fold
from recbayes.types import Clock

ALLOWED = tf.constant(np.tile([True, False, True, True, True], (20_000, 1)))


def test_none_keeps_its_own_and_others_are_as_likely():
    """chi^2 of 20,000 exchanges against even chances: alarm 1e-6. A control that kept some in place would flatter the uncertainty less."""
    order, back = (x.numpy() for x in turned(ALLOWED, [0, 1]))
    np.testing.assert_array_equal(np.take_along_axis(order, back, -1), np.tile(np.arange(5), (20_000, 1)))
    assert (order[:, 1] == 1).all()
    there = [0, 2, 3, 4]
    assert (np.sort(order, -1) == np.arange(5)).all()
    for arm in there:
        counts = np.bincount(order[:, arm], minlength=5)
        others = [other for other in there if other != arm]
        assert counts[arm] == counts[1] == 0
        assert ((counts[others] - 20_000 / 3) ** 2 / (20_000 / 3)).sum() < stats.chi2(2).isf(1e-6)


def test_who_is_alone_keeps_what_it_has():
    """One candidate has nobody to exchange with."""
    np.testing.assert_array_equal(turned(tf.constant([[False, True, False]]), [0, 1]), [[[0, 1, 2]]] * 2)


def test_means_stay_and_uncertainty_moves():
    """In each place: another candidate's mean, the place's own deviations, draws centred and spread so (z < 4.9, alarm 1e-6)."""
    means, sizes = np.array([0.1, 0.3, 0.2]), np.array([30.0, 500.0, 90.0])
    known = Predictive.from_density(BetaMixture(*(tf.constant(x[None, :, None], tf.float32) for x in (np.zeros(3), means, sizes))))
    order, back = turned(tf.ones([1, 3], tf.bool), [3, 4])
    seen = exchange(known, order)
    deviation = np.sqrt(means * (1 - means) / (sizes + 1))
    np.testing.assert_allclose(seen.mean[0], means[order.numpy()[0]], rtol=1e-5)
    np.testing.assert_allclose(placed(seen.mean, back)[0], means, rtol=1e-5)
    for own in (seen.stddev, seen.contrast_stddev):
        np.testing.assert_allclose(own[0], deviation, rtol=1e-4)
    draws = seen.sample(20_000, [5, 6]).numpy()[:, 0]
    assert (np.abs(draws.mean(0) - means[order.numpy()[0]]) < 4.9 * deviation / np.sqrt(20_000)).all()
    np.testing.assert_allclose(draws.std(0), deviation, rtol=0.05)


def test_a_control_is_the_policy_with_another_ones_uncertainty():
    """UCB's choice by a plain loop: each candidate's own mean and the deviation of the one whose place it takes."""
    rng = np.random.default_rng(0)
    means, sizes = rng.uniform(0.1, 0.2, (200, 4)), rng.uniform(10, 500, (200, 4))
    known = Predictive.from_density(BetaMixture(*(tf.constant(x[..., None], tf.float32) for x in (np.zeros((200, 4)), means, sizes))))
    now, allowed, seed = Clock(*(tf.zeros([200]) for _ in range(3))), tf.ones([200, 4], tf.bool), tf.constant([5, 6])
    shown = shuffled(policies.ucb("counts")).probabilities(known, allowed, now, seed).numpy().argmax(-1)
    back = turned(allowed, fold(seed, EXCHANGE))[1].numpy()
    deviation = np.sqrt(means * (1 - means) / (sizes + 1))
    np.testing.assert_array_equal(shown, (means + np.take_along_axis(deviation, back, -1)).argmax(-1))


def test_controls_are_of_policies_that_look_at_uncertainty():
    """Greedy's control would be greedy; a grid's is a grid, named by its scales."""
    with pytest.raises(UserError, match=r"shuffled: counts/greedy looks at means alone"):
        shuffled(policies.greedy("counts"))
    grid = shuffled(policies.ucb("counts", exploration=[0.5, 1]))
    assert [one.name for one in grid.members] == ["counts/ucb@0.5~shuffled", "counts/ucb@1~shuffled"]
    assert all(one.is_control for one in grid.members)
    assert grid.static == policies.ucb("counts").static
