"""Speed of replay: Thompson in the queue world and LinUCB, LinTS decision by decision, each against peers in the same run.

    python benchmarks/replay.py [--replicas 8] [--events 20000] [--save]

One replica is 638 tests with 3,268 arms over their whole horizon in 100 updates, Thompson sampling on Beta(1, 1) with 30 draws an update.
Peers, both vectorised over tests and drawing betas with `Generator.beta`: arrays padded to the largest test, as one writes it first, on
one core; and flat arrays with segments, on one core and with replicas on all cores. Compiling is a figure of its own.
The linear learner's job is in `linear_job.py`, its peers (NumPy; numba and MABWiser where they are installed) in `linear_peers.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # peers are on one core; threads of BLAS that wait for each other slow them down

import linear_job
import numpy as np

import recbayes as rb
from recbayes.replay import replay
from recbayes.replay.layout import blocks
from recbayes.replay.queue import QueueWorld

DRAWS, STEPS = 30, 100
ROLES = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id", "time": "test_created_at"}


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=8, help="replicas a measurement")
    parser.add_argument("--events", type=int, default=20_000, help="decisions of the linear learner's job")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/replay.json too")
    options = parser.parse_args()
    found, (figures, ratios) = measured(headline_tests(), options.replicas), linear_job.measured(options.events)
    found["ratios"]["queue_thompson_vs_numpy"] = found["ratios"]["one_normal_over_numpy"]
    line = json.dumps(found | {"figures": found["figures"] | figures, "ratios": found["ratios"] | ratios})
    if options.save:
        (Path(__file__).parent / "results" / "replay.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def headline_tests() -> QueueWorld:
    """The newest fifth of the embedded tests."""
    log = rb.read_log("example:upworthy", features=["headline", "eyecatcher_id"], **ROLES)
    return rb.queue(log.split(by="time", test_fraction=0.2)[1], steps=STEPS)


def measured(world: QueueWorld, replicas: int) -> dict[str, Any]:
    """Replicas a second of every way, and ratios against the peers."""
    figures: dict[str, float] = {}
    lifts: dict[str, float] = {}
    policies = {name: rb.thompson(rb.counts(exact=name == "exact"), draws=DRAWS) for name in ("exact", "one_normal")}
    compiling = {name: timed(replay, world, [policy], seeds=replicas)[0] for name, policy in policies.items()}
    cores = os.cpu_count() or 1
    ways: dict[str, tuple[Callable[[QueueWorld, int], float], int]] = {
        "numpy": (padded, 1),
        "numpy_flat": (flat, 1),
        "numpy_flat_all_cores": (flat, cores),
    }
    for _ in range(linear_job.ROUNDS):  # in turn, and the best of each counts
        for name, policy in policies.items():
            seconds, result = timed(replay, world, [policy], seeds=replicas, seed=1)
            figures[f"{name}_replicas_per_second"] = max(replicas / seconds, figures.get(f"{name}_replicas_per_second", 0.0))
            lifts[name] = result.over_uniform("counts/thompson").lift
        for name, (replica, threads) in ways.items():
            with ThreadPoolExecutor(threads) as pool:
                seconds, clicks = timed(spread, pool, replica, world, replicas)
            figures[f"{name}_replicas_per_second"] = max(replicas / seconds, figures.get(f"{name}_replicas_per_second", 0.0))
            lifts[name] = float(np.mean(clicks) / (world.horizon * world.uniform_rate).sum() - 1)
    figures |= {f"{name}_compile_seconds": compiling[name] - replicas / figures[f"{name}_replicas_per_second"] for name in policies}
    figures |= {f"lift_{name}": lift for name, lift in lifts.items()}
    ratios = {
        f"{ours}_over_{peer}": figures[f"{ours}_replicas_per_second"] / figures[f"{peer}_replicas_per_second"]
        for ours in ("exact", "one_normal")
        for peer in ways
    }
    return {"benchmark": "replay", "device": device(cores), "figures": figures, "ratios": ratios}


def padded(world: QueueWorld, seed: int) -> float:
    """One replica in NumPy on arrays [draws, tests, arms], padded to the largest test: expected clicks."""
    rng, (block,) = np.random.default_rng(seed), blocks(world.segments, together=True)
    here = block.present.T[block.groups >= 0]
    hits, left = (block.counts(values).T[block.groups >= 0].astype(np.int64) for values in (world.clicks, world.impressions))
    seen, shown_so_far = np.zeros_like(hits), np.zeros_like(hits)
    earned = 0.0
    for step in range(STEPS):
        draws = rng.beta(1 + seen, 1 + shown_so_far - seen, (DRAWS, *hits.shape))
        draws[:, ~here] = -1.0
        shares = (draws == draws.max(-1, keepdims=True)).mean(0)
        batch = world.decisions(step + 1) - world.decisions(step)
        below = np.floor(batch[:, None] * shares.cumsum(1) / shares.sum(1, keepdims=True) + rng.random((len(batch), 1)) + 1e-9)
        shown = np.diff(below, prepend=0.0).astype(np.int64)
        earned += float((shown * hits / np.maximum(left, 1)).sum())
        clicks = rng.hypergeometric(hits, left - hits, shown)
        hits, left, seen, shown_so_far = hits - clicks, left - shown, seen + clicks, shown_so_far + shown
    return earned


def flat(world: QueueWorld, seed: int) -> float:
    """One replica in NumPy on arrays [draws, arms of all tests] with segments: expected clicks."""
    rng, order = np.random.default_rng(seed), np.argsort(world.segments, kind="stable")
    segments, hits, left = world.segments[order], world.clicks[order], world.impressions[order]
    first = np.searchsorted(segments, np.arange(world.groups))
    seen, shown_so_far = np.zeros_like(hits), np.zeros_like(hits)
    earned = 0.0
    for step in range(STEPS):
        draws = rng.beta(1 + seen, 1 + shown_so_far - seen, (DRAWS, len(hits)))
        shares = (draws == np.maximum.reduceat(draws, first, axis=1)[:, segments]).mean(0)
        batch = world.decisions(step + 1) - world.decisions(step)
        total = shares.cumsum()
        within = total - (total[first] - shares[first])[segments]
        below = np.floor(batch[segments] * within + rng.random(world.groups)[segments] + 1e-9)
        shown = np.diff(below, prepend=0.0)
        shown[first] = below[first]
        shown = shown.astype(np.int64)
        earned += float((shown * hits / np.maximum(left, 1)).sum())
        clicks = rng.hypergeometric(hits, left - hits, shown)
        hits, left, seen, shown_so_far = hits - clicks, left - shown, seen + clicks, shown_so_far + shown
    return earned


def spread(pool: ThreadPoolExecutor, replica: Callable[[QueueWorld, int], float], world: QueueWorld, replicas: int) -> list[float]:
    """Clicks of each replica, played on the pool's threads."""
    return list(pool.map(replica, [world] * replicas, range(replicas)))


def timed(work: Callable[..., Any], *given: Any, **named: Any) -> tuple[float, Any]:
    """Seconds that the work takes, and its result."""
    start = time.perf_counter()
    result = work(*given, **named)
    return time.perf_counter() - start, result


def device(cores: int) -> str:
    """What it ran on."""
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    name = tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else platform.machine()
    return f"{name}, {cores} cores"


if __name__ == "__main__":
    main()
