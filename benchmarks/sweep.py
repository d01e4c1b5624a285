"""A sweep on Ray: two workers against one, and one worker against this process on one thread; the numbers must be equal.

Each engine plays the same study in a process of its own, TensorFlow there on one thread. `seconds` hold all but Python's and TensorFlow's
own start: for Ray, its cluster, its workers and their compiling. `--seeds` sets the size: about 2 minutes on one core by default.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import recbayes as rb
from recbayes.engine import Engine, Work, engine, results
from recbayes.engine.local import Local
from recbayes.runtime import start

ENGINES: dict[str, Callable[[], Engine]] = {
    "local": lambda: Local(1),
    "ray_1": lambda: engine("ray", workers=1),
    "ray_2": lambda: engine("ray", workers=2),
}


def nothing(shared: None, number: int) -> None:
    """A task that shows that a worker is there."""


def measured(name: str, seeds: int) -> dict[str, float | str]:
    """Seconds of an engine's start and of the study, and a digest of what it found."""
    start("cpu", threads=1)
    roles = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id"}
    world = rb.queue(rb.read_log("example:upworthy", **roles, features=["headline"]), steps=100)
    counts = rb.counts()
    policies = [rb.uniform(), rb.greedy(counts), rb.thompson(counts, exploration=[0.5, 1.0]), rb.ucb(counts, exploration=[0.5, 1.0])]
    begin, runner = time.perf_counter(), ENGINES[name]()
    dict(results(runner, Work(nothing), 4))
    ready = time.perf_counter()
    found = rb.replay(world, policies, seeds=seeds, engine=runner)
    done = time.perf_counter()
    runner.close()
    digest = hashlib.sha256(found.rows.to_csv(float_format="%.17g").encode()).hexdigest()
    return {"start": ready - begin, "seconds": done - begin, "study": done - ready, "digest": digest}


def main() -> None:
    """One line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=48, help="replicas of each of six policies over 3,898 headline tests")
    parser.add_argument("--engine", choices=ENGINES, help="measure one engine in this process")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/sweep.json too")
    given = parser.parse_args()
    if given.engine:
        print(json.dumps(measured(given.engine, given.seeds)))
        return
    command = [sys.executable, __file__, "--seeds", str(given.seeds), "--engine"]
    runs = {name: json.loads(subprocess.run([*command, name], capture_output=True, check=True).stdout.splitlines()[-1]) for name in ENGINES}
    digests = {run.pop("digest") for run in runs.values()}
    figures = {f"{name}_{what}": value for name, run in runs.items() for what, value in run.items()}
    ratios = {
        "throughput_two_workers_vs_one": runs["ray_1"]["study"] / runs["ray_2"]["study"],
        "one_worker_vs_local": runs["local"]["seconds"] / runs["ray_1"]["seconds"],
        "one_worker_vs_local_without_start": runs["local"]["study"] / runs["ray_1"]["study"],
    }
    figures |= {"seeds": given.seeds, "equal": float(len(digests) == 1)}
    line = json.dumps({"benchmark": "sweep", "device": f"cpu {platform.machine()}", "figures": figures, "ratios": ratios})
    if given.save:
        (Path(__file__).parent / "results" / "sweep.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
