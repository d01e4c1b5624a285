"""How long the exported model takes to decide and to score, through TensorFlow's C API, beside the same answer written plainly in NumPy.

    python benchmarks/serving.py [--draws 64] [--minutes 0] [--save]

Three models of the headline tests: from numbers and categories (`plain`), from headlines (`text`), and from headlines with a page effect
(`page`, the quickstart's). One decision among 100 candidates with counts, by a C program; `_cpu_` is what the calling thread was busy,
which on a busy machine says what the time would be on a quiet one. click_rate for 1,000 rows, from features alone, in one call, and in two
calls of 500 at once (`_halves_`, as a server shares rows out to two cores); load, size, the throughput of 8 threads over that of one.

Predict, as the command runs it, its start and all, over files of 2 million rows: 4,000 over and over (`predict`), the log's with another
number behind the headlines each time (`predict_distinct`: of a row's headline there are two, with another image), and with one behind every
headline (`predict_unlike`); over one row (`predict_start_seconds`), and without that start (`_going_`).

The peer gets the network's density for nothing and only conditions it on the counts, in float64: for each weight draw a grid of 33 nodes
of the page effect, then another where the first found weight. Ratios > 1: the export is faster; `uncertainty` is the time of one draw over
that of all draws (1/2 or more: uncertainty costs at most as much again).
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
import pyarrow as pa
import pyarrow.parquet as pq
from headlines import headline_log
from scipy.special import betaln, expit, logit, logsumexp

import recbayes as rb
from recbayes.export import Scorer, export
from recbayes.export.consumer import Consumer, build
from recbayes.types import Array

ARMS, ROWS, NODES = 100, 1000, 33
POLICY = rb.thompson(exploration=0.25)


def main() -> None:
    """Fits a short while, exports, times, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=0.0, help="of load on one server, to see whether its memory stays flat")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/serving.json too")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        program = build(Path(home) / "consumer")
        for name, fitted in models(options.draws).items():
            folder = export(fitted, POLICY, Path(home) / name)
            found, ratio = served(program, folder, Scorer(fitted, POLICY), options.minutes if name == "page" else 0.0)
            figures |= {f"{name}_{key}": value for key, value in found.items()}
            ratios |= {f"{name}_{key}": value for key, value in ratio.items()}
            if name == "plain":
                one = export(fitted, POLICY, Path(home) / "one", draws=1)
                with Consumer(program, one, 1) as consumer:
                    single = milliseconds(consumer, "decide", decision(Scorer(fitted, POLICY), ARMS))["decide_cpu_p50"]
                ratios["uncertainty"] = single / figures["plain_decide_cpu_p50"]
            if name == "page":
                figures |= streamed(fitted, Path(home))
    rounded = {name: round(value, 3) for name, value in figures.items()}
    shares = {name: round(value, 3) for name, value in ratios.items()}
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    line = json.dumps({"benchmark": "serving", "device": device, "figures": rounded, "ratios": shares})
    if options.save:
        (Path(__file__).parent / "results" / "serving.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def models(draws: int) -> dict[str, Any]:
    """Fitted a short while: what is learnt does not matter here."""
    log = headline_log().take(range(6000))
    plain = [rb.categorical("eyecatcher_id"), rb.time("test_created_at", bends=4)]
    settings: dict[str, Any] = {"posterior": rb.last_layer(draws=draws), "epochs": 2, "held_out": 0.0}
    return {
        "plain": rb.fit(log, features=plain, group_effect=False, **settings),
        "text": rb.fit(log, features=[rb.text("headline"), *plain], group_effect=False, **settings),
        "page": rb.fit(log, features=[rb.text("headline"), *plain], **settings),
    }


def served(program: Path, folder: Path, scorer: Scorer, minutes: float) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios of one export."""
    request = decision(scorer, ARMS)
    rows = {e.name: np.resize(request[e.name], (ROWS, *request[e.name].shape[2:])) for e in scorer.inputs["click_rate"] if e.feature}
    rows |= {name: np.zeros(ROWS, np.int64) for name in ("clicks", "impressions")}
    with Consumer(program, folder, 1) as consumer:
        figures = {"load_seconds": consumer.load_seconds, "megabytes": megabytes(folder)}
        figures |= milliseconds(consumer, "decide", request) | milliseconds(consumer, "click_rate", rows, times=100)
        half = {name: value[: ROWS // 2] for name, value in rows.items()}
        both = consumer.ask("click_rate", half, threads=2, times=100).seconds.max(0)  # both have begun and ended within the longer one
        figures["click_rate_halves_p50"] = 1e3 * float(np.median(both))
        (alone, _), (together, differing) = (throughput(consumer, request, n) for n in (1, 8))
        figures |= {"decisions_per_second": together, "differing": differing}
        ratios = {"threads": together / alone}
        if minutes:
            figures["grown_megabytes"] = grown(consumer, request, minutes)
        answer = consumer.ask("decide", request).outputs
    density = [np.asarray(leaf, np.float64) for leaf in scorer.density(encoded(scorer, request, ARMS))]
    tau = 0.0 if scorer.tau is None else float(np.asarray(scorer.tau))
    peer, (mean, _) = timed(lambda: plainly(density, request["clicks"][0], request["impressions"][0], max(tau, 1e-3)))
    np.testing.assert_allclose(answer["mean"][0], mean, rtol=0.05)
    return figures, ratios | {"decide": peer / figures["decide_p50"]}


def milliseconds(consumer: Consumer, signature: str, request: dict[str, Array], times: int = 500) -> dict[str, float]:
    """Median and 99th percentile on the clock, and the median of the thread's own time."""
    consumer.ask(signature, request, times=5)
    found = consumer.ask(signature, request, times=times)
    p50, p99 = np.percentile(1e3 * found.seconds, (50, 99))
    return {f"{signature}_p50": p50, f"{signature}_p99": p99, f"{signature}_cpu_p50": float(np.median(1e3 * found.cpu_seconds))}


def throughput(consumer: Consumer, request: dict[str, Array], threads: int, times: int = 600) -> tuple[float, float]:
    """Decisions a second from so many threads, on the clock; how many of their answers differed from the first."""
    begin = time.perf_counter()
    found = consumer.ask("decide", request, threads=threads, times=times)
    return threads * times / (time.perf_counter() - begin), float(found.differing)


def grown(consumer: Consumer, request: dict[str, Array], minutes: float) -> float:
    """Megabytes by which the server grew under load, after its first tenth."""
    start, first = time.monotonic(), 0.0
    while (passed := time.monotonic() - start) < 60 * minutes:
        consumer.ask("decide", request, threads=8, times=20)
        first = resident(consumer) if passed < 6 * minutes else first
    return resident(consumer) - first


def resident(consumer: Consumer) -> float:
    """Megabytes that the server holds."""
    lines = Path(f"/proc/{consumer.process.pid}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1e3


def streamed(fitted: Any, home: Path) -> dict[str, float]:
    """Rows a second of predict; the start by itself."""
    table = headline_log().table.select([feature.name for feature in fitted.encoder.features])
    column, texts, copies = table.schema.get_field_index("headline"), table["headline"].to_pylist(), -(-2_000_000 // len(table))
    of_copy = [[f"{text} {i}" for text in texts] for i in range(copies)]
    of_row = [[f"{text} {i * len(texts) + row}" for row, text in enumerate(texts)] for i in range(copies)]
    fitted.save(home / "run" / "model")
    files = {"start": [table.slice(0, 1)], "": [table.slice(0, 4000)] * 500} | {
        name: [table.set_column(column, "headline", [pa.array(some)]) for some in numbered]
        for name, numbered in (("_distinct", of_copy), ("_unlike", of_row))
    }
    seconds, figures = 0.0, dict[str, float]()
    for name, parts in files.items():
        rows = pa.concat_tables(parts)
        pq.write_table(rows, home / "rows.parquet")
        call = [sys.executable, "-c", PREDICT, str(home / "run"), str(home / "rows.parquet"), str(home / "out.parquet")]
        took = float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
        if name == "start":
            seconds = figures["predict_start_seconds"] = took
        else:
            figures |= {
                f"predict{name}_rows_per_second": len(rows) / took,
                f"predict{name}_going_rows_per_second": len(rows) / (took - seconds),
            }
    return figures


PREDICT = """
import os, sys, time
from recbayes.runtime import start
start(threads=1, calls=os.cpu_count())
from recbayes.export import predict
begin = time.perf_counter()
predict(*sys.argv[1:])
print(time.perf_counter() - begin)
"""
"""What `recbayes predict` does, but for starting Python and TensorFlow."""


def megabytes(folder: Path) -> float:
    """Of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def decision(scorer: Scorer, arms: int) -> dict[str, Array]:
    """A request of one decision: headlines and images of the log, made-up counts."""
    raw, request, generator = scorer.encoder.raw(headline_log().table.slice(0, arms)), {}, np.random.default_rng(0)
    impressions = generator.integers(1, 2000, (1, arms))
    for entry in scorer.inputs["decide"]:
        if entry.feature:
            request[entry.name] = raw[entry.feature][:1] if len(entry.shape) == 1 else raw[entry.feature][None]
    return request | {
        "clicks": generator.binomial(impressions, 0.015),
        "impressions": impressions,
        "candidates": np.ones((1, arms), bool),
        "remaining": np.ones(1, np.float32),
        "batch": np.ones(1, np.float32),
        "exploration": np.float32(0.25),
        "seed": np.array([1, 2], np.int32),
    }


def encoded(scorer: Scorer, request: dict[str, Array], arms: int) -> dict[str, Any]:
    """The request's features, a row a candidate."""
    rows = {e.feature: request[e.name] for e in scorer.inputs["decide"] if e.feature}
    return scorer.encoder({name: np.resize(value, (arms, *value.shape[2:])) for name, value in rows.items()})


def plainly(density: list[Array], clicks: Array, impressions: Array, tau: float) -> tuple[Array, Array]:
    """Mean and standard deviation of each candidate given all counts, [A]."""
    coarse = np.repeat(np.linspace(-4.5, 4.5, NODES)[:, None], len(density[0]), 1)  # [Q, S]
    node = at_nodes(density, clicks, impressions, tau, coarse)[0]
    kept, step = node > node.max(0) - 12.5, coarse[1] - coarse[0]
    low, high = np.where(kept, coarse, 9.0).min(0) - step, np.where(kept, coarse, -9.0).max(0) + step
    fine = low + (high - low) * np.linspace(0.0, 1.0, NODES)[:, None]
    node, mean, square = at_nodes(density, clicks, impressions, tau, fine)
    weight = np.exp(node - logsumexp(node, 0))[..., None]  # [Q, S, 1]
    mean, square = (weight * mean).sum(0).mean(0), (weight * square).sum(0).mean(0)
    return mean, np.sqrt(square - mean**2)


def at_nodes(density: list[Array], clicks: Array, impressions: Array, tau: float, z: Array) -> tuple[Array, Array, Array]:
    """Log weight of each node, [Q, S], and each candidate's first two moments there, [Q, S, A]."""
    log_weights, means, concentrations = density  # [S, A, K]
    clicks, misses = clicks[:, None], (impressions - clicks)[:, None]
    p = expit(logit(means) + tau * z[..., None, None])  # [Q, S, A, K]
    a, b = p * concentrations, (1.0 - p) * concentrations
    joint = log_weights + betaln(a + clicks, b + misses) - betaln(a, b)
    rows = logsumexp(joint, -1)
    weight, total = np.exp(joint - rows[..., None]), concentrations + clicks + misses
    rate = (a + clicks) / total
    square = rate**2 + rate * (1.0 - rate) / (total + 1.0)
    return rows.sum(-1) - 0.5 * z**2, (weight * rate).sum(-1), (weight * square).sum(-1)


def timed(function: Callable[[], Any], *, times: int = 5) -> tuple[float, Any]:
    """Median milliseconds of a call after a first one, and what it gave."""
    value, seconds = function(), []
    for _ in range(times):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3, value


if __name__ == "__main__":
    main()
