"""Is the verdict right? Off-policy estimates on thousands of simulated logs with known value.

    python benchmarks/evaluation_study.py [--logs 60]

Worlds differ in click rate, size, overlap of the logging policy and distance of the judged one: 72 of them, so many logs each. Beside them,
logs with a fault that no formula sees: propensities that are wrong, items that the log never shows, rates that change half way. Printed and
kept in benchmarks/results/evaluation_study.json, by estimator: the largest |z| of the bias (against the exact standard deviation)
where theory says unbiased, how often 95% intervals cover by verdict, and how many of the misses by more than three stated errors carry
a doubt.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbayes.engine.local import Local
from recbayes.evaluation.estimating import Gathered, chosen, draws_of, estimates_of
from recbayes.evaluation.estimators import Estimator, clipped_ips, dr, dros, ips, sndr, snips, sub_gaussian, switch_dr
from recbayes.evaluation.logged import logged
from recbayes.evaluation.rows import Rows, of_arrays
from recbayes.evaluation.statistics import Statistics
from recbayes.evaluation.value import of_sums
from recbayes.types import Array

RESULTS = Path(__file__).parent / "results" / "evaluation_study.json"
PLAIN = [ips(), snips(), dr(), sndr()]
SHRINKING = [clipped_ips(), sub_gaussian(), switch_dr(), dros()]
"""Slow, as SLOPE looks at many settings: they are judged on every fourth log."""
RATES, SIZES = (0.01, 0.1), (500, 2000, 8000, 30_000)
OVERLAPS = {"uniform": 0.0, "leaning": 1.0, "sharp": 2.5}
DISTANCES = {"near": 0.5, "middle": 1.5, "far": 3.0}
FAULTS = ("wrong propensities", "missing items", "drift")
CONTEXTS, ARMS = 10, 20
SKEWED = 0.3
"""Skewness of a mean over rows up to which its z-score is read as one."""


class World(NamedTuple):
    """True rates, a model's guess of them, logging and judged policy; each [CONTEXTS, ARMS]."""

    rate: Array
    model: Array
    logging: Array
    target: Array

    @property
    def value(self) -> float:
        """Of the judged policy."""
        return float((self.target * self.rate).sum(1).mean())

    def moments(self, doubly_robust: bool) -> tuple[float, float]:
        """Standard deviation and skewness of one row's term, exactly."""
        weight, q = self.target / self.logging, self.model if doubly_robust else np.zeros_like(self.rate)
        level = (self.target * q).sum(1, keepdims=True) - self.value
        click, none = level + weight * (1.0 - q), level - weight * q
        second, third = (float((self.logging * (self.rate * click**k + (1.0 - self.rate) * none**k)).sum(1).mean()) for k in (2, 3))
        return second**0.5, third / second**1.5


def world(rng: np.random.Generator, rate: float, overlap: float, distance: float) -> World:
    """A made-up one."""
    effect = rng.normal(0.0, 0.5, (CONTEXTS, ARMS))
    true = rate * np.exp(effect - 0.125)
    liking = rng.normal(0.0, 1.0, (CONTEXTS, ARMS))
    model = np.clip(true * np.exp(rng.normal(0.0, 0.3, true.shape)), 0.0, 1.0)
    return World(np.minimum(true, 0.9), model, softmax(overlap * liking), softmax(overlap * liking * 0.3 + distance * effect * 2.0))


def softmax(scores: Array) -> Array:
    """Rows that sum to 1."""
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def draw(rng: np.random.Generator, at: World, n: int, fault: str = "") -> dict[str, Array]:
    """A log of n rows, with a fault or without."""
    context = rng.integers(0, CONTEXTS, n)
    logging = at.logging
    if fault == "missing items":
        logging = np.where(at.logging < np.quantile(at.logging, 0.6, axis=1, keepdims=True), at.logging, 0.0)
        logging = logging / logging.sum(1, keepdims=True)
    arm = (rng.random(n)[:, None] > logging.cumsum(1)[context]).sum(1).clip(max=ARMS - 1)
    rate = at.rate[context, arm]
    if fault == "drift":
        rate = np.where(np.arange(n) < n / 2, rate * 0.5, np.minimum(rate * 1.5, 1.0))
    stated = logging[context, arm]
    if fault == "wrong propensities":
        stated = np.minimum(stated**0.8, 1.0)
    reward = (rng.random(n) < rate).astype(np.float64)
    expected = (at.target * at.model).sum(1)[context]
    return {
        "reward": reward,
        "propensity": stated,
        "target": at.target[context, arm],
        "predicted": at.model[context, arm],
        "expected": expected,
    }


class Cell(NamedTuple):
    """A part of the study: so many logs of one world."""

    number: int
    name: str
    fault: str
    size: int
    world: World
    logs: int


