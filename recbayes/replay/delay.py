"""Feedback that comes late: a number of steps for all of it, or a distribution of steps, for whole decisions or for their clicks alone.

Known is a decision's feedback D steps after the decision, P(D = j) = share_j. Late may be

    feedback    all of it: until then the learner knows nothing of the decision
    clicks      its click alone: the showing is known at once and looks unclicked, until the click joins it by the decision's number

Decisions one by one have a D each, drawn by inversion and keyed by (replica, decision). Counts of a batch are parted by systematic
sampling, clicks and misses each by themselves: whole numbers within 1 of batch x share_j, their expectation exact, as showings are
(`outcomes.showings`). Geometric delays are cut where a thousandth is left.

Source: Joulani, Gyorgy and Szepesvari 2013, Online learning under delayed feedback; Chapelle 2014, Modeling delayed feedback in display
advertising (clicks that look like misses until they join).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.replay.outcomes import uniforms
from recbayes.replay.world import NOTHING, Events, Feedback, in_a_row
from recbayes.types import Tensor, UserError

LATE = ("feedback", "clicks")
LEFT = 1e-3
"""Share of a geometric distribution that is cut."""
STREAM = 0x1A7E
"""Tells the numbers that delays are drawn from from the world's own."""
SHAPES = "{kind: geometric, mean: 3}, {kind: shares, shares: [0.5, 0.3, 0.2]}, each with late: feedback or clicks"


class Late(NamedTuple):
    """A distribution of delays. settings: as given; shares: of delays of 0, 1, ... steps, sum 1; late: `feedback` or `clicks`."""

    settings: tuple[tuple[str, Any], ...]
    shares: tuple[float, ...]
    late: str

    @property
    def mean(self) -> float:
        """Steps."""
        return sum(number * share for number, share in enumerate(self.shares))

    @property
    def below(self) -> list[float]:
        """Share of delays of at most 0, 1, ... steps; the last is exactly 1."""
        return [*list(accumulate(self.shares))[:-1], 1.0]


class Waiting(NamedTuple):
    """Decisions whose feedback is on its way, youngest first. events: [L, R, B, ...]; delay: of each, int32 [L, R, B]."""

    events: Events
    delay: Tensor


def delay_of(given: Any, *, clicks_only: bool = True) -> int | Late:
    """A world's delay from its setting: a number of steps, or a distribution.

    Args:
      given: steps, or a mapping with a `kind`.
      clicks_only: whether the world's rewards are clicks, which may join late.

    Raises: UserError if it is none of these, or out of range.

    >>> delay_of(2), delay_of({"kind": "shares", "shares": [0.5, 0.5]}).mean
    (2, 0.5)
    >>> round(delay_of({"kind": "geometric", "mean": 3}).mean, 2)
    3.0
    """
    if not isinstance(given, Mapping):
        if isinstance(given, bool) or not isinstance(given, Integral) or given < 0:
            raise UserError(f"delay is {given!r}, must be at least 0 steps, or a distribution such as {SHAPES}")
        return int(given)
    settings = dict(given)
    law, late = settings.pop("kind", None), settings.pop("late", "feedback")
    wanted = {"geometric": "mean", "shares": "shares"}.get(str(law))
    if wanted is None or set(settings) != {wanted}:
        raise UserError(f"delay is {dict(given)}, must be a number of steps, or one of {SHAPES}")
    if late not in LATE:
        raise UserError(f"delay.late is {late!r}, must be feedback or clicks")
    if late == "clicks" and not clicks_only:
        raise UserError("delay.late is clicks, but rewards of this world are numbers: use late: feedback")
    value = settings[wanted]
    shares = geometric(value) if law == "geometric" else listed(value)
    frozen = tuple(value) if isinstance(value, Sequence) else value
    return Late((("kind", law), (wanted, frozen), ("late", late)), shares, late)


def delay_fault(given: Any, *, clicks_only: bool = True) -> tuple[bool, str]:
    """Whether something is wrong with the setting, and what, for `faults.check`."""
    try:
        delay_of(given, clicks_only=clicks_only)
    except UserError as error:
        return True, str(error)
    return False, ""


def geometric(mean: Any) -> tuple[float, ...]:
    """Shares of delays that end in each step with the same probability, 1 / (mean + 1)."""
    if not (isinstance(mean, int | float) and math.isfinite(mean) and mean > 0.0):
        raise UserError(f"delay.mean is {mean!r}, must be above 0 steps")
    on = mean / (mean + 1.0)
    longest = math.ceil(math.log(LEFT) / math.log(on))
    return (*((1.0 - on) * on**number for number in range(longest)), on**longest)


def listed(shares: Any) -> tuple[float, ...]:
    """Shares as they are given."""
    numbers = tuple(shares) if isinstance(shares, Sequence) and not isinstance(shares, str) else ()
    right = all(isinstance(share, int | float) and share >= 0.0 for share in numbers)
    if not (numbers and right and abs(sum(numbers) - 1.0) < 1e-6):
        raise UserError(f"delay.shares is {shares!r}, must be shares of delays of 0, 1, ... steps that sum to 1")
    return tuple(map(float, numbers))


def told(delay: int | Late) -> Any:
    """A delay as results say it: a number, or the settings of a distribution."""
    return dict(delay.settings) if isinstance(delay, Late) else delay


def says(delay: int | Late) -> str:
    """A delay in words; none where there is none.

    >>> says(0), says(2), says(delay_of({"kind": "geometric", "mean": 3, "late": "clicks"}))
    ('', ', feedback 2 steps late', ', clicks 3.0 steps late in the mean')
    """
    if isinstance(delay, Late):
        return f", {delay.late} {delay.mean:.1f} steps late in the mean"
    return f", feedback {delay} steps late" if delay else ""


