"""The runner: policies over a world, in chunks of replicas, on threads, a GPU or a cluster, resumable.

The result is a function of world, policies, learners, seeds and seed: an interruption or the order in which chunks finish changes
nothing, and the chunks' width no more than compiled code's rounding.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tensorflow as tf

from recbayes.engine import Engine, Kind, Work, opened, results
from recbayes.engine.worker import threads_here
from recbayes.policies import Policy
from recbayes.policies.base import CONTROL
from recbayes.replay.controls import guarded
from recbayes.replay.counts import counts
from recbayes.replay.delay import told
from recbayes.replay.density import density
from recbayes.replay.jobs import Job, Study, early_steps, jobs, kept, played, program_of
from recbayes.replay.learner import Bound, Learner, nothing
from recbayes.replay.program import Played
from recbayes.replay.result import Result
from recbayes.replay.world import World
from recbayes.types import Array, UserError

CHECKPOINTS = 20
"""Points of the horizon at which results are kept."""
ROOM, MOST = 1 << 26, 1 << 29
"""Numbers that learners of a chunk may keep by default (256 MB in float32, some times as much while they are updated), and of a replica."""


def replay(
    world: World,
    policies: Sequence[Policy],
    *,
    seeds: int = 20,
    seed: int = 0,
    replica_chunk: Literal["auto"] | int = "auto",
    device: Literal["auto", "cpu", "gpu"] = "auto",
    controls: Literal["all"] | Sequence[str] = (),
    progress: Callable[..., None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    engine: Kind | Engine = "local",
) -> Result:
    """Play policies over a world.

    Args:
      world: what can be shown and what comes back: `queue(log)`.
      policies: with their learners; `uniform()` has none. A fitted model as learner is `density(fitted)`. A grid of explorations is a
        policy a value, and they share one compiled program.
      seeds: replicas of each policy; replica r of every policy meets the same luck.
      seed: of all replicas.
      replica_chunk: replicas simulated at once; more takes more memory.
      device: auto takes a GPU if there is one.
      controls: names of policies whose shuffled control is played too (`rb.shuffled`), or all that look at uncertainty; uniform, and greedy
        over each learner, are then added where they are missing.
      progress: called with (done, total, policy's name) after each chunk.
      checkpoint: a folder; a replay that was interrupted goes on from it, with the same numbers.
      engine: where chunks are played, with the same numbers: local, this process; ray, workers of a cluster of this machine alone; or what
        `rb.engine` opened, which serves several replays.

    Returns: clicks and lifts with intervals.
    Raises: UserError if policies share a name or lack a learner, or a GPU is asked for and there is none, or the engine is none.

    >>> import recbayes as rb
    >>> roles = {"clicks": "clicks", "impressions": "impressions", "group": "clickability_test_id"}
    >>> tests = rb.read_log("example:upworthy", **roles, features=["headline"])
    >>> world = rb.queue(tests.take(tests.segments[0] < 30), steps=4)
    >>> result = rb.replay(world, [rb.uniform(), rb.greedy(rb.counts())], seeds=2)
    >>> result.best, result.compare("counts/greedy", "uniform").lift > 0.0
    ('counts/greedy', True)
    """
    policies = [one for policy in policies for one in policy.members]
    _check(policies, seeds, replica_chunk)
    with opened(engine) as runner:
        place, threads = _device(device, runner)
        policies = guarded([policy._replace(learner=_learner(policy)) for policy in policies], controls)
        bound = _bind(world, policies)
        width = _width(world, bound, seeds, replica_chunk, place)
        study = Study(world, jobs(world, policies, bound, seeds, seed, width), place)
        earned: dict[str, list[tuple[Job, Played]]] = {policy.name: [] for policy in policies}
        for done, (job, chunk) in enumerate(_finished(study, runner, threads, checkpoint), 1):
            earned[job.policy.name].append((job, chunk))
            if progress is not None:
                progress(done, len(study.work), job.policy.name)
    return _result(world, policies, earned, seeds, seed)


def _check(policies: Sequence[Policy], seeds: int, replica_chunk: Any) -> None:
    names = Counter(policy.name for policy in policies)
    faults = [f"several policies are named {name}: give each a name of its own (name=...)" for name, times in names.items() if times > 1]
    faults += [
        f"{policy.name} has no learner: give it one, say {policy.kind}(counts()) or {policy.kind}(fitted)"
        for policy in policies
        if policy.kind != "uniform" and policy.learner is None
    ]
    if not policies:
        faults.append("no policies: give at least one, say [rb.uniform(), rb.greedy(rb.counts())]")
    if seeds < 1:
        faults.append(f"seeds is {seeds}, must be at least 1")
    if replica_chunk != "auto" and not (isinstance(replica_chunk, int) and replica_chunk >= 1):
        faults.append(f"replica_chunk is {replica_chunk!r}, must be auto or a number of at least 1")
    if faults:
        raise UserError(f"replay: {'; '.join(faults)}")


def _device(device: str, engine: Engine) -> tuple[str, int]:
    """Where to run, and on how many threads."""
    if device not in ("auto", "cpu", "gpu"):
        raise UserError(f"replay: device is {device!r}, must be auto, cpu or gpu")
    if engine.apart and device == "gpu":
        raise UserError(f"replay: device is gpu, but workers of {engine.name} play on CPUs. Take device auto or cpu, or the engine local.")
    found = tf.config.list_logical_devices("GPU") if device != "cpu" and not engine.apart else []
    if device == "gpu" and not found:
        raise UserError("replay: device is gpu, but TensorFlow finds none. Install recbayes[gpu] and its driver, or use auto.")
    return ("/GPU:0", 1) if found else ("/CPU:0", min(threads_here(), 8))  # a worker computes on one alone


def _learner(policy: Policy) -> Learner:
    """A policy's learner; a fitted model stands for the density learner, and uniform does not look at what it is told."""
    learner = policy.learner
    if isinstance(learner, Learner):
        if policy.of_rates and not learner.of_rates:
            raise UserError(
                f"replay: {policy.name}: {policy.kind} reckons with click rates in (0, 1), and {learner.kind} learns a reward of any size."
                " Use ucb or thompson over it, or counts or density as the learner."
            )
        return learner
    if policy.kind == "uniform":
        return nothing()
    if learner == "counts":
        return counts()
    if not hasattr(learner, "densities"):
        raise UserError(
            f"replay: {policy.name} has the learner {learner!r}. It takes a fitted model, or counts(...), linear(...), density(...)."
        )
    return density(learner)


def _bind(world: World, policies: Sequence[Policy]) -> dict[str, Bound]:
    """Each policy's learner on the world, equal learners bound once."""
    bound: dict[Any, Bound] = {}
    for policy in policies:
        if policy.learner.identity not in bound:
            bound[policy.learner.identity] = policy.learner.bind(world)
    return {policy.name: bound[policy.learner.identity] for policy in policies}


def _width(world: World, bound: Mapping[str, Bound], seeds: int, asked: Literal["auto"] | int, place: str) -> int:
    """Replicas a chunk: a few on a CPU, so that a step's numbers stay in its cache; many on a GPU; as many as learners leave room for.

    Raises: UserError if one replica of a learner takes more than `MOST` numbers.
    """
    large = max(bound, key=lambda name: bound[name].numbers)
    numbers = bound[large].numbers
    if numbers > MOST:
        raise UserError(
            f"replay: the learner of {large} keeps {numbers:,} numbers a replica, at most {MOST:,} are taken. Name fewer columns of the"
            " context, or use `shared` over features of the items."
        )
    if asked != "auto":
        return asked
    cells = sum(part.scene.present.size for part in world.parts())
    most, room = (1 << 15, ROOM) if "CPU" in place else (1 << 20, 16 * ROOM)
    return int(np.clip(min(most // cells, room // max(numbers, 1)), 1, seeds))


def _finished(study: Study, engine: Engine, threads: int, checkpoint: str | os.PathLike[str] | None) -> Iterator[tuple[Job, Played]]:
    """Chunks and what they earned, as they finish."""
    folder = None if checkpoint is None else kept(study, Path(checkpoint))
    fits = any(job.bound.again for job in study.work)  # on the host, not in a compiled program
    work = Work(played, study, alike=partial(program_of, study), at_once=threads, whole=fits)
    for number, chunk in results(engine, work, len(study.work), kept=folder):
        yield study.work[number], chunk


def _result(world: World, policies: Sequence[Policy], played: Mapping[str, list[tuple[Job, Played]]], seeds: int, seed: int) -> Result:
    early = early_steps(world.steps)
    total = {name: by_decision(_by_group(world, chunks, seeds, "total"), world.decisions(world.steps)) for name, chunks in played.items()}
    first = {name: by_decision(_by_group(world, chunks, seeds, "early"), world.decisions(early)) for name, chunks in played.items()}
    _check_matches(total)
    uniform, uniform_early = _uniform(world, total, world.steps), _uniform(world, first, early)
    names = {policy.name for policy in policies}
    greedy = {policy.learner.identity: policy.name for policy in reversed(policies) if policy.kind == "greedy"}
    return Result(
        rows=pd.concat([_rows(world, name, chunks, seeds) for name, chunks in played.items()], ignore_index=True),
        expected={name: values["expected_clicks"] for name, values in total.items()},
        early={name: values["expected_clicks"] for name, values in first.items()},
        uniform=uniform,
        uniform_early=uniform_early,
        clusters=world.clusters,
        explorations={policy.name: policy.settings.get("exploration") for policy in policies},
        baselines={p.name: greedy[p.learner.identity] for p in policies if p.kind != "uniform" and p.learner.identity in greedy},
        about={
            "world": world.kind,
            **world.about(),
            "steps": world.steps,
            "delay": told(world.delay),
            "seeds": seeds,
            "seed": seed,
            "learners": {policy.name: policy.learner.kind for policy in policies},
        },
        uncertain=frozenset(policy.name for policy in policies if policy.uncertain and not policy.is_control),
        arms=_arms(world, played, seeds),
        controls={stem: f"{stem}{CONTROL}" for stem in names if f"{stem}{CONTROL}" in names},
        log_order=world.log_order,
    )


def _by_group(world: World, chunks: Sequence[tuple[Job, Played]], seeds: int, what: Literal["total", "early"]) -> dict[str, Array]:
    """A policy's sums by name, [R, G]."""
    sums: dict[str, Array] = {}
    for job, chunk in chunks:
        last, there = min(job.first + len(job.seeds), seeds), job.part.groups >= 0
        for name, values in getattr(chunk, what).items():
            into = sums.setdefault(name, np.zeros((seeds, len(world.clusters))))
            into[job.first : last, job.part.groups[there]] = values[: last - job.first, there]
    return sums


def _arms(world: World, played: Mapping[str, list[tuple[Job, Played]]], seeds: int) -> pd.DataFrame:
    """Showings and clicks of each arm under each policy, means over replicas."""
    item = np.asarray(world.names)
    frames = []
    for name, chunks in played.items():
        sums = np.zeros((2, len(world.segments)))
        for job, chunk in chunks:
            last, present = min(job.first + len(job.seeds), seeds), np.asarray(job.part.scene.present)
            places = job.part.lay(np.arange(len(world.segments)))[present]
            sums[:, places] += [chunk.arms[what][: last - job.first].sum(0)[present] for what in ("shown", "clicks")]
        columns = {"policy": name, "group": world.segments, "item": item, "shown": sums[0] / seeds, "clicks": sums[1] / seeds}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def by_decision(sums: dict[str, Array], decisions: Array) -> dict[str, Array]:
    """Where a world decides how many decisions count, what is expected is made that of all decisions, by the mean of those that count.

    >>> sums = by_decision({"expected_clicks": 2.0, "decisions": 4.0, "uniform_clicks": 1.0, "uniform_decisions": 10.0}, 20)
    >>> float(sums["expected_clicks"]), float(sums["uniform_clicks"]), float(sums["share_matched"])
    (10.0, 2.0, 0.2)
    """
    if "decisions" not in sums:
        return sums
    rest = {name: values for name, values in sums.items() if name != "uniform_decisions"} | {"share_matched": sums["decisions"] / decisions}
    for name in ("expected_clicks", "uniform_clicks"):
        counted = np.asarray(sums["decisions" if name == "expected_clicks" else "uniform_decisions"])
        rest[name] = np.where(counted > 0.0, sums[name] / np.maximum(counted, 1e-300), np.nan) * decisions
    return rest


def _check_matches(total: Mapping[str, Mapping[str, Array]]) -> None:
    """Raises UserError where a replica matched no event: there is nothing to average."""
    for name, sums in total.items():
        if "decisions" in sums and (none := int((sums["decisions"] <= 0.0).sum())):
            raise UserError(
                f"replay: {name} matched no logged event in {none:,} of {len(sums['decisions']):,} replicas, so nothing can be said of it."
                " More events, fewer arms, or the propensity world with how: weighting."
            )


def _uniform(world: World, sums: Mapping[str, Mapping[str, Array]], step: int) -> Array:
    """What uniform is expected to earn before a step: of each group [G], or in each replica [R, G] where luck decides it."""
    if world.uniform_rate is not None:
        return world.decisions(step) * world.uniform_rate
    return next(iter(sums.values()))["uniform_clicks"]  # the same for every policy


def _rows(world: World, name: str, chunks: Sequence[tuple[Job, Played]], seeds: int) -> pd.DataFrame:
    """A row a (seed, checkpoint) of one policy."""
    curves = _curves(chunks, seeds)
    records = len(curves["clicks"])
    kept = np.unique(np.linspace(0, records, CHECKPOINTS + 1).round().astype(int))[1:]
    steps = -(-kept * world.steps // records)  # records hold whole steps
    decisions, number = world.decisions(steps), len(kept)
    curves = by_decision({name: values[kept - 1] for name, values in curves.items()}, decisions.sum(1)[:, None])
    columns = {
        "policy": name,
        "seed": np.repeat(np.arange(seeds), number),
        "checkpoint": np.tile(np.arange(1, number + 1), seeds),
        "share": np.tile(steps / world.steps, seeds),
        "decisions": np.tile(decisions.sum(1), seeds),
    } | {name: values.T.ravel() for name, values in curves.items()}
    if world.uniform_rate is not None:
        columns["uniform_clicks"] = np.tile(decisions @ world.uniform_rate, seeds)
    return pd.DataFrame(columns)


def _curves(chunks: Sequence[tuple[Job, Played]], seeds: int) -> dict[str, Array]:
    """A policy's sums over all parts of the world by name, up to each record, [records, R]."""
    sums: dict[str, Array] = {}
    for job, chunk in chunks:
        last = min(job.first + len(job.seeds), seeds)
        for name, values in chunk.curves.items():
            sums.setdefault(name, np.zeros((len(values), seeds)))[:, job.first : last] += values[:, : last - job.first]
    return sums
