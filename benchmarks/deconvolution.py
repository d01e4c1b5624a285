"""How much of the observed rates' scatter is the items' own: the spread of known items, recovered from few and from many clicks.

    python benchmarks/deconvolution.py [--rows 60000] [--save]

Items' log click rates scatter by .30 about e^-4. They are shown until 2, 20 or 200 clicks are expected of each (`--rows` items at 2
clicks, a third of them else), and each family is fitted by maximum likelihood, through `recbayes.fit` and a constant feature. Figures
are the standard deviation of the fitted density's log click rate; ratios are over the true .30, so 1 is right. `observed` is what the
observed rates scatter by (half a click where there is none). MDN is the paper's family blind to measurement noise.
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
import pandas as pd
import tensorflow as tf

import recbayes as rb

SPREAD, LEVEL = 0.30, -4.0
CLICKS = (2, 20, 200)
FAMILIES = {
    "beta_mixture": rb.beta_mixture(components=2),
    "logit_normal_mixture": rb.logit_normal_mixture(components=2),
    "gaussian_mixture": rb.gaussian_mixture(components=2),
    "gaussian_mixture_mdn": rb.gaussian_mixture(components=2, measurement_noise=False),
}


def main() -> None:
    """Simulates, fits, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="items at 2 expected clicks")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/deconvolution.json too")
    options = parser.parse_args()
    line = json.dumps(measured(options.rows))
    if options.save:
        (Path(__file__).parent / "results" / "deconvolution.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def measured(rows: int) -> dict[str, Any]:
    """The spread that each family finds at each number of clicks, and the seconds a fit took."""
    figures: dict[str, float] = {}
    for clicks in CLICKS:
        log, scatter = items(rows if clicks == CLICKS[0] else rows // 3, clicks)
        figures[f"observed_{clicks}"] = scatter
        for name, family in FAMILIES.items():
            begin = time.perf_counter()
            figures[f"{name}_{clicks}"] = spread(log, family)
            figures[f"seconds_{name}_{clicks}"] = time.perf_counter() - begin
    figures = {name: round(value, 4) for name, value in figures.items()}
    ratios = {name: round(value / SPREAD, 3) for name, value in figures.items() if not name.startswith("seconds")}
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    return {"benchmark": "deconvolution", "device": device, "rows": rows, "spread": SPREAD, "figures": figures, "ratios": ratios}


def items(rows: int, clicks: int) -> tuple[rb.Log, float]:
    """A log of items shown until so many clicks are expected of an average one, and the scatter of their observed log rates."""
    rng = np.random.default_rng(clicks)
    shown = round(clicks / np.exp(LEVEL))
    clicked = rng.binomial(shown, np.exp(LEVEL + SPREAD * rng.normal(size=rows)))
    frame = pd.DataFrame({"clicked": clicked, "shown": shown, "all": "the same"})
    log = rb.read_log(frame, clicks="clicked", impressions="shown", features=("all",))
    return log, float(np.log(np.where(clicked > 0, clicked, 0.5) / shown).std())


def spread(log: rb.Log, family: Any) -> float:
    """Standard deviation of the log click rate of a family's maximum likelihood fit."""
    settings = {"group_effect": False, "posterior": rb.mle(), "model": rb.linear(), "held_out": 0.0, "oov_share": 0.0}
    fitted = rb.fit(log, features=[rb.categorical("all")], density=family, epochs=15, batch_size=2000, learning_rate=0.05, **settings)
    one = tf.nest.map_structure(lambda leaf: leaf[0, 0], fitted.densities(log.take(np.arange(1))))
    return float(np.log(one.sample(tf.constant([0, 1]), (400_000,)).numpy()).std())


if __name__ == "__main__":
    main()
