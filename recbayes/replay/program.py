"""A chunk of replicas of one policy over one block of groups: the whole horizon in one compiled loop.

A step is a pure function of one replica's state, vectorised over the chunk: what the learner knows -> the policy's probabilities ->
showings -> clicks from what is left -> feedback, after its delay. World and policy draw from streams of their own, the world's keyed by
(replica, arm, step), so that policies meet the same luck and a replica's result does not depend on what shares its chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.policies import Policy
from recbayes.random import fold
from recbayes.replay.each import each
from recbayes.replay.learner import Bound
from recbayes.replay.outcomes import clicks, showings, uniforms
from recbayes.types import Clock, Tensor


class Scene(NamedTuple):
    """One block's world.

    present: bool [A, G]; arm_ids: int32 [A, G], group_ids: int32 [G], what their random numbers are keyed by; clicks, impressions: float64
    [A, G], 0 in padding; horizon: int64 [G], 0 in padding.
    """

    present: Tensor
    arm_ids: Tensor
    group_ids: Tensor
    clicks: Tensor
    impressions: Tensor
    horizon: Tensor


class Played(NamedTuple):
    """What a chunk earned.

    expected, clicks: of all groups of the block after each step, float64 [steps, R]. total, early: expected clicks of each group over the
    horizon and over its first part, float64 [R, G].
    """

    expected: Tensor
    clicks: Tensor
    total: Tensor
    early: Tensor


@dataclass(frozen=True)
class Program:
    """What is compiled once: programs with equal keys are the same, whatever the policy's exploration and the learner's priors."""

    key: Hashable
    policy: Policy = field(compare=False)
    start: Callable[..., Any] = field(compare=False)
    update: Callable[..., Any] = field(compare=False)
    predictive: Callable[..., Any] = field(compare=False)
    steps: int
    delay: int
    early: int

    @classmethod
    def of(cls, policy: Policy, bound: Bound, steps: int, delay: int, early: int) -> Program:
        """The program of a policy over a learner; `early` steps make the horizon's first part."""
        key = (policy.rule, tuple(sorted(policy.static.items())), policy.settings.get("floor"), bound.program)
        return cls(key, policy._replace(learner=None), bound.start, bound.update, bound.predictive, steps, delay, early)


@lru_cache(maxsize=128)
def compiled(program: Program) -> Callable[..., Played]:
    """The program as a function (scene, arms, world_seeds [R, 2], policy_seeds [R, 2], exploration []) -> Played."""

    def play(scene: Scene, arms: Any, world_seeds: Tensor, policy_seeds: Tensor, exploration: Tensor) -> Played:
        return _play(program, scene, arms, world_seeds, policy_seeds, exploration)

    return tf.function(play, jit_compile=True, autograph=False)


def _play(program: Program, scene: Scene, arms: Any, world_seeds: Tensor, policy_seeds: Tensor, exploration: Tensor) -> Played:
    replicas, (places, groups), steps = world_seeds.shape[0], scene.present.shape, program.steps
    candidates = tf.transpose(scene.present)

    def probabilities(state: Any, seed: Tensor, clock: Clock) -> Tensor:
        known = program.predictive(state, arms, scene.present)
        shares = program.policy.probabilities(
            known, candidates, clock, fold(seed, tf.cast(clock.step[0], tf.int32)), exploration=exploration
        )
        return tf.transpose(shares)  # [A, G]

    def step(t: Tensor, state: Any, left: tuple[Tensor, Tensor], pending: Tensor, total: Tensor, early: Tensor, curves: Any) -> Any:
        before, after = (tf.cast(s, tf.int64) * scene.horizon // steps for s in (t, t + 1))
        batch = tf.cast(after - before, tf.float32)
        clock = Clock(tf.fill([groups], tf.cast(t, tf.float32)), tf.cast(scene.horizon - before, tf.float32), batch)
        shares = each(lambda own: probabilities(own[0], own[1], clock), (state, policy_seeds))  # [R, A, G]
        shown = showings(shares, batch, uniforms(world_seeds[:, None], scene.group_ids, t))
        clicks_left, impressions_left = left
        clicked = clicks(uniforms(world_seeds[:, None, None], scene.arm_ids, t), shown, clicks_left, impressions_left)
        expected = tf.reduce_sum(shown * clicks_left / tf.maximum(impressions_left, 1.0), 1)  # [R, G]
        left = clicks_left - clicked, impressions_left - shown
        pending = tf.concat([pending, tf.stack([shown, clicked])[None]], 0)
        state = each(lambda own: program.update(*own), (state, pending[0, 0], pending[0, 1]))
        total += expected
        early = tf.where(t < program.early, total, early)
        curves = [
            curve.write(t, tf.reduce_sum(values, axes))
            for curve, values, axes in zip(curves, (expected, clicked), (1, (1, 2)), strict=True)
        ]
        return t + 1, state, left, pending[1:], total, early, curves

    state = tf.nest.map_structure(lambda leaf: tf.tile(leaf[None], [replicas, *[1] * leaf.shape.rank]), program.start(arms, scene.present))
    left = tuple(tf.tile(values[None], [replicas, 1, 1]) for values in (scene.clicks, scene.impressions))
    pending = tf.zeros([program.delay, 2, replicas, places, groups], tf.float64)
    zero = tf.zeros([replicas, groups], tf.float64)
    curves = [tf.TensorArray(tf.float64, steps, element_shape=[replicas]) for _ in range(2)]
    loop = tf.while_loop(
        lambda t, *_: t < steps, step, (tf.constant(0), state, left, pending, zero, zero, curves), maximum_iterations=steps
    )
    expected, clicked = (tf.cumsum(curve.stack(), 0) for curve in loop[6])
    return Played(expected, clicked, loop[4], loop[5])
