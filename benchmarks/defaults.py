"""Density, prior scale and posterior of the default, searched on the training headline tests alone, by rolling origins.

    python benchmarks/defaults.py [--save] [--only NAME ...] [--seeds 1]

From each origin the quickstart's network is fitted, with its own early stopping, to the older training tests and held against the tests
that come next (a tenth of the training tests): the test log is never read. One setting at a time leaves the default. Of each: log
likelihood a row, coverage of 90% intervals, CRPS of the count in clicks, means over origins and seeds, and the log likelihood's difference
to the default's with its standard error over tests, all origins together; with several seeds, whose random starts and stopping differ,
also the least and the largest difference of an origin and seed. Ratios: the default's CRPS over the setting's, > 1 where it is better.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import recbayes as rb

ORIGINS, SEED = (0.7, 0.8, 0.9), 99
DEFAULT = "default"
DENSITIES = {
    "beta_mixture_1": rb.beta_mixture(components=1),
    "beta_mixture_3": rb.beta_mixture(components=3),
    "logit_normal_mixture_2": rb.logit_normal_mixture(components=2),
    "gaussian_mixture_2": rb.gaussian_mixture(components=2),
    "point": rb.point(),
}
POSTERIORS = {
    "prior_half": rb.last_layer(prior_scale=0.5),
    "prior_double": rb.last_layer(prior_scale=2.0),
    "prior_quadruple": rb.last_layer(prior_scale=4.0),
    "map": rb.map(),
    "mean_field": rb.mean_field(),
    "ensemble_5": rb.ensemble(members=5),
}
SETTINGS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    **{name: {"density": family} for name, family in DENSITIES.items()},
    **{name: {"posterior": posterior} for name, posterior in POSTERIORS.items()},
}


def main() -> None:
    """Fits every setting from every origin, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--save",
        action="store_true",
        help="write the line to benchmarks/results/defaults.json too; of several seeds to defaults_seeds.json",
    )
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="these settings beside the default")
    parser.add_argument("--seeds", type=int, default=1, help="random starts of each fit")
    options = parser.parse_args()
    names = [DEFAULT, *(name for name in options.only if name != DEFAULT)]
    parts = list(origins())
    found = {name: [[judged(SETTINGS[name], *part, seed) for seed in range(options.seeds)] for part in parts] for name in names}
    figures, ratios = summary(found)
    line = json.dumps(
        {"benchmark": "defaults", "device": f"{platform.machine()}, {os.cpu_count()} cores", "figures": figures, "ratios": ratios}
    )
    if options.save:
        (Path(__file__).parent / "results" / f"defaults{'_seeds' * (options.seeds > 1)}.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def origins() -> Iterator[tuple[rb.Log, rb.Log]]:
    """The training tests before each origin, and those of the tenth that follows."""
    columns = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id"}
    log = rb.read_log("example:upworthy", **columns, time="test_created_at", features=["headline", "eyecatcher_id"])
    train = log.split(by="time", test_fraction=0.2)[0]
    for origin in ORIGINS:
        older, newer = train.split(by="time", test_fraction=1.0 - origin, seed=SEED)
        yield older, newer.split(by="time", test_fraction=1.0 - 0.1 / (1.0 - origin), seed=SEED)[0] if origin < 0.85 else newer


def judged(setting: dict[str, Any], older: rb.Log, following: rb.Log, seed: int) -> dict[str, Any]:
    """A setting fitted to the older tests and held against those that follow."""
    begin = time.perf_counter()
    features = [rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at", bends=4)]
    fitted = rb.fit(older, features=features, group_effect="clickability_test_id", seed=seed, **setting)
    found = rb.calibrate(fitted, older, following)[0]
    seconds = time.perf_counter() - begin
    print(f"{setting} {found['log_likelihood_per_row']:.4f} {found['coverage']['0.9']:.3f} {seconds:.0f} s", file=sys.stderr, flush=True)
    return {
        "log_likelihood": found["log_likelihood_per_row"],
        "coverage_90": found["coverage"]["0.9"],
        "crps": found["crps"]["clicks"],
        "of_groups": np.asarray(fitted.log_likelihood(following)),
        "rows": len(following),
    }


def summary(found: dict[str, list[list[dict[str, Any]]]]) -> tuple[dict[str, float], dict[str, float]]:
    """Means over origins and seeds, differences to the default with their standard errors, ratios of CRPS; setting -> origin -> seed."""
    figures, ratios = {}, {}
    for name, parts in found.items():
        for key in ("log_likelihood", "coverage_90", "crps"):
            figures[f"{name}_{key}"] = round(float(np.mean([one[key] for part in parts for one in part])), 4)
        if name == DEFAULT:
            continue
        pairs = [list(zip(part, own, strict=True)) for part, own in zip(parts, found[DEFAULT], strict=True)]
        each = [np.array([one["of_groups"] - own["of_groups"] for one, own in part]) for part in pairs]  # [seeds, groups] an origin
        apart, sizes = np.concatenate([part.mean(0) for part in each]), [part[0]["rows"] for part in parts]
        figures[f"{name}_difference"] = round(float(apart.sum() / sum(sizes)), 4)
        figures[f"{name}_difference_stderr"] = round(float(apart.std(ddof=1) * np.sqrt(len(apart)) / sum(sizes)), 4)
        if len(parts[0]) > 1:
            differences = [total / rows for part, rows in zip(each, sizes, strict=True) for total in part.sum(1)]
            figures |= {f"{name}_{what}_difference": round(float(of(differences)), 4) for what, of in (("least", min), ("largest", max))}
        ratios[f"{name}_crps"] = round(figures[f"{DEFAULT}_crps"] / figures[f"{name}_crps"], 4)
    return figures, ratios


if __name__ == "__main__":
    main()
