"""The shuffled control: same means, every candidate's uncertainty another one's, each of them as often."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes import UserError, policies
from recbayes.densities import BetaMixture
from recbayes.policies.control import shuffled
from recbayes.policies.exchanged import exchange, turned
from recbayes.predictive import Predictive

ALLOWED = tf.constant(np.tile([True, False, True, True, True], (20_000, 1)))


def test_none_keeps_its_own_and_others_are_as_likely():
    """chi^2 of 20,000 exchanges against even chances: alarm 1e-6. A control that kept some in place would flatter the uncertainty less."""
    order = turned(ALLOWED, [0, 1], tf.constant(True)).numpy()
    assert (order[:, 1] == 1).all()
    there = [0, 2, 3, 4]
    assert (np.sort(order, -1) == np.arange(5)).all()
    for arm in there:
        counts = np.bincount(order[:, arm], minlength=5)
        others = [other for other in there if other != arm]
        assert counts[arm] == counts[1] == 0
        assert ((counts[others] - 20_000 / 3) ** 2 / (20_000 / 3)).sum() < stats.chi2(2).isf(1e-6)


def test_off_and_alone_nothing_moves():
    """The policy itself runs through the same code, and one candidate has nobody to exchange with."""
    np.testing.assert_array_equal(turned(ALLOWED[:5], [0, 1], tf.constant(False)), np.tile(np.arange(5), (5, 1)))
    one = tf.constant([[False, True, False]])
    np.testing.assert_array_equal(turned(one, [0, 1], tf.constant(True)), [[0, 1, 2]])


def test_means_stay_and_uncertainty_moves():
    """Deviations are those of the named candidate; draws are centred on the own mean (z < 4.9, alarm 1e-6) and as wide as the other's."""
    means, sizes = np.array([0.1, 0.3, 0.2]), np.array([30.0, 500.0, 90.0])
    known = Predictive.from_density(BetaMixture(*(tf.constant(x[None, :, None], tf.float32) for x in (np.zeros(3), means, sizes))))
    seen = exchange(known, tf.ones([1, 3], tf.bool), [3, 4], tf.constant(True))
    order = seen.order.numpy()[0]
    deviation = np.sqrt(means * (1 - means) / (sizes + 1))
    np.testing.assert_allclose(seen.mean[0], means, rtol=1e-5)
    for moved in (seen.stddev, seen.contrast_stddev):
        np.testing.assert_allclose(moved[0], deviation[order], rtol=1e-4)
    draws = seen.sample(20_000, [5, 6]).numpy()[:, 0]
    assert (np.abs(draws.mean(0) - means) < 4.9 * deviation[order] / np.sqrt(20_000)).all()
    np.testing.assert_allclose(draws.std(0), deviation[order], rtol=0.05)


def test_controls_are_of_policies_that_look_at_uncertainty():
    """Greedy's control would be greedy; a grid's is a grid, named by its scales."""
    with pytest.raises(UserError, match=r"shuffled: counts/greedy looks at means alone"):
        shuffled(policies.greedy("counts"))
    grid = shuffled(policies.ucb("counts", exploration=[0.5, 1]))
    assert [one.name for one in grid.members] == ["counts/ucb@0.5~shuffled", "counts/ucb@1~shuffled"]
    assert all(one.is_control for one in grid.members)
    assert grid.static == policies.ucb("counts").static
