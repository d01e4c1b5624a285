"""The wheel: a test bed in which the reward worth finding lies where contexts rarely fall.

Contexts are uniform in the unit disk. The first of five arms pays 1.2; within radius delta the others pay 1.0; outside, the arm of the
context's quadrant pays 50 and the rest 1.0; all with noise of standard deviation 0.01. Only a share 1 - delta^2 of the contexts lets a
policy learn of the 50, so the larger delta, the more exploring pays. Uniform's regret a decision is .16 delta^2 + 39.16 (1 - delta^2).

Source: Riquelme, Tucker and Snoek 2018, Deep Bayesian bandits showdown, arXiv:1802.09127.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from recbayes.replay import stream
from recbayes.replay.delay import delay_of
from recbayes.replay.faults import check
from recbayes.replay.stream import StreamWorld
from recbayes.replay.world import Feedback, Offer, Rules, Scene
from recbayes.types import Tensor

INNER, SAFE, OUTER, NOISE = 1.0, 1.2, 50.0, 0.01


def wheel(
    *, delta: float = 0.5, events: int = 80_000, batch: int = 1, delay: int | Mapping[str, float | str | Sequence[float]] = 0
) -> StreamWorld:
    """The wheel of five arms.

    Args:
      delta: radius within which the first arm is best, in (0, 1).
      events: decisions.
      batch: decisions before the learner hears of them.
      delay: steps from a batch to its feedback, or their distribution (`replay/delay.py`).

    Returns: the world; its optimum is known, rewards are numbers.
    Raises: UserError if a setting is out of range.

    >>> wheel(delta=0.95, events=1000, batch=10).steps
    100
    """
    inside = (not 0.0 < delta < 1.0, f"delta is {delta}, must be in (0, 1)")
    check("wheel", [inside, *stream.stream_faults(events, batch, delay, clicks_only=False)])
    size: dict[str, Any] = {"events": events, "batch": batch}
    rules = Rules(("wheel", events, batch), True, stream.OPTIMUM_KNOWN, start, partial(offer, **size), partial(answer, **size))
    notes = {"delta": delta, "rewards": "numbers"}
    names = ("safe", *(f"quadrant {number}" for number in range(1, 5)))
    return StreamWorld("wheel", names, events, batch, delay_of(delay), 2, 0, False, np.float32(delta), rules, notes)


def start(scene: Scene, seeds: Tensor) -> Any:
    """Nothing is carried along."""
    return ()


def offer(scene: Scene, state: Any, seeds: Tensor, t: Tensor, *, events: int, batch: int) -> Offer:
    """All arms, at a point of the disk."""
    square, angle = stream.luck(seeds, stream.places(t, batch, events)[0], 4)[:2]
    radius, angle = tf.sqrt(square), 2.0 * math.pi * angle
    context = tf.cast(tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], -1), tf.float32)  # [R, B, 2]
    candidates = tf.ones([seeds.shape[0], batch, 5], tf.bool)
    return Offer(candidates, stream.clock(t, seeds.shape[0], batch, events), context)


def answer(
    scene: Scene, state: Any, offer: Offer, probabilities: Tensor, seeds: Tensor, t: Tensor, *, events: int, batch: int
) -> tuple[Any, Feedback, dict[str, Tensor]]:
    """The shown arm's pay, and what the others would have paid on average."""
    places, there = stream.places(t, batch, events)
    choice, noise = stream.luck(seeds, places, 4)[2:]
    arm, pays = stream.drawn(probabilities, choice), means(offer.context, scene.data)
    reward = stream.at(pays, arm) + NOISE * tf.cast(tf.math.ndtri(noise), tf.float32)
    weight = tf.broadcast_to(tf.cast(there, tf.float32), arm.shape)
    return state, stream.told(arm, reward, weight, 5, offer.context), stream.summed(there, stream.paid(reward, pays, arm))


def means(context: Tensor, delta: Tensor) -> Tensor:
    """Mean reward of each arm, [..., 2] -> [..., 5]."""
    outside = tf.norm(context, axis=-1) > delta
    quadrant = tf.where(context[..., 0] > 0.0, tf.where(context[..., 1] > 0.0, 1, 2), tf.where(context[..., 1] > 0.0, 3, 4))
    pays = tf.where((tf.range(5) == quadrant[..., None]) & outside[..., None], OUTER, INNER)
    return tf.where(tf.range(5) == 0, SAFE, pays)
