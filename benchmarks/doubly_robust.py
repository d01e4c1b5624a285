"""How fast a doubly robust estimate is, with all that its verdict needs, beside NumPy's bare value and error; and its memory.

    python benchmarks/doubly_robust.py [--rows 8000000] [--streamed 50000000] [--save]

Both get propensities, the policy's probabilities, rewards and predictions as arrays. Ours sums for value, error, bootstrap, both halves of
the log, effective numbers, tails; NumPy does one line for the value and one for the error. They take turns and the best of each counts.
Memory is the peak of a fresh process that streams a Parquet log through `evaluate`, of 1M rows and of so many. Ratios > 1: ours is better.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbayes.evaluation.estimators import dr
from recbayes.evaluation.rows import Rows
from recbayes.evaluation.statistics import Statistics
from recbayes.evaluation.value import of_sums
from recbayes.types import Array

MILLION = 1_000_000
STREAM = """
import json, re, sys, time
import recbayes as rb
start = time.perf_counter()
roles = {"clicks": "click", "item": "item", "propensity": "propensity"}
found = rb.evaluate(sys.argv[1], [rb.table(sys.argv[2], name="new")], estimators=["snips", "dr"], **roles)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024  # of this program alone, unlike ru_maxrss
print(json.dumps([peak, time.perf_counter() - start, found.estimates[1].value]))
"""


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8 * MILLION)
    parser.add_argument("--streamed", type=int, default=50 * MILLION)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/doubly_robust.json too")
    options = parser.parse_args()
    given, threads = arrays(options.rows), len(os.sched_getaffinity(0))
    rows = Rows(given["propensity"], given["target"], given["reward"], given["predicted"], given["expected"])
    best: dict[str, float] = {"ours": np.inf, "numpy": np.inf}
    for _ in range(options.rounds):
        for name, work in {"ours": lambda: ours(rows, threads), "numpy": lambda: plain(given)}.items():
            seconds, value = timed(work)
            best[name] = min(best[name], seconds)
            np.testing.assert_allclose(value, plain(given), rtol=1e-10)
    speed = {name: options.rows / seconds for name, seconds in best.items()}
    small, large = (streamed(size) for size in (MILLION, options.streamed))
    figures = {
        "dr_rows_per_second": speed["ours"],
        "numpy_rows_per_second": speed["numpy"],
        "streamed_rows": options.streamed,
        "streamed_rows_per_second": options.streamed / large[1],
        "peak_megabytes_1M": small[0],
        "peak_megabytes": large[0],
    }
    ratios = {"dr_over_numpy": speed["ours"] / speed["numpy"], "memory_1M_over_all": small[0] / large[0]}
    rounded = {name: round(value, 1) for name, value in figures.items()}
    shares = {name: round(value, 3) for name, value in ratios.items()}
    device = f"{platform.processor() or platform.machine()}, {threads} cores"
    line = json.dumps({"benchmark": "doubly_robust", "device": device, "figures": rounded, "ratios": shares})
    if options.save:
        (Path(__file__).parent / "results" / "doubly_robust.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def arrays(n: int) -> dict[str, Array]:
    """A log of n rows under a policy, with predictions."""
    rng = np.random.default_rng(0)
    return {
        "propensity": rng.uniform(0.02, 0.2, n),
        "target": rng.uniform(0.0, 0.2, n),
        "reward": (rng.random(n) < 0.01).astype(np.float64),
        "predicted": rng.uniform(0.0, 0.02, n),
        "expected": rng.uniform(0.0, 0.02, n),
    }


def ours(rows: Rows, threads: int) -> tuple[float, float]:
    """Value and standard error, and everything beside them."""
    found = of_sums(Statistics.of(rows, [dr()], threads=threads).sums[0][0])
    return found.value, found.stderr


def plain(given: dict[str, Array]) -> tuple[float, float]:
    """Value and standard error in NumPy."""
    terms = given["expected"] + given["target"] / given["propensity"] * (given["reward"] - given["predicted"])
    return float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(len(terms)))


def streamed(rows: int) -> tuple[float, float, float]:
    """Peak megabytes, seconds and value of a process that evaluates a log of so many rows: one file of 1M, many times over."""
    rng, items = np.random.default_rng(1), 80
    item = rng.integers(0, items, MILLION)
    log = pd.DataFrame({"item": item, "click": (rng.random(MILLION) < 0.01).astype(np.int8), "propensity": 1.0 / items})
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "log"
        folder.mkdir()
        log.to_parquet(folder / "part-0.parquet", row_group_size=1 << 17)
        for part in range(1, rows // MILLION):
            os.link(folder / "part-0.parquet", folder / f"part-{part}.parquet")
        policy = rng.dirichlet(np.ones(items))
        pd.DataFrame({"item": np.arange(items), "probability": policy}).to_parquet(Path(home) / "policy.parquet")
        command = [sys.executable, "-c", STREAM, str(folder), str(Path(home) / "policy.parquet")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds, value = json.loads(done.stdout)
    return peak, seconds, value


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it gave."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


if __name__ == "__main__":
    main()
