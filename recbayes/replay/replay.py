"""The runner: policies over a world, in chunks of replicas, on threads or a GPU, resumable.

The result is a function of world, policies, learners, seeds and seed: an interruption or the order in which chunks finish changes
nothing, and the chunks' width no more than compiled code's rounding.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tensorflow as tf

from recbayes.policies import Policy
from recbayes.replay.counts import counts
from recbayes.replay.density import density
from recbayes.replay.jobs import Job, early_steps, jobs, kept
from recbayes.replay.learner import Bound, Learner
from recbayes.replay.program import Played
from recbayes.replay.result import Result
from recbayes.replay.world import World, blocks
from recbayes.types import Array, UserError

CHECKPOINTS = 20
"""Points of the horizon at which results are kept."""


def replay(
    world: World,
    policies: Sequence[Policy],
    *,
    seeds: int = 20,
    seed: int = 0,
    replica_chunk: Literal["auto"] | int = "auto",
    device: Literal["auto", "cpu", "gpu"] = "auto",
    progress: Callable[..., None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Result:
    """Play policies over a world.

    Args:
      world: what can be shown and what comes back: `queue(log)`.
      policies: with their learners; `uniform()` has none. A fitted model as learner is `density(fitted)`.
      seeds: replicas of each policy; replica r of every policy meets the same luck.
      seed: of all replicas.
      replica_chunk: replicas simulated at once; more takes more memory.
      device: auto takes a GPU if there is one.
      progress: called with (done, total, policy's name) after each chunk.
      checkpoint: a folder; a replay that was interrupted goes on from it, with the same numbers.

    Returns: clicks and lifts with intervals.
    Raises: UserError if policies share a name or lack a learner, or a GPU is asked for and there is none.

    >>> import recbayes as rb
    >>> roles = {"clicks": "clicks", "impressions": "impressions", "group": "clickability_test_id"}
    >>> tests = rb.read_log("example:upworthy", **roles, features=["headline"])
    >>> world = rb.queue(tests.take(tests.segments[0] < 30), steps=4)
    >>> result = rb.replay(world, [rb.uniform(), rb.greedy(rb.counts())], seeds=2)
    >>> result.best, result.compare("counts/greedy", "uniform").lift > 0.0
    ('counts/greedy', True)
    """
    _check(policies, seeds, replica_chunk)
    place, workers = _device(device)
    policies = [policy._replace(learner=_learner(policy)) for policy in policies]
    width = _width(world, seeds, replica_chunk, place)
    work = jobs(world, policies, _bind(world, policies), seeds, seed, width)
    played: dict[str, list[tuple[Job, Played]]] = {policy.name: [] for policy in policies}
    folder = None if checkpoint is None else Path(checkpoint)
    for done, (job, chunk) in enumerate(_finished(world, work, place, workers, folder), 1):
        played[job.policy.name].append((job, chunk))
        if progress is not None:
            progress(done, len(work), job.policy.name)
    return _result(world, policies, played, seeds, seed)


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


def _device(device: str) -> tuple[str, int]:
    """Where to run, and on how many threads."""
    if device not in ("auto", "cpu", "gpu"):
        raise UserError(f"replay: device is {device!r}, must be auto, cpu or gpu")
    found = tf.config.list_logical_devices("GPU") if device != "cpu" else []
    if device == "gpu" and not found:
        raise UserError("replay: device is gpu, but TensorFlow finds none. Install recbayes[gpu] and its driver, or use auto.")
    return ("/GPU:0", 1) if found else ("/CPU:0", min(os.cpu_count() or 1, 8))


def _learner(policy: Policy) -> Learner:
    """A policy's learner; a fitted model stands for the density learner, and uniform does not look at what it is told."""
    learner = policy.learner
    if isinstance(learner, Learner):
        return learner
    if policy.kind == "uniform" or learner == "counts":
        return counts()
    if not hasattr(learner, "densities"):
        raise UserError(
            f"replay: {policy.name} has the learner {learner!r}. It takes a fitted model, rb.counts(...) or rb.density(fitted)."
        )
    return density(learner)


def _bind(world: World, policies: Sequence[Policy]) -> dict[str, Bound]:
    """Each policy's learner on the world, equal learners bound once."""
    bound: dict[Any, Bound] = {}
    for policy in policies:
        if policy.learner.identity not in bound:
            bound[policy.learner.identity] = policy.learner.bind(world)
    return {policy.name: bound[policy.learner.identity] for policy in policies}


def _width(world: World, seeds: int, asked: Literal["auto"] | int, place: str) -> int:
    """Replicas a chunk: a few on a CPU, so that a step's numbers stay in its cache; many on a GPU."""
    if asked != "auto":
        return asked
    cells = sum(block.place.size for block in blocks(world.segments))
    return int(np.clip((1 << 15 if "CPU" in place else 1 << 20) // cells, 1, seeds))


def _finished(world: World, work: list[Job], place: str, workers: int, folder: Path | None) -> Iterator[tuple[Job, Played]]:
    """Chunks and what they earned, as they finish."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(kept, world, job, place, folder): job for job in work}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _result(world: World, policies: Sequence[Policy], played: Mapping[str, list[tuple[Job, Played]]], seeds: int, seed: int) -> Result:
    early = early_steps(world.steps)
    expected, first = {}, {}
    for name, chunks in played.items():
        expected[name], first[name] = np.zeros((seeds, world.groups)), np.zeros((seeds, world.groups))
        for job, chunk in chunks:
            last, there = min(job.first + len(job.seeds), seeds), job.block.groups >= 0
            for into, values in ((expected[name], chunk.total), (first[name], chunk.early)):
                into[job.first : last, job.block.groups[there]] = values[: last - job.first, there]
    uniform_rate = world.uniform_rate
    greedy = {policy.learner.identity: policy.name for policy in reversed(policies) if policy.kind == "greedy"}
    return Result(
        rows=pd.concat([_rows(world, name, chunks, seeds, uniform_rate) for name, chunks in played.items()], ignore_index=True),
        expected=expected,
        early=first,
        uniform=world.horizon * uniform_rate,
        uniform_early=world.decisions(early) * uniform_rate,
        clusters=world.clusters,
        explorations={policy.name: policy.settings.get("exploration") for policy in policies},
        baselines={p.name: greedy[p.learner.identity] for p in policies if p.kind != "uniform" and p.learner.identity in greedy},
        about={
            "world": world.kind,
            "groups": world.groups,
            "groups_left_out": int(sum(world.left_out.values())),
            "left_out": dict(world.left_out),
            "arms": len(world.clicks),
            "decisions": int(world.horizon.sum()),
            "steps": world.steps,
            "delay": world.delay,
            "seeds": seeds,
            "seed": seed,
            "learners": {policy.name: policy.learner.kind for policy in policies},
        },
    )


def _rows(world: World, name: str, chunks: Sequence[tuple[Job, Played]], seeds: int, uniform_rate: Array) -> pd.DataFrame:
    """A row a (seed, checkpoint) of one policy."""
    steps = np.unique(np.linspace(0, world.steps, CHECKPOINTS + 1).round().astype(int))[1:]
    decisions = world.decisions(steps)  # [C, G]
    clicks, expected = np.zeros((2, len(steps), seeds))
    for job, chunk in chunks:
        last = min(job.first + len(job.seeds), seeds)
        for into, values in ((clicks, chunk.clicks), (expected, chunk.expected)):
            into[:, job.first : last] += values[steps - 1, : last - job.first]
    number = len(steps)
    return pd.DataFrame(
        {
            "policy": name,
            "seed": np.repeat(np.arange(seeds), number),
            "checkpoint": np.tile(np.arange(1, number + 1), seeds),
            "share": np.tile(steps / world.steps, seeds),
            "decisions": np.tile(decisions.sum(1), seeds),
            "clicks": clicks.T.ravel(),
            "expected_clicks": expected.T.ravel(),
            "uniform_clicks": np.tile(decisions @ uniform_rate, seeds),
        }
    )
