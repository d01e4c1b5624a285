"""Slates: no candidate twice, each position's propensity exact, the drawn slates distributed as they say."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes import policies
from recbayes.densities import BetaMixture
from recbayes.policies import Slate, slate
from recbayes.predictive import Predictive
from recbayes.types import Clock

RATES = np.array([0.10, 0.11, 0.13, 0.12])
TEMPERATURE = 0.02


def many(decisions, rates=RATES, size=200.0):
    """The same candidates in many decisions."""
    means = tf.constant(np.tile(rates[:, None], (decisions, 1, 1)), tf.float32)
    return Predictive.from_density(BetaMixture(tf.zeros_like(means), means, tf.fill(means.shape, size)))


def clock(decisions):
    return Clock(*(tf.zeros([decisions]) for _ in range(3)))


def plackett_luce(order):
    """Probability of an order's first positions, by a loop over them."""
    weights, chance = np.exp(RATES / TEMPERATURE), 1.0
    for position, arm in enumerate(order):
        left = [a for a in range(len(RATES)) if a not in order[:position]]
        chance *= weights[arm] / weights[left].sum()
    return chance


def test_slates_are_drawn_as_they_say():
    """chi^2 of 40,000 slates of Boltzmann's choice against the enumerated Plackett-Luce law of all 24 orders: alarm 1e-6.

    Choosing with replacement, or with the first position's probabilities throughout, fails by hundreds.
    """
    drawn = slate(policies.boltzmann(exploration=TEMPERATURE), many(40_000), tf.ones([40_000, 4], tf.bool), clock(40_000), [1, 2], size=3)
    actions = drawn.actions.numpy()
    orders = list(itertools.permutations(range(4), 3))
    law = np.array([plackett_luce(order) for order in orders])
    np.testing.assert_allclose(law.sum(), 1.0)
    counts = np.array([(actions == order).all(1).sum() for order in orders])
    assert counts.sum() == 40_000
    assert ((counts - 40_000 * law) ** 2 / (40_000 * law)).sum() < stats.chi2(23).isf(1e-6)
    told = dict(zip(orders, law, strict=True))
    np.testing.assert_allclose(drawn.propensity, [told[tuple(row)] for row in actions.tolist()], rtol=1e-4)


def test_each_positions_propensity_stands_in_its_probabilities():
    """To the bit; what stands above has probability 0, the rest sums to 1."""
    drawn = slate(policies.thompson(draws=20, floor=0.1), many(500), tf.ones([500, 4], tf.bool), clock(500), [3, 4], size=4)
    actions, shares = drawn.actions.numpy(), drawn.probabilities.numpy()
    assert (np.sort(actions, 1) == np.arange(4)).all()
    np.testing.assert_array_equal(drawn.propensities, np.take_along_axis(shares, actions[..., None], -1)[..., 0])
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-6)
    for position in range(1, 4):
        above = np.take_along_axis(shares[:, position], actions[:, :position], -1)
        assert (above == 0.0).all()
    assert (drawn.propensities.numpy()[:, 3] == 1.0).all()


def test_greedy_fills_from_the_best_down():
    """The top candidates in their order, for certain; what may not be shown is on no page."""
    drawn = slate(policies.greedy(), many(2), np.array([[True] * 4, [True, True, False, True]]), clock(2), [0, 0], size=3)
    np.testing.assert_array_equal(drawn.actions, [[2, 3, 1], [3, 1, 0]])
    np.testing.assert_array_equal(drawn.propensity, [1.0, 1.0])


def test_positions_without_a_candidate_stay_empty():
    """A page with more slots than items must not show one twice, nor fail for the other pages of the batch."""
    allowed = np.array([[False, True, False, False], [True] * 4])
    drawn = slate(policies.ucb(), many(2), allowed, clock(2), [0, 0], size=2)
    assert isinstance(drawn, Slate)
    np.testing.assert_array_equal(drawn.actions[0], [1, -1])
    np.testing.assert_array_equal(drawn.propensities[0], [1.0, 1.0])
    np.testing.assert_array_equal(drawn.probabilities[0, 1], np.zeros(4))


def test_mistakes_say_so():
    """A page without positions, and a decision with nothing to show."""
    with pytest.raises(ValueError, match="size is 0, must be at least 1"):
        slate(policies.ucb(), many(1), np.ones((1, 4), bool), clock(1), [0, 0], size=0)
    with pytest.raises(ValueError, match=r"decision \[0\] has no candidate"):
        slate(policies.ucb(), many(1), np.zeros((1, 4), bool), clock(1), [0, 0], size=1)


def test_the_same_traced():
    """A served slate is a traced one: same seed, same page."""

    @tf.function
    def traced(seed):
        return slate(policies.boltzmann(exploration=0.05), many(16), tf.ones([16, 4], tf.bool), clock(16), seed, size=2)

    plain = slate(policies.boltzmann(exploration=0.05), many(16), tf.ones([16, 4], tf.bool), clock(16), [5, 6], size=2)
    np.testing.assert_array_equal(traced(tf.constant([5, 6])).actions, plain.actions)