def must_keep(kind: str, delay: int | Late, forgets: bool) -> None:
    """Raises UserError where a click could join a showing that is already forgotten."""
    if forgets and isinstance(delay, Late) and delay.late == "clicks":
        raise UserError(
            f"{kind}: clicks that join late would count more than their forgotten showings. Use late: feedback, or forget nothing"
        )


def nothing_waits(late: Late, feedback: Feedback) -> Any:
    """What is on its way before the first step, in the form of an answer that is thrown away."""
    number = len(late.shares) - 1

    def zeros(leaf: Tensor) -> Tensor:
        return tf.zeros([number, *leaf.shape], leaf.dtype)

    if feedback.events is NOTHING:
        return tf.nest.map_structure(zeros, feedback)
    events = feedback.events._replace(place=tf.zeros_like(feedback.events.arm))
    return Waiting(tf.nest.map_structure(zeros, events), tf.fill([number, *events.arm.shape], -1))


def passed(late: Late, feedback: Feedback, waiting: Any, seeds: Tensor, t: Tensor) -> tuple[Feedback, Any]:
    """What the learner is told now, and what is on its way then.

    Args:
      late: the distribution.
      feedback: of step t.
      waiting: of the steps before.
      seeds: of the world's stream, int32 [R, 2].
      t: the step, int32 [].
    """
    seeds = tf.bitwise.bitwise_xor(seeds, tf.constant([STREAM, 0]))
    return (_counts if feedback.events is NOTHING else _events)(late, feedback, waiting, seeds, t)


def parted(values: Tensor, below: Sequence[float], u: Tensor) -> Tensor:
    """Whole numbers [...] in parts of these shares, [L + 1, ...], by systematic sampling with one u each.

    >>> parted(tf.constant([3.0], tf.float64), [0.5, 1.0], tf.constant([0.2], tf.float64)).numpy()[:, 0].tolist()
    [1.0, 2.0]
    """
    ends = tf.reshape(tf.constant(below, values.dtype), [-1, *[1] * values.shape.rank])
    counted = tf.floor(values * ends + u)
    return counted - tf.concat([tf.zeros_like(counted[:1]), counted[:-1]], 0)


def _counts(late: Late, feedback: Feedback, waiting: Feedback, seeds: Tensor, t: Tensor) -> tuple[Feedback, Feedback]:
    """Of batches: the clicks and the misses of each arm, parted by their delay."""
    _, arms, groups = feedback.shown.shape
    lanes = tf.reshape(tf.range(2 * arms * groups), [2, arms, groups])
    u = uniforms(seeds[:, None, None, None], lanes, t)  # [R, 2, A, G]
    clicks = parted(feedback.clicks, late.below, u[:, 0])  # [L + 1, R, A, G]
    misses = parted(feedback.shown - feedback.clicks, late.below, u[:, 1])
    on_way = Feedback(clicks + misses, clicks)
    if late.late == "clicks":
        on_way = Feedback(tf.concat([feedback.shown[None], tf.zeros_like(clicks[1:])], 0), clicks)
    on_way = tf.nest.map_structure(lambda new, old: new + tf.concat([old, tf.zeros_like(new[:1])], 0), on_way, waiting)
    return tf.nest.map_structure(lambda parts: parts[0], on_way), tf.nest.map_structure(lambda parts: parts[1:], on_way)


def _events(late: Late, feedback: Feedback, waiting: Waiting, seeds: Tensor, t: Tensor) -> tuple[Feedback, Waiting]:
    """Of decisions one by one: those that are due now, oldest first, the others with weight 0."""
    batch = feedback.events.arm.shape[1]
    place = tf.broadcast_to(t * batch + tf.range(batch), feedback.events.arm.shape)
    fresh = feedback.events._replace(place=place)
    u = uniforms(seeds[:, None], tf.zeros_like(place), place)  # [R, B]
    delay = tf.reduce_sum(tf.cast(u[..., None] >= tf.constant(late.below, u.dtype), tf.int32), -1)
    new = Waiting(fresh, delay)
    known = tf.nest.map_structure(lambda young, old: tf.concat([young[None], old], 0), new, waiting)
    due = known.delay == tf.range(len(late.shares))[:, None, None]  # [L + 1, R, B]
    arrived = known.events._replace(weight=tf.where(due, known.events.weight, 0.0))
    arrived = tf.nest.map_structure(lambda steps: in_a_row(steps[::-1]), arrived)
    rest = tf.nest.map_structure(lambda lanes: lanes[:-1], known)
    if late.late == "feedback":
        return _summed(arrived, feedback), rest
    arrived = arrived._replace(weight=tf.where(arrived.reward > 0.0, arrived.weight, 0.0), joins=tf.ones_like(arrived.weight, tf.bool))
    unclicked = fresh._replace(reward=tf.zeros_like(fresh.reward), joins=tf.zeros_like(fresh.weight, tf.bool))
    return _summed(tf.nest.map_structure(lambda *lanes: tf.concat(lanes, 1), unclicked, arrived), feedback), rest


def _summed(events: Events, like: Feedback) -> Feedback:
    """Decisions with their sums by arm: what joins has been shown before."""
    weight, reward = (tf.cast(values, tf.float64) for values in (events.weight, events.reward))
    of_arm = tf.one_hot(events.arm, like.shown.shape[1], dtype=tf.float64)  # [R, lanes, A]
    showings = weight if events.joins is NOTHING else tf.where(events.joins, tf.zeros_like(weight), weight)
    shown, clicks = (tf.reduce_sum(of_arm * values[..., None], 1)[..., None] for values in (showings, weight * reward))
    return Feedback(shown, clicks, events)
