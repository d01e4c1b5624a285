"""The work of a replay cut into chunks, each a function of its own inputs alone: it can run anywhere, and be kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes import __version__, random
from recbayes.engine import Kept
from recbayes.policies import Policy
from recbayes.replay.delay import Late
from recbayes.replay.learner import Again, Bound
from recbayes.replay.program import Played, Program, compiled, ended, spanned
from recbayes.replay.result import EARLY
from recbayes.replay.world import Part, World
from recbayes.types import Array


class Job(NamedTuple):
    """A chunk of replicas of one policy in one part. first: number of its first replica; seeds: of world and policy, int32 [R, 2, 2]."""

    policy: Policy
    bound: Bound
    part: Part
    first: int
    seeds: Array


class Study(NamedTuple):
    """A world and all chunks that are to be played over it, on a device of each process."""

    world: World
    work: Sequence[Job]
    device: str


def jobs(world: World, policies: Sequence[Policy], bound: Mapping[str, Bound], seeds: int, seed: int, width: int) -> list[Job]:
    """All chunks of `width` replicas, the first of each policy first: compiling, once a program, is so spread over the threads.

    What is made anew on a schedule is so for each replica, and goes by itself.
    """
    replicas = streams(seed, seeds)
    kinds = {bound[policy.name].together for policy in policies}
    steps = 0 if isinstance(world.delay, Late) else seeds * world.steps  # random delays go by place, which the seeds must not move
    parts = {together: world.parts(together=together, played=steps) for together in kinds}
    widths = {name: 1 if learner.again else width for name, learner in bound.items()}
    alone = {policy.name: policy._replace(learner=None) for policy in policies}  # what it learns with is bound
    return [
        Job(
            alone[policy.name], bound[policy.name], part, first, np.resize(replicas[first : first + wide], (wide, 2, 2))
        )  # filled up with repeats
        for first in range(0, seeds)
        for policy in policies
        if first % (wide := widths[policy.name]) == 0
        for part in parts[bound[policy.name].together]
    ]


def streams(seed: int, seeds: int) -> Array:
    """Seeds of the world's and the policy's streams of each replica, int32 [R, 2, 2]; a replica's do not depend on how many there are."""
    return random.split([seed, 0], 2 * seeds).numpy().reshape(seeds, 2, 2)


def play(world: World, job: Job, device: str) -> Played:
    """A chunk, as NumPy arrays."""
    with tf.device(device):
        if job.bound.again:
            played = in_spans(world, job, job.bound.again)
        else:
            played = compiled(Program.of(job.policy, job.bound, world, early_steps(world.steps)))(*_given(job, job.bound))
        return tf.nest.map_structure(lambda values: values.numpy(), played)


def in_spans(world: World, job: Job, again: Again) -> Played:
    """A replica whose learner is made anew after every so many steps from what it has been told."""
    bound, place, present = job.bound, job.part.lay(np.arange(len(world.segments))), np.asarray(job.part.scene.present)
    early = early_steps(world.steps)
    now = spanned(Program.of(job.policy, bound, world, early))[0](*_given(job, bound)[:4])
    for first in range(0, world.steps, again.every):
        last = min(first + again.every, world.steps)
        span = spanned(Program.of(job.policy, bound, world, early))[1]
        now = span(*_given(job, bound), now, tf.constant(first), tf.constant(last))
        if last < world.steps:
            seed = int(random.fold(job.seeds[0, 1], last)[0]) & 0x7FFFFFFF
            bound = again.made(now.learner, place, present, seed)
    return ended(now)


def _given(job: Job, bound: Bound) -> tuple[Any, ...]:
    """The arguments of a chunk's program, with the prior of a learner."""
    arms = tf.nest.map_structure(lambda values: None if values is None else tf.constant(job.part.lay(values)), bound.arms)
    scene, settings = (tf.nest.map_structure(tf.constant, values) for values in (job.part.scene, bound.settings))
    worlds, policies = (tf.constant(job.seeds[:, stream]) for stream in range(2))
    return scene, arms, settings, worlds, policies, tf.constant(job.policy.exploration, tf.float32)


def early_steps(steps: int) -> int:
    """Updates in the horizon's first part."""
    return max(1, round(steps * EARLY))


def played(study: Study, number: int) -> Played:
    """One of a study's chunks: what an engine does."""
    return play(study.world, study.work[number], study.device)


def kept(study: Study, folder: Path) -> Kept:
    """Where a study's chunks are kept."""
    return Kept(folder, lambda number: fingerprint(study.world, study.work[number]), _packed, _unpacked)


def program_of(study: Study, number: int) -> Hashable:
    """Equal for chunks that share a compiled program."""
    job = study.work[number]
    return Program.of(job.policy, job.bound, study.world, early_steps(study.world.steps)), job.part.scene.present.shape


def fingerprint(world: World, job: Job) -> str:
    """A hash of all that a chunk depends on."""
    about: list[Any] = [
        __version__,
        tf.__version__,
        world.kind,
        world.steps,
        world.delay,
        job.policy.kind,
        sorted(job.policy.settings.items()),
        repr((world.rules.key, job.bound.program)),
        job.bound.again and (job.bound.again.every, job.bound.again.token),
    ]
    digest = hashlib.sha256(json.dumps(about, default=str).encode())
    for values in tf.nest.flatten((job.part.scene, job.part.groups, job.bound.arms, job.bound.settings, job.seeds)):
        digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:24]


def _packed(played: Played) -> dict[str, Array]:
    """A chunk as a file holds it."""
    return {f"{part}/{name}": values for part, named in played._asdict().items() for name, values in named.items()}


def _unpacked(saved: Mapping[str, Array]) -> Played:
    """What a file of a chunk holds."""
    parts: dict[str, dict[str, Array]] = {part: {} for part in Played._fields}
    for key, values in saved.items():
        part, _, name = key.partition("/")
        parts[part][name] = values
    return Played(**parts)
