"""A chunk of replicas of one policy in one part of a world: the whole horizon in one compiled loop.

A step is a pure function of all replicas' states: what is offered -> what the learner knows -> the policy's probabilities -> what
comes back -> feedback, after its delay. World and policy draw from streams of their own, so that policies meet the same luck and a
replica's result does not depend on what shares its chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.policies import Policy
from recbayes.random import fold
from recbayes.replay.delay import Late, nothing_waits, passed
from recbayes.replay.each import each
from recbayes.replay.learner import Bound, Prior
from recbayes.replay.world import NOTHING, Feedback, Offer, Rules, Scene, World
from recbayes.types import Tensor

RECORDS = 1000
"""At most so many points of the horizon are kept of a replica."""
TOTALS = ("expected_clicks", "uniform_clicks", "decisions", "uniform_decisions")
"""What is kept of each group."""


class Played(NamedTuple):
    """What a chunk earned.

    curves: by name, of all groups of the part up to each record, float64 [records, R]. total, early: by name (of `TOTALS`), of each group
    over the horizon and over its first part, float64 [R, G]. arms: shown and clicks of each arm over the horizon, float64 [R, A, G].
    """

    curves: Mapping[str, Tensor]
    total: Mapping[str, Tensor]
    early: Mapping[str, Tensor]
    arms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Program:
    """What is compiled once: programs with equal keys are the same, whatever the policy's exploration and the learner's priors."""

    key: Hashable
    rules: Rules = field(compare=False)
    policy: Policy = field(compare=False)
    learner: Bound = field(compare=False)
    steps: int
    delay: int | Late
    early: int

    @classmethod
    def of(cls, policy: Policy, bound: Bound, world: World, early: int) -> Program:
        """The program of a policy over a learner in a world; `early` steps make the horizon's first part."""
        rule = (policy.rule, tuple(sorted(policy.static.items())), policy.settings.get("floor"), policy.is_control)
        learner = bound._replace(arms=None, settings=None)
        return cls(
            (rule, bound.program, world.rules.key), world.rules, policy._replace(learner=None), learner, world.steps, world.delay, early
        )

    @property
    def records(self) -> int:
        """Points of the horizon that are kept."""
        return min(self.steps, RECORDS)


class Carried(NamedTuple):
    """What a step hands to the next: the world's state, the learner's, feedback on its way, sums of what was earned, and records."""

    world: Any
    learner: Any
    pending: Any
    total: Mapping[str, Tensor]
    early: Mapping[str, Tensor]
    arms: Mapping[str, Tensor]
    record: Mapping[str, Tensor]
    curves: Mapping[str, tf.TensorArray]


@lru_cache(maxsize=128)
def compiled(program: Program) -> Callable[..., Played]:
    """The program as a function (scene, arms, settings, world_seeds [R, 2], policy_seeds [R, 2], exploration []) -> Played."""

    def play(scene: Scene, arms: Any, settings: Any, world_seeds: Tensor, policy_seeds: Tensor, exploration: Tensor) -> Played:
        return _play(program, scene, Prior(arms, settings, scene.present), world_seeds, policy_seeds, exploration)

    return tf.function(play, jit_compile=True, autograph=False)


@lru_cache(maxsize=128)
def spanned(program: Program) -> tuple[Callable[..., Carried], Callable[..., Carried]]:
    """The program in spans of steps, between which a caller may change the learner's prior: two functions, both compiled.

    The first, of (scene, arms, settings, world_seeds), is what there is before the first step; the second, of (the arguments of
    `compiled`'s, what a span left, first, last), plays steps first ... last - 1. `Carried.curves` are tensors [records, R].
    """

    def begin(scene: Scene, arms: Any, settings: Any, world_seeds: Tensor) -> Carried:
        now = _begin(program, scene, Prior(arms, settings, scene.present), world_seeds)
        blank = tf.zeros([program.records, world_seeds.shape[0]], tf.float64)
        return now._replace(curves=dict.fromkeys(program.rules.earns, blank))

    def span(
        scene: Scene,
        arms: Any,
        settings: Any,
        world_seeds: Tensor,
        policy_seeds: Tensor,
        exploration: Tensor,
        now: Carried,
        first: Tensor,
        last: Tensor,
    ) -> Carried:
        prior = Prior(arms, settings, scene.present)
        now = now._replace(curves={name: _blank(program, world_seeds).unstack(values) for name, values in now.curves.items()})
        now = _steps(program, scene, prior, world_seeds, policy_seeds, exploration, now, (first, last))
        return now._replace(curves={name: curve.stack() for name, curve in now.curves.items()})

    return tuple(tf.function(function, jit_compile=True, autograph=False) for function in (begin, span))


def _play(program: Program, scene: Scene, prior: Prior, world_seeds: Tensor, policy_seeds: Tensor, exploration: Tensor) -> Played:
    start, span = _begin(program, scene, prior, world_seeds), (tf.constant(0), tf.constant(program.steps))
    now = _steps(program, scene, prior, world_seeds, policy_seeds, exploration, start, span)
    return ended(now._replace(curves={name: curve.stack() for name, curve in now.curves.items()}))


def ended(now: Carried) -> Played:
    """What was earned up to the last step; curves as tensors."""
    return Played({name: tf.cumsum(curve, 0) for name, curve in now.curves.items()}, now.total, now.early, now.arms)


