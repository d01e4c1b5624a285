"""What a world is to the runner: what can be shown, what comes back, and what was earned. The runner knows no world by name.

A world is data on the host (`World`), laid out in parts of one shape each (`Part`), and pure functions of all replicas of a chunk
(`Rules`), which are compiled with the learner's and the policy's into one loop:

    offer -> the policy's probabilities -> answer -> feedback (after its delay) -> the learner's update

A function that returns a world is a new `kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from recbayes.log import Log
from recbayes.types import Array, Clock, Tensor

NOTHING: tuple[()] = ()
"""Stands where a world has no such tensor; it holds none, so that structures with it map and compile as others do."""


class Offer(NamedTuple):
    """What can be shown in B decisions. Where replicas meet different offers (`Rules.own`), every tensor has R in front.

    candidates: bool [B, A]; clock: each [B]; context: float32 [B, C], or nothing; features: of the arms, float32 [B, A, D], or nothing.
    """

    candidates: Tensor
    clock: Clock
    context: Any = NOTHING
    features: Any = NOTHING


class Events(NamedTuple):
    """Decisions one by one, for learners that need more than counts.

    weight: [R, B], 0 where nothing is to be learnt; arm: int32 [R, B]; reward: [R, B]; context: [R, B, C], or nothing; features: those of
    the arm that was shown, [R, B, D], or nothing. Where they come late (`delay`), place: number of each decision, int32 [R, B]; joins:
    whether only its reward is new, and the decision was told before with reward 0, bool [R, B]; each nothing where none is late.
    """

    weight: Tensor
    arm: Tensor
    reward: Tensor
    context: Any = NOTHING
    features: Any = NOTHING
    place: Any = NOTHING
    joins: Any = NOTHING


def in_a_row(steps: Tensor) -> Tensor:
    """Decisions of several steps one after the other, [W, R, B, ...] -> [R, W B, ...]."""
    lanes = tf.transpose(steps, [1, 0, *range(2, steps.shape.rank)])
    return tf.reshape(lanes, [lanes.shape[0], -1, *lanes.shape[3:]])


class Feedback(NamedTuple):
    """What a step told. All zeros tell nothing.

    shown, clicks: of the arms of G groups, [R, A, G] (of a stream of decisions one group); events: the decisions, or nothing.
    """

    shown: Tensor
    clicks: Tensor
    events: Any = NOTHING


class Scene(NamedTuple):
    """A part of a world, as tensors. present: bool [A, G], where there is an arm; data: what the world's own functions need."""

    present: Tensor
    data: Any


class Part(NamedTuple):
    """A part of a world that is played by itself.

    scene: as NumPy arrays; groups: number of each group that is in it, int32 [G], -1 in padding; lay: values of all arms [N, ...] -> as
    the functions get them, for a learner's prior beliefs.
    """

    scene: Scene
    groups: Array
    lay: Callable[[Array], Array]


class Rules(NamedTuple):
    """The world's functions, pure, of R replicas, compiled under XLA.

    key: equal for worlds whose functions do the same; own: offers differ between replicas; earns: names of what is earned.
    start: (scene, seeds [R, 2]) -> state, R in front. offer: (scene, state, seeds, t []) -> Offer.
    answer: (scene, state, offer, probabilities [R, B, A], seeds, t) -> (state, Feedback, earned). earned: by name, float64 [R, G];
    `expected_clicks` and `clicks` always, `regret` and `uniform_regret` where the optimum is known, `uniform_clicks` where a
    replica's luck decides what uniform is expected to earn, and further columns for the results. A world that decides how many of its
    steps' decisions count earns `decisions` and `uniform_decisions` too: results are then by decision, times the world's decisions.
    """

    key: Hashable
    own: bool
    earns: tuple[str, ...]
    start: Callable[..., Any]
    offer: Callable[..., Offer]
    answer: Callable[..., tuple[Any, Feedback, Mapping[str, Tensor]]]


class World(Protocol):
    """What the runner and learners ask of a world."""

    @property
    def kind(self) -> str:
        """The function that built it."""

    @property
    def steps(self) -> int:
        """Updates."""

    @property
    def delay(self) -> Any:
        """Steps from a decision to its feedback, 0: known before the next step; or their distribution (`delay.Late`)."""

    @property
    def rules(self) -> Rules:
        """Its functions."""

    @property
    def rows(self) -> Log | None:
        """A log with a row an arm, [N]; None where nothing is known of the arms."""

    @property
    def segments(self) -> Array:
        """Group of each arm, int32 [N]."""

    @property
    def items(self) -> Array:
        """Number of each arm's item, equal for an item that is in several groups, int32 [N]."""

    @property
    def names(self) -> Any:
        """What each arm is called, [N]: its item, or its number where items have no names."""

    @property
    def clusters(self) -> Array:
        """Groups that are resampled together, int32 [G]."""

    @property
    def context_width(self) -> int:
        """Numbers in a decision's context; 0: it has none."""

    @property
    def feature_width(self) -> int:
        """Numbers in an arm's features; 0: it has none."""

    @property
    def log_order(self) -> str:
        """How a replica passes the rows of one log: `resampled` or `logged`; empty where each replica is a world of its own."""

    @property
    def clicks_only(self) -> bool:
        """Whether every reward is 0 or 1."""

    @property
    def uniform_rate(self) -> Array | None:
        """Clicks a decision of the uniform policy in each group, exactly, [G]; None where it is played (`uniform_clicks`)."""

    def parts(self, *, together: bool = False, played: int = 0) -> list[Part]:
        """What is played; `together`: one part in any case; `played`: steps of all replicas, the more the finer the parts may be."""

    def decisions(self, step: int | Array) -> Array:
        """Decisions of each group before a step, int64 [..., G]."""

    def about(self) -> dict[str, Any]:
        """What results say of it."""
