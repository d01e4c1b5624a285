"""How long the exported model takes to decide and to score, beside the same answer written plainly in NumPy and SciPy.

    python benchmarks/serving.py [--draws 64]

One decision among 100 and among 8 candidates with counts, from the SavedModel: headlines to words, network, page effect, policy. The peer
gets the network's density for nothing and only conditions it on the counts, in float64: for each weight draw a grid of 33 nodes of the
page effect, then another where the first found weight. Both give the same means and standard deviations. Ratios > 1: the export is faster.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf
from scipy.special import betaln, expit, logit, logsumexp

import recbayes as rb
from recbayes.export import Scorer, export, predict
from recbayes.types import Array

ARMS = (100, 8)
NODES = 33


def main() -> None:
    """Fits a short while, exports, times, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=64)
    draws = parser.parse_args().draws
    columns = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id"}
    log = rb.read_log("example:upworthy", **columns, time="test_created_at", features=("headline", "eyecatcher_id"))
    features = [rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at", bends=4)]
    fitted = rb.fit(log.take(range(6000)), features=features, posterior=rb.last_layer(draws=draws), epochs=2, held_out=0.0)
    figures, ratios = {}, {}
    with tempfile.TemporaryDirectory() as home:
        folder = export(fitted, rb.thompson(exploration=0.25), Path(home) / "export")
        figures["load_seconds"], loaded = timed(lambda: tf.saved_model.load(str(folder / "1")), times=1)
        scorer = Scorer(fitted, rb.thompson(exploration=0.25))
        for arms in ARMS:
            ours, peer = one_decision(loaded.signatures["decide"], scorer, arms)
            figures |= {f"decide_{arms}_milliseconds": ours, f"decide_{arms}_numpy_milliseconds": peer}
            ratios[f"decide_{arms}"] = peer / ours
        rows = Path(home) / "rows.parquet"
        pq.write_table(log.table, rows)
        seconds, done = timed(lambda: predict(fitted, rows, Path(home) / "out.parquet"), times=1)
        figures["predict_rows_per_second"] = done / seconds
    rounded = {name: round(value, 3) for name, value in figures.items()}
    shares = {name: round(value, 3) for name, value in ratios.items()}
    print(json.dumps({"benchmark": "serving", "device": platform.processor() or platform.machine(), "figures": rounded, "ratios": shares}))


def one_decision(serve: Any, scorer: Scorer, arms: int) -> tuple[float, float]:
    """Milliseconds of the export and of the peer."""
    request = decision(scorer, arms)
    tensors = {name: tf.constant(value) for name, value in request.items()}
    density = [np.asarray(leaf, np.float64) for leaf in scorer.density(encoded(scorer, request, arms))]
    tau = float(np.asarray(scorer.tau))
    ours, answer = timed(lambda: serve(**tensors), scale=1e3)
    peer, (mean, stddev) = timed(lambda: plainly(density, request["clicks"][0], request["impressions"][0], tau), times=5, scale=1e3)
    np.testing.assert_allclose(answer["mean"][0], mean, rtol=1e-3)
    np.testing.assert_allclose(answer["stddev"][0], stddev, rtol=1e-2)
    return ours, peer


def decision(scorer: Scorer, arms: int) -> dict[str, Array]:
    """A request of one decision with made-up headlines and counts."""
    generator = np.random.default_rng(0)
    impressions = generator.integers(1, 2000, (1, arms))
    raw, request = scorer.encoder.example(arms), {}
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


def timed(function: Callable[[], Any], *, times: int = 50, scale: float = 1.0) -> tuple[float, Any]:
    """Median time of a call after a first one (if there are several), and what it gave."""
    value = function() if times > 1 else None
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * scale, value


if __name__ == "__main__":
    main()
