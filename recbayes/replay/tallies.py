"""Learners that know an arm by its counts: clicks and impressions seen so far, and prior beliefs that are conditioned on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.densities import BetaMixture
from recbayes.replay import beliefs
from recbayes.replay.beliefs import Arms
from recbayes.replay.faults import check
from recbayes.replay.learner import Bound, Prior
from recbayes.replay.world import Feedback, Offer, World
from recbayes.types import Array, Tensor, UserError


class Tallies(NamedTuple):
    """Feedback so far, float32 [R, A, G] each."""

    clicks: Tensor
    impressions: Tensor


class Recent(NamedTuple):
    """Feedback of the last W updates. total: their sum; each: of every one of them, [W, R, A, G]; updates: so far, []."""

    total: Tallies
    each: Tallies
    updates: Tensor


class Laid(NamedTuple):
    """Prior beliefs in the block's layout. items: number of each arm's item where counts are shared between groups, else None."""

    beliefs: Arms
    items: Tensor | None


def bound(
    density: Any, tau: Array | None, *, items: Array | None = None, exact: bool = False, discount: float = 1.0, window: int = 0
) -> Bound:
    """A learner from priors of the arms.

    Args:
      density: a NamedTuple of arrays [N, S, K].
      tau: of each arm's group, [N]; None where groups share nothing.
      items: int32 [N]; an arm then knows what its item earned in other groups.
      exact: policies see every component of the mixture, and joint draws are exact.
      discount: what a count counts after each further update, in (0, 1].
      window: updates whose counts count; 0: all.
    """
    if items is not None and len(np.unique(items)) == len(items):
        items = None  # each is in one group
    number = None if items is None else int(items.max()) + 1
    boosted = not (isinstance(density, BetaMixture) and smallest_shape(density) >= 1.0)

    def start(prior: Prior, replicas: int) -> Any:
        zeros = tf.zeros([replicas, *prior.present.shape])
        none = Tallies(zeros, zeros)
        return Recent(none, Tallies(*(tf.zeros([window, *zeros.shape]) for _ in none)), tf.constant(0)) if window else none

    def update(state: Any, prior: Prior, feedback: Feedback) -> Any:
        new = Tallies(tf.cast(feedback.clicks, tf.float32), tf.cast(feedback.shown, tf.float32))
        if window:
            return recent(state, new)
        if discount < 1.0:
            state = Tallies(discount * state.clicks, discount * state.impressions)
        return Tallies(state.clicks + new.clicks, state.impressions + new.impressions)

    def look(state: Any, prior: Prior, offer: Offer) -> Tallies:
        return state.total if window else state

    def predictive(state: Tallies, prior: Prior, offer: Offer) -> Any:
        arms, present = prior.arms.beliefs, prior.present
        state, arms, present = widened(state, arms, present, offer.candidates.shape[0])
        if number is not None:
            arms = arms._replace(density=elsewhere(arms.density, state, prior.arms.items, present, number))
        return beliefs.seen(arms, *state, present, exact=exact, boosted=boosted)

    arms = Laid(
        Arms(
            tf.nest.map_structure(lambda leaf: np.asarray(leaf, np.float32), density), None if tau is None else np.asarray(tau, np.float32)
        ),
        items,
    )
    key = (type(density).__name__, exact, boosted, number, tau is not None, discount, window)
    numbers = 2 * (window + 1) * len(np.asarray(density[0]))
    return Bound(arms, start, update, predictive, together=number is not None, program=key, look=look, numbers=numbers)


def recent(state: Recent, new: Tallies) -> Recent:
    """What counts after an update: its own feedback in the place of the oldest's. Whole numbers below 2^24 stay exact."""
    place = state.updates % state.each.clicks.shape[0]
    total = (tf.maximum(all_of + one - each[place], 0.0) for all_of, one, each in zip(state.total, new, state.each, strict=True))
    each = (tf.tensor_scatter_nd_update(old, place[None, None], one[None]) for old, one in zip(state.each, new, strict=True))
    return Recent(Tallies(*total), Tallies(*each), state.updates + 1)


def check_memory(kind: str, discount: float, window: int | None) -> None:
    """Raises UserError for a discount or a window out of range, or both."""
    check(kind, memory_faults(discount, window))


def memory_faults(discount: float, window: int | None) -> list[tuple[bool, str]]:
    """What may be wrong with how a learner forgets."""
    return [
        (not 0.0 < discount <= 1.0, f"discount is {discount}, must be in (0, 1]"),
        (window is not None and window < 1, f"window is {window}, must be at least 1 update, or null for all of them"),
        (window is not None and discount < 1.0, "window and discount are two ways to forget: use one"),
    ]


def must_forget(kind: str, window: int | None, world: World) -> None:
    """Raises UserError for a window that is longer than the world."""
    if window is not None and window >= world.steps:
        raise UserError(
            f"{kind}: window is {window}, the {world.kind} world has {world.steps} steps, so nothing would ever be forgotten. Set a"
            " smaller one."
        )


def widened(state: Tallies, arms: Arms, present: Tensor, decisions: int) -> tuple[Tallies, Arms, Tensor]:
    """Of a stream, whose arms are one group, a column a decision: joint draws then differ between the decisions of a batch."""
    if present.shape[1] == decisions:
        return state, arms, present

    def column(leaf: Tensor) -> Tensor:
        return tf.broadcast_to(leaf, [*leaf.shape[:-1], decisions])

    tau = None if arms.tau is None else column(arms.tau)
    return Tallies(*map(column, state)), Arms(tf.nest.map_structure(column, arms.density), tau), column(present)


def smallest_shape(density: BetaMixture) -> float:
    """The smallest of the betas' shapes, which counts only raise."""
    return float((np.minimum(density.means, 1.0 - np.asarray(density.means)) * density.concentrations).min())


def elsewhere(density: Any, state: Tallies, items: Tensor, present: Tensor, number: int) -> Any:
    """Priors, leaves [S, K, A, G], conditioned on what the arms' items earned in other groups (whose own effects are left aside)."""
    codes = tf.where(present, items, 0)

    def others(own: Tensor) -> Tensor:
        total = tf.math.unsorted_segment_sum(tf.reshape(own, [-1]), tf.reshape(codes, [-1]), number)
        return tf.where(present, tf.gather(total, codes) - own, 0.0)

    rows = tf.nest.map_structure(lambda leaf: tf.transpose(leaf, [0, 2, 3, 1]), density)  # [S, A, G, K]
    rows = rows.condition(others(state.clicks), others(state.impressions))
    return tf.nest.map_structure(lambda leaf: tf.transpose(leaf, [0, 3, 1, 2]), rows)
