"""Training speed: the beta mixture's head beside a Bernoulli head and beside plain Keras `fit`, one network, one run.

    python benchmarks/training.py [--rows 100000] [--save]

26 categories of 10 to 10,000 values and 13 numbers, encoded, in memory; clicks of single impressions; `mlp` with a head of six outputs
(two betas) or one (`point`, and Keras with its own Adam on binary cross-entropy); steps of 4,096 rows, no group effect. An epoch of each in
turn, the best of three after one that traces.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import recbayes as rb
from recbayes.features import Encoded
from recbayes.fitted import network_of
from recbayes.training import Memory, Rows, Schedule, compiled_step, one_epoch

ROUNDS, BATCH = 3, 4096
SIZES = np.geomspace(10, 10_000, 26).astype(int)


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of an epoch")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/training.json too")
    options = parser.parse_args()
    rows = made(options.rows)
    work = {"beta_mixture": ours(rows, rb.beta_mixture(components=2)), "point": ours(rows, rb.point()), "keras": in_keras(rows)}
    speed: dict[str, float] = {}
    for round_ in range(ROUNDS + 1):  # the first traces
        for name, epoch in work.items():
            start = time.perf_counter()
            epoch(round_)
            found = options.rows / (time.perf_counter() - start)
            speed[name] = max(found, speed.get(name, 0.0)) if round_ else 0.0
    figures = {"rows": options.rows, **{f"{name}_rows_per_second": value for name, value in speed.items()}}
    ratios = {f"beta_mixture_vs_{peer}": speed["beta_mixture"] / speed[peer] for peer in ("point", "keras")}
    line = json.dumps({"benchmark": "training", "device": f"{os.cpu_count()} cores", "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "training.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def specs() -> dict[str, Encoded]:
    """What the network gets."""
    numbers = {f"n{i}": Encoded("dense", 1, "context", f"n{i}", "numeric") for i in range(13)}
    return numbers | {f"c{i}": Encoded("ids", int(size) + 1, "item", f"c{i}", "categorical") for i, size in enumerate(SIZES)}


def made(size: int) -> Rows:
    """Encoded rows, each a group of its own."""
    random, inputs = np.random.default_rng(0), {}
    for name, spec in specs().items():
        if spec.kind == "dense":
            inputs[name] = random.normal(size=(size, 1)).astype(np.float32)
        else:
            inputs[name] = (spec.size * random.random(size) ** 3).astype(np.int32)
    clicks, alone = (random.random(size) < 0.03).astype(np.float32), np.arange(size, dtype=np.int32)
    return Rows(inputs, clicks, np.ones(size, np.float32), alone, alone)


def ours(rows: Rows, family: Any) -> Callable[[int], None]:
    """An epoch of our loop."""
    model = rb.mlp()(specs(), family.size, family.location)
    network, posterior = network_of(model, family, None, {}, len(rows.clicks)), rb.map()
    state = posterior.init(network, tf.constant([0, 0], tf.int32))
    step = compiled_step(network, posterior, state, rows)

    def epoch(number: int) -> None:
        nonlocal state
        state, _ = one_epoch(step, state, Memory(rows), Schedule(batch_size=BATCH, learning_rate=0.001), number)

    return epoch


def in_keras(rows: Rows) -> Callable[[int], None]:
    """An epoch of Keras' own loop."""
    model = rb.mlp()(specs(), 1, (0,))
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return lambda number: model.fit(rows.inputs, rows.clicks, batch_size=BATCH, epochs=1, verbose=0)


if __name__ == "__main__":
    main()