def _begin(program: Program, scene: Scene, prior: Prior, world_seeds: Tensor) -> Carried:
    """Before the first step."""
    rules, replicas = program.rules, world_seeds.shape[0]
    start, zeros = rules.start(scene, world_seeds), tf.zeros([replicas, scene.present.shape[1]], tf.float64)
    none = {name: zeros for name in TOTALS if name in rules.earns}
    curves = {name: _blank(program, world_seeds) for name in rules.earns}
    pending = _nothing_yet(program, scene, start, world_seeds)
    record = {name: zeros[:, 0] for name in rules.earns if program.records < program.steps}
    unshown = tf.zeros([replicas, *scene.present.shape], tf.float64)
    return Carried(
        start, program.learner.start(prior, replicas), pending, none, none, {"shown": unshown, "clicks": unshown}, record, curves
    )


def _blank(program: Program, seeds: Tensor) -> tf.TensorArray:
    """Room for a curve."""
    return tf.TensorArray(tf.float64, program.records, element_shape=[seeds.shape[0]])


def _steps(
    program: Program,
    scene: Scene,
    prior: Prior,
    world_seeds: Tensor,
    policy_seeds: Tensor,
    exploration: Tensor,
    start: Carried,
    span: tuple[Tensor, Tensor],
) -> Carried:
    """From before the span's first step to before its last."""
    rules, learner = program.rules, program.learner

    def step(t: Tensor, now: Carried) -> tuple[Tensor, Carried]:
        offer = rules.offer(scene, now.world, world_seeds, t)
        known = learner.look(now.learner, prior, offer)
        shares = _probabilities(program, prior, known, offer, policy_seeds, t, exploration)
        world, feedback, earned = rules.answer(scene, now.world, offer, shares, world_seeds, t)
        arms = {name: values + tf.cast(getattr(feedback, name), tf.float64) for name, values in now.arms.items()}
        feedback, pending = _delayed(program.delay, feedback, now.pending, world_seeds, t)
        total = {name: now.total[name] + earned[name] for name in now.total}
        early = {name: tf.where(t < program.early, total[name], now.early[name]) for name in total}
        record, curves = _recorded(program, t, earned, now)
        return t + 1, Carried(world, learner.update(now.learner, prior, feedback), pending, total, early, arms, record, curves)

    first, last = span
    return tf.while_loop(lambda t, _: t < last, step, (first, start), maximum_iterations=program.steps)[1]


def _probabilities(program: Program, prior: Prior, known: Any, offer: Offer, seeds: Tensor, t: Tensor, exploration: Tensor) -> Tensor:
    """The policy's, [R, B, A], each replica by itself."""

    def one(known: Any, seed: Tensor, offer: Offer) -> Tensor:
        sees = program.learner.predictive(known, prior, offer)
        return program.policy.probabilities(sees, offer.candidates, offer.clock, seed, exploration=exploration)

    seeds = fold(seeds, t)
    if program.rules.own:
        return each(lambda own: one(own[0], own[1], own[2]), (known, seeds, offer))
    return each(lambda own: one(own[0], own[1], offer), (known, seeds))


def _delayed(delay: int | Late, feedback: Feedback, pending: Any, seeds: Tensor, t: Tensor) -> tuple[Feedback, Any]:
    """What the learner is told now, and what is on its way, [delay, ...]."""
    if isinstance(delay, Late):
        return passed(delay, feedback, pending, seeds, t)
    if delay == 0:
        return feedback, pending
    queued = tf.nest.map_structure(lambda waiting, new: tf.concat([waiting, new[None]], 0), pending, feedback)
    return tf.nest.map_structure(lambda waiting: waiting[0], queued), tf.nest.map_structure(lambda waiting: waiting[1:], queued)


def _nothing_yet(program: Program, scene: Scene, start: Any, seeds: Tensor) -> Any:
    """Feedback of the steps before the first: nothing, `delay` times, in the form of an answer that is thrown away."""
    if program.delay == 0:
        return NOTHING
    t = tf.constant(0)
    offer = program.rules.offer(scene, start, seeds, t)
    shares = tf.zeros([seeds.shape[0], *offer.candidates.shape[-2:]])
    _, feedback, _ = program.rules.answer(scene, start, offer, shares, seeds, t)
    if isinstance(program.delay, Late):
        return nothing_waits(program.delay, feedback)
    return tf.nest.map_structure(lambda leaf: tf.zeros([program.delay, *leaf.shape], leaf.dtype), feedback)


def _recorded(
    program: Program, t: Tensor, earned: Mapping[str, Tensor], now: Carried
) -> tuple[dict[str, Tensor], dict[str, tf.TensorArray]]:
    """Earnings of all groups added to the record that step t belongs to; with a record a step nothing needs to be carried."""
    sums = {name: tf.reduce_sum(earned[name], 1) for name in now.curves}
    at = t
    if now.record:
        at, before = (tf.cast(tf.cast(s, tf.int64) * program.records // program.steps, tf.int32) for s in (t, t - 1))
        sums = {name: tf.where(at == before, now.record[name], 0.0) + values for name, values in sums.items()}
    return (sums if now.record else {}), {name: curve.write(at, sums[name]) for name, curve in now.curves.items()}
