"""What each family costs beside the beta mixture: one training step's likelihood and gradient, with and without a page effect.

    python benchmarks/densities.py [--save]

512 rows of headline tests (110 pages, two components), as `fit` calls it: uncompiled graph, float32. Milliseconds are the shortest of 40
calls; ratios are over the beta mixture's in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import recbayes as rb
from recbayes.densities import GroupEffect
from recbayes.types import Tensor

ROWS, PAGES, CALLS = 512, 110, 40
FAMILIES = {
    "beta_mixture": rb.beta_mixture(components=2),
    "logit_normal_mixture": rb.logit_normal_mixture(components=2),
    "gaussian_mixture": rb.gaussian_mixture(components=2),
    "point": rb.point(),
}


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/densities.json too")
    save = parser.parse_args().save
    line = json.dumps(measured())
    if save:
        (Path(__file__).parent / "results" / "densities.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def measured() -> dict[str, Any]:
    """Milliseconds a step of every family, by rows alone and by pages."""
    steps = {(name, pages): step(family, pages=pages) for name, family in FAMILIES.items() for pages in (True, False)}
    shortest = dict.fromkeys(steps, np.inf)
    for _ in range(CALLS):  # in turns, so that a busy moment meets them all
        for key, (run, outputs) in steps.items():
            begin = time.perf_counter()
            run(outputs).numpy()
            shortest[key] = min(shortest[key], time.perf_counter() - begin)
    figures = {f"{name}_{'pages' if pages else 'rows'}_ms": round(1e3 * s, 2) for (name, pages), s in shortest.items()}
    ratios = {
        f"{name}_{kind}_over_beta_mixture": round(figures[f"{name}_{kind}_ms"] / figures[f"beta_mixture_{kind}_ms"], 2)
        for name in FAMILIES
        for kind in ("pages", "rows")
    }
    return {"benchmark": "densities", "device": f"{platform.machine()}, {os.cpu_count()} cores", "figures": figures, "ratios": ratios}


def step(family: Any, *, pages: bool) -> tuple[Any, Tensor]:
    """Outputs -> gradient of the log likelihood, as a graph that has run once, and outputs about the headline tests' fit."""
    rng = np.random.default_rng(0)
    segments = tf.constant(np.sort(rng.integers(0, PAGES, ROWS)).astype(np.int32))
    impressions = rng.integers(2000, 5000, ROWS).astype(np.float32)
    clicks = rng.binomial(impressions.astype(int), 0.014).astype(np.float32)
    outputs = tf.constant(family.start_at(0.014, 1360.0) + 0.1 * rng.normal(size=(ROWS, family.size)).astype(np.float32))

    @tf.function(autograph=False)
    def run(outputs: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            density = family.density(outputs)
            if pages:
                value = GroupEffect(tf.constant(0.65)).log_marginal(density, clicks, impressions, segments, PAGES)
            else:
                value = density.log_marginal(clicks, impressions)
            total = tf.reduce_sum(value)
        return tape.gradient(total, outputs)

    run(outputs)
    return run, outputs


if __name__ == "__main__":
    main()
