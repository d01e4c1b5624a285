"""Worlds of decisions that come one after another: what the wheel, classification and logged events have in common.

A step takes a batch of decisions, each with its own context; the learner hears of them after the step. Random numbers are keyed by
(replica, decision), so that policies meet the same contexts, the same noise and the same choice of arm from equal probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.log import Log
from recbayes.replay.delay import Late, delay_fault, says
from recbayes.replay.outcomes import uniforms
from recbayes.replay.world import NOTHING, Events, Feedback, Part, Rules, Scene
from recbayes.types import Array, Clock, Tensor

OPTIMUM_KNOWN = ("clicks", "expected_clicks", "regret", "uniform_clicks", "uniform_regret")
"""What a world earns in which the best arm's mean reward is known."""
UNROLLED = 64
"""Up to so many arms a choice is drawn by sums written out, four times as fast as by XLA's running sum, to the same bits."""


class StreamWorld(NamedTuple):
    """A stream of decisions among arms that are numbered once and for all. Built by `wheel`, `classification` and others.

    kind: the function that built it; names: of the arms; events: decisions; batch: decisions a step; delay: in steps, or their law;
    context_width, feature_width: numbers in a context and in an arm's features; clicks_only: rewards are 0 or 1; data: what the functions
    need, NumPy arrays; rules: the functions; notes: what results say of it besides; log_order: how replicas pass the rows of one log.
    """

    kind: str
    names: tuple[str, ...]
    events: int
    batch: int
    delay: int | Late
    context_width: int
    feature_width: int
    clicks_only: bool
    data: Any
    rules: Rules
    notes: Mapping[str, Any]
    log_order: str = ""

    @property
    def steps(self) -> int:
        """Updates."""
        return -(-self.events // self.batch)

    @property
    def rows(self) -> Log | None:
        """Nothing is known of the arms but what decisions say."""
        return None

    @property
    def segments(self) -> Array:
        """All arms compete, [A]."""
        return np.zeros(len(self.names), np.int32)

    @property
    def items(self) -> Array:
        """Every arm is an item of its own, [A]."""
        return np.arange(len(self.names), dtype=np.int32)

    @property
    def clusters(self) -> Array:
        """The stream is one group, [1]."""
        return np.zeros(1, np.int32)

    @property
    def uniform_rate(self) -> None:
        """A replica's contexts decide what uniform is expected to earn."""
        return

    def parts(self, *, together: bool = False, played: int = 0) -> list[Part]:
        """The stream."""
        present = np.ones((len(self.names), 1), bool)
        return [Part(Scene(present, self.data), np.zeros(1, np.int32), lambda values: np.moveaxis(np.asarray(values), 0, -1)[..., None])]

    def decisions(self, step: int | Array) -> Array:
        """Decisions before a step, int64 [..., 1]."""
        return np.minimum(np.asarray(step, np.int64) * self.batch, self.events)[..., None]

    def about(self) -> dict[str, Any]:
        """Arms and decisions, and the world's own notes."""
        return {"groups": 1, "groups_left_out": 0, "left_out": {}, "arms": len(self.names), "decisions": self.events, **self.notes}

    def _repr_html_(self) -> str:
        late = says(self.delay)
        batches = f" in batches of {self.batch:,}" if self.batch > 1 else ""
        return f"<p><b>{self.kind}</b>: {len(self.names):,} arms, {self.events:,} decisions{batches}{late}.</p>"


def places(t: Tensor, batch: int, events: int) -> tuple[Tensor, Tensor]:
    """Numbers of a step's decisions, int32 [B], and whether the stream has them, bool [B]."""
    place = t * batch + tf.range(batch)
    return place, place < events


def clock(t: Tensor, replicas: int, batch: int, events: int, share: Any = 1.0) -> Clock:
    """Where a step's decisions stand, each [R, B].

    share: of the decisions, those that the policy is expected to take itself: it reckons with them, and with an update for each batch of
    at least one of them.
    """
    left, shape = tf.cast(events - t * batch, tf.float32), [replicas, batch]
    done, size = (tf.cast(number, tf.float32) * share for number in (t * batch, batch))
    size = tf.maximum(size, 1.0)
    return Clock(*(tf.fill(shape, value) for value in (done / size, left * share, tf.minimum(left, size))))


def luck(seeds: Tensor, places: Tensor, kinds: int) -> list[Tensor]:
    """Uniform numbers of each decision, float64: `kinds` tensors [R, B]; of the same kind and place they are the same to every policy."""
    lanes = tf.broadcast_to(tf.range(kinds)[:, None], [kinds, places.shape[0]])
    return tf.unstack(uniforms(seeds[:, None, None], lanes[None], tf.broadcast_to(places, lanes.shape)[None]), axis=1)


def drawn(probabilities: Tensor, u: Tensor) -> Tensor:
    """The arm that is shown, by inversion: probabilities [R, B, A], u [R, B] -> int32 [R, B]. An arm of probability 0 is never shown."""
    shares = tf.cast(probabilities, tf.float64)
    if shares.shape[-1] > UNROLLED:
        below = tf.cumsum(shares, -1)
        return tf.reduce_sum(tf.cast(below <= (u * below[..., -1])[..., None], tf.int32), -1)
    sums = list(itertools.accumulate(tf.unstack(shares, axis=-1)))
    return tf.add_n([tf.cast(below <= u * sums[-1], tf.int32) for below in sums])


def told(arm: Tensor, reward: Tensor, weight: Tensor, arms: int, context: Any = NOTHING, features: Any = NOTHING) -> Feedback:
    """Feedback of decisions: the events [R, B], and their sums by arm."""
    shown = tf.one_hot(arm, arms, dtype=tf.float64) * tf.cast(weight, tf.float64)[..., None]  # [R, B, A]
    clicks = shown * tf.cast(reward, tf.float64)[..., None]
    events = Events(tf.cast(weight, tf.float32), arm, tf.cast(reward, tf.float32), context, features)
    return Feedback(tf.reduce_sum(shown, 1)[..., None], tf.reduce_sum(clicks, 1)[..., None], events)  # [R, A, 1]


def summed(there: Tensor, earned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Earnings of decisions [R, B], of those that are there, as the runner wants them: float64 [R, 1]."""
    return {name: tf.reduce_sum(tf.where(there, tf.cast(values, tf.float64), 0.0), 1, keepdims=True) for name, values in earned.items()}


def paid(reward: Tensor, means: Tensor, arm: Tensor) -> dict[str, Tensor]:
    """What decisions earned, by the names of `OPTIMUM_KNOWN`, each [R, B].

    Args:
      reward: what the shown arm paid, [R, B].
      means: what each arm pays on average, [R, B, A].
      arm: the one that was shown, [R, B].
    """
    expected, uniform, best = at(means, arm), tf.reduce_mean(means, -1), tf.reduce_max(means, -1)
    earned = (reward, expected, best - expected, uniform, best - uniform)
    return dict(zip(OPTIMUM_KNOWN, earned, strict=True))


def at(values: Tensor, arm: Tensor) -> Tensor:
    """The shown arm's value: [R, B, A], [R, B] -> [R, B]; by a sum, which compiles to less than a gather."""
    chosen = tf.range(values.shape[-1]) == arm[..., None]
    return tf.reduce_sum(tf.where(chosen, values, tf.zeros_like(values)), -1)


def stream_faults(events: int, batch: int, delay: Any, *, clicks_only: bool) -> list[tuple[bool, str]]:
    """What may be wrong with the settings that all streams have."""
    return [
        (events < 1, f"events is {events}, must be at least 1"),
        (batch < 1, f"batch is {batch}, must be at least 1"),
        delay_fault(delay, clicks_only=clicks_only),
    ]
