"""The linear learner's job: contexts of 32 numbers, 20 arms with linear rewards, 16 replicas; events x replicas a second against peers.

`measured` gives figures and ratios for `replay.py`. A replica's contexts are rows of one table, drawn by its own stream.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from linear_peers import frozen_in_numpy, in_mabwiser, in_numba, in_numpy

import recbayes as rb
from recbayes.replay import replay, stream
from recbayes.replay.stream import StreamWorld
from recbayes.replay.world import Feedback, Offer, Rules, Scene
from recbayes.types import Array, Tensor

WIDTH, ARMS, REPLICAS, NOISE, ROWS = 32, 20, 16, 0.5, 8192
ROUNDS = 3
EARNS = ("clicks", "expected_clicks", "regret", "uniform_clicks", "uniform_regret")


def table() -> tuple[Array, Array]:
    """Contexts [N, D] of length about 1, and mean rewards [N, K]."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(ROWS, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)
    return x, (x @ rng.normal(size=(WIDTH, ARMS))).astype(np.float32)


def linear_world(events: int, batch: int) -> StreamWorld:
    """The job as a world."""
    size: dict[str, Any] = {"events": events, "batch": batch}
    rules = Rules(("linear_job", events, batch), True, EARNS, lambda scene, seeds: (), partial(offer, **size), partial(answer, **size))
    names = tuple(str(arm) for arm in range(ARMS))
    return StreamWorld("linear_job", names, events, batch, 0, WIDTH, 0, False, table(), rules, {})


def offer(scene: Scene, state: Any, seeds: Tensor, t: Tensor, *, events: int, batch: int) -> Offer:
    """All arms, in the contexts of drawn rows."""
    replicas = seeds.shape[0]
    context = tf.gather(scene.data[0], rows(seeds, t, events, batch))
    return Offer(tf.ones([replicas, batch, ARMS], tf.bool), stream.clock(t, replicas, batch, events), context)


def answer(
    scene: Scene, state: Any, offer: Offer, probabilities: Tensor, seeds: Tensor, t: Tensor, *, events: int, batch: int
) -> tuple[Any, Feedback, dict[str, Tensor]]:
    """The row's reward of the arm that is shown, with normal noise."""
    places, there = stream.places(t, batch, events)
    _, choice, noise = stream.luck(seeds, places, 3)
    means = tf.gather(scene.data[1], rows(seeds, t, events, batch))
    arm = stream.drawn(probabilities, choice)
    expected, uniform, best = stream.at(means, arm), tf.reduce_mean(means, -1), tf.reduce_max(means, -1)
    reward = expected + NOISE * tf.cast(tf.math.ndtri(noise), tf.float32)
    earned = (reward, expected, best - expected, uniform, best - uniform)
    weight = tf.broadcast_to(tf.cast(there, tf.float32), arm.shape)
    return state, stream.told(arm, reward, weight, ARMS, offer.context), stream.summed(there, dict(zip(EARNS, earned, strict=True)))


def rows(seeds: Tensor, t: Tensor, events: int, batch: int) -> Tensor:
    """Rows of the step's decisions, int32 [R, B]."""
    return tf.cast(stream.luck(seeds, stream.places(t, batch, events)[0], 3)[0] * ROWS, tf.int32)


def measured(events: int) -> tuple[dict[str, float], dict[str, float]]:
    """Figures (events x replicas a second, regrets a decision) and ratios; peers that are not installed are left out.

    All are measured in turn, `ROUNDS` times, and the best of each counts: on a machine with company a burst of other work then
    strikes no side alone.
    """
    learner = rb.linear_learner(noise=1.0, precision=1.0, intercept=False)
    policies = {"linucb": rb.ucb(learner), "lints": rb.thompson(learner, draws=1)}
    peers: dict[str, Callable[..., float] | None] = {"numpy": in_numpy, "numba": in_numba(), "mabwiser": in_mabwiser()}
    work: dict[str, Callable[[int], dict[str, float]]] = {
        name: partial(ours, name, policy, linear_world(events, 1)) for name, policy in policies.items()
    }
    work["frozen"] = partial(ours, "frozen", policies["linucb"], linear_world(60 * 1000, 1000))
    for peer, play in peers.items():
        for name in policies:
            if play is not None:
                few = min(events, 500 if peer == "mabwiser" else events)
                work[f"{name}_{peer}"] = partial(theirs, f"{name}_{peer}", play, few, name == "lints")
    work["frozen_numpy"] = partial(theirs, "frozen_numpy", partial(frozen_in_numpy, batch=1000), 60_000, False)
    figures: dict[str, float] = {}
    for round_ in range(ROUNDS + 1):  # the first compiles
        found = [one(round_) for one in work.values()]
        for name, value in (pair for one in found for pair in one.items()):
            figures[name] = max(value, figures.get(name, 0.0)) if name.endswith("_per_second") and round_ > 1 else value
    pairs = [(name, peer) for name in (*policies, "frozen") for peer in peers if f"{name}_{peer}_per_second" in figures]
    return figures, {f"{name}_vs_{peer}": figures[f"{name}_per_second"] / figures[f"{name}_{peer}_per_second"] for name, peer in pairs}


def ours(name: str, policy: Any, world: StreamWorld, round_: int) -> dict[str, float]:
    """A run of a program, on all cores."""
    width = -(-REPLICAS // (os.cpu_count() or 1))
    start = time.perf_counter()
    result = replay(world, [policy], seeds=REPLICAS, seed=round_, replica_chunk=width)
    seconds = time.perf_counter() - start
    regret = result.to_json()["policies"][policy.name]["regret_per_decision"]
    return {f"{name}_per_second": world.events * REPLICAS / seconds, f"{name}_regret": regret}


def theirs(name: str, play: Callable[..., float], events: int, thompson: bool, round_: int) -> dict[str, float]:
    """One replica on one core; drawing the noise is not counted."""
    rng, (x, means) = np.random.default_rng(round_), table()
    row = rng.integers(0, ROWS, events)
    given = (x[row], means[row], (NOISE * rng.normal(size=events)).astype(np.float32))
    z = rng.normal(size=(events, ARMS)).astype(np.float32) if thompson else None
    start = time.perf_counter()
    regret = play(*given, z)
    return {f"{name}_per_second": events / (time.perf_counter() - start), f"{name}_regret": regret / events}