def cells(logs: int) -> Iterator[Cell]:
    """All parts of the study."""
    rng = np.random.default_rng(0)
    sound = list(product(RATES, OVERLAPS.items(), DISTANCES.items(), SIZES))
    for number, (rate, (overlap, lean), (distance, far), size) in enumerate(sound):
        yield Cell(number, f"rate {rate} {overlap} {distance} {size}", "", size, world(rng, rate, lean, far), logs)
    for number, (fault, (distance, far), size) in enumerate(product(FAULTS, DISTANCES.items(), SIZES[1:])):
        at = world(rng, 0.1, 1.0, far)
        yield Cell(len(sound) + number, f"{fault} {distance} {size}", fault, size, at, max(logs // 3, 2))


def played(cell: Cell) -> list[dict[str, Any]]:
    """All estimates on a cell's logs; a function of the cell alone."""
    rng = np.random.default_rng([1, cell.number])
    found = [judged(rng, cell, shrinking=number % 4 == 0) for number in range(cell.logs)]
    return [record | {"cell": cell.name, "fault": cell.fault} for one in found for record in one]


def judged(rng: np.random.Generator, cell: Cell, *, shrinking: bool) -> list[dict[str, Any]]:
    """Each estimator's figures on one log."""
    at, asked = cell.world, PLAIN + SHRINKING * shrinking
    statistics = Statistics.of(of_arrays(**draw(rng, at, cell.size, cell.fault)), asked)
    target = logged()._replace(own=False)
    gathered = Gathered(statistics, None, np.zeros(2))
    values = chosen(gathered, asked)
    draws = draws_of({target.name: gathered}, {target.name: values}, "auto", Local())
    found = estimates_of(target, gathered, values, draws, level=0.95, interval="auto", span=(0.0, 1.0), doubts=())
    return [
        {
            "estimator": one.estimator,
            "error": one.value - at.value,
            "misses": abs(one.value - at.value) / one.stderr if one.stderr > 0 else np.inf,
            "covers": one.interval[0] <= at.value <= one.interval[1],
            "verdict": one.verdict,
            "checks": [doubt.check for doubt in one.doubts],
            "clicks": one.effective_clicks,
        }
        for one in found
    ]


def biases(estimator: Estimator, parts: list[Cell], found: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Z-scores of an estimator's mean error in each sound world, by the exact standard deviation: pooled over the logs, and largest.

    The mean over a world's logs is far from normal where one click has a weight of thousands: its z-score then says nothing of a bias. So
    the largest one is of one more log a world, as long as that takes.
    """
    scores, long = [], []
    for cell, part in zip(parts, found):
        if not cell.fault:
            stddev, skewness = cell.world.moments(estimator.needs_model)
            root = np.sqrt(cell.size * cell.logs)
            scores.append(float(np.mean([r["error"] for r in part if r["estimator"] == estimator.kind])) * root / stddev)
            n = int(max(cell.size * cell.logs, (skewness / SKEWED) ** 2))
            rows = counted(np.random.default_rng([2, cell.number]), cell.world, n)
            value = of_sums(Statistics.of(rows, [estimator]).sums[0][0]).value
            long.append((value - cell.world.value) * np.sqrt(n) / stddev)
    return {
        "pooled_z": round(float(sum(scores) / np.sqrt(len(scores))), 2),
        "largest_z_of_a_world": round(float(max(map(abs, long))), 2),
        "worlds": len(long),
    }


def counted(rng: np.random.Generator, at: World, n: int) -> Rows:
    """A log of n rows as counts of its distinct ones: every context, arm and reward."""
    context, arm, reward = (part.ravel() for part in np.meshgrid(range(CONTEXTS), range(ARMS), (0.0, 1.0), indexing="ij"))
    rate = at.rate[context, arm]
    chance = at.logging[context, arm] * np.where(reward > 0, rate, 1.0 - rate) / CONTEXTS
    times = rng.multinomial(n, chance / chance.sum()).astype(np.float64)
    expected = (at.target * at.model).sum(1)[context]
    rows = of_arrays(reward, at.logging[context, arm], at.target[context, arm], at.model[context, arm], expected)
    return rows._replace(times=times)


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of some estimates on logs."""
    figures: dict[str, Any] = {"estimates": len(records)}
    for verdict in ("trust", "caution", "do_not_trust"):
        part = [r["covers"] for r in records if r["verdict"] == verdict]
        figures[verdict] = {"estimates": len(part), "coverage": round(float(np.mean(part)), 4) if part else None}
    missed = [r["verdict"] != "trust" for r in records if r["misses"] > 3]
    return figures | {"misses": len(missed), "misses_flagged": round(float(np.mean(missed)), 4) if missed else None}


def main() -> None:
    """Runs the study, prints one line of JSON and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--raw", type=Path, default=None, help="keep every estimate here, as JSON")
    options = parser.parse_args()
    parts = list(cells(options.logs))
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        found = list(pool.map(played, parts))
    records = [record for part in found for record in part]
    number = sum(cell.logs for cell in parts)
    if options.raw:
        options.raw.write_text(json.dumps(records, default=float))
    by_estimator = {e.kind: summary([r for r in records if r["estimator"] == e.kind]) for e in PLAIN + SHRINKING}
    bias = {estimator.kind: biases(estimator, parts, found) for estimator in (ips(), dr())}
    report = {"benchmark": "evaluation_study", "logs": number, "bias": bias, "all": summary(records), "by_estimator": by_estimator}
    report["sound_logs"] = summary([r for r in records if not r["fault"]])
    report["faults"] = {fault: summary([r for r in records if r["fault"] == fault]) for fault in FAULTS}
    print(json.dumps(report))
    if options.logs >= 60:
        RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
