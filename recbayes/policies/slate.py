"""Slates: several candidates on one page, by repeated choice from a policy without replacement.

    P(a_1, ..., a_L) = prod over positions l of p(a_l | candidates but a_1, ..., a_{l-1})

At each position the policy is asked again, about the candidates that are left. So greedy fills a page from the best down, Thompson takes
new draws a position, Boltzmann makes the Plackett-Luce distribution, and a floor gives every candidate support at every position.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.policies.base import Policy
from recbayes.policies.choose import choose
from recbayes.policies.shares import checked
from recbayes.random import fold, split
from recbayes.types import Clock, Tensor


class Slate(NamedTuple):
    """What is shown at L positions, best position first.

    actions: int32 [..., B, L], -1 where a decision has fewer candidates than positions; propensities: of each action at its position, given
    the positions above it, [..., B, L], 1 where nothing was left to choose; probabilities: those of all candidates at each position,
    given the positions above it, [..., B, L, A].
    """

    actions: Tensor
    propensities: Tensor
    probabilities: Tensor

    @property
    def propensity(self) -> Tensor:
        """Of the slate as a whole, in this order, [..., B]."""
        return tf.reduce_prod(self.propensities, -1)


def slate(
    policy: Policy, predictive: Any, candidates: Tensor, clock: Clock, seed: Tensor, *, size: int, exploration: Tensor | None = None
) -> Slate:
    """Fill the positions of a page one after the other, no candidate twice.

    Args:
      policy: asked once a position about what is left.
      predictive: a `Predictive` of B decisions and A candidates.
      candidates: True where the candidate may be shown, bool [..., B, A].
      clock: where each decision stands, each [..., B] or broadcasting to it.
      seed: int32 [2].
      size: positions, L.
      exploration: [], in place of the policy's own setting.

    Returns: actions with their exact propensities given the positions above: estimators that weigh down the page (cascade) take them as
      they are, those that weigh slates take their product. Without what stands above only the first position's is a propensity.
    Raises: ValueError if size is below 1, or a decision has no candidate (outside compiled code).

    >>> from recbayes.densities import BetaMixture
    >>> from recbayes.policies import greedy
    >>> from recbayes.predictive import Predictive
    >>> rates = tf.constant([[[0.1], [0.3], [0.2]]])
    >>> given = Predictive.from_density(BetaMixture(tf.zeros([1, 3, 1]), rates, tf.fill([1, 3, 1], 50.0)))
    >>> now = Clock(*(tf.zeros([1]) for _ in range(3)))
    >>> page = slate(greedy(), given, tf.ones([1, 3], tf.bool), now, [0, 1], size=2)
    >>> page.actions.numpy().tolist(), page.propensity.numpy().tolist()
    ([[1, 2]], [1.0])
    """
    if size < 1:
        raise ValueError(f"slate: size is {size}, must be at least 1: it is the number of positions")
    left = tf.broadcast_to(checked(candidates), tf.shape(predictive.mean))
    actions, propensities, probabilities = [], [], []
    for position in range(size):
        asked, drawn = tf.unstack(split(fold(seed, position), 2))
        some = tf.reduce_any(left, -1)  # [..., B]
        shares = policy.probabilities(predictive, left | ~some[..., None], clock, asked, exploration=exploration)
        shares = tf.where(some[..., None], shares, tf.zeros_like(shares))
        decision = choose(tf.where(some[..., None], shares, tf.ones_like(shares)), drawn)
        actions.append(tf.where(some, decision.action, -1))
        propensities.append(tf.where(some, decision.propensity, 1.0))
        probabilities.append(shares)
        left &= tf.range(tf.shape(left)[-1]) != decision.action[..., None]
    return Slate(tf.stack(actions, -1), tf.stack(propensities, -1), tf.stack(probabilities, -2))
