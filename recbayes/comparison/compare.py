"""Compare: every posterior on the same data and the same network, judged by the same figures.

Held-out figures and costs are of the problem that a user has. Distances want a reference that samples the posterior itself, and NUTS
takes small models only; so they may be of a second, small problem of the same log.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from recbayes import posteriors
from recbayes.comparison.distances import by_draws, distance, powers
from recbayes.comparison.judge import Judged, Problem, judge
from recbayes.comparison.result import Comparison
from recbayes.fitted import Fitted, fit
from recbayes.posteriors import Posterior
from recbayes.types import UserError

REFERENCES = ("nuts", "sgld", "neural_linear", "last_layer", "ensemble")
"""Whose draws are the reference, the best that is there; only NUTS is exact (as its draws are many)."""
BASE = "map"
"""Training costs are multiples of this one's."""
WARM = 200
"""Training rows of the fit that nobody times: TensorFlow's own start."""


def compare(
    problem: Problem,
    methods: Mapping[str, Posterior],
    *,
    small: Problem | None = None,
    replay: Callable[[Fitted], Mapping[str, float]] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[..., None] | None = None,
) -> Comparison:
    """Fits and measures posteriors, one after the other.

    Args:
      problem: what held-out figures and costs are of.
      methods: the posteriors by the names that their rows get; with one of kind `map` costs are multiples of its.
      small: what distances are of, small enough for NUTS; None: the problem itself.
      replay: a fitted model -> lift of each policy by name; None: no replay.
      checkpoint: a folder where each finished method is kept; a comparison that was interrupted goes on from it.
      progress: called with (done, of, name) before each method and at the end.

    Returns: a row a method, one that failed with its reason; errors by the number of draws.
    Raises: UserError if there is no method to compare.
    """
    if not methods:
        raise UserError("compare: no posterior to compare. Name some, such as posteriors: [map, last_layer, nuts]")
    folder = None if checkpoint is None else Path(checkpoint)
    judged: dict[str, Judged] = {}
    warm = False
    for name, posterior in methods.items():
        if progress is not None:
            progress(len(judged), len(methods), name)
        file = None if folder is None else folder / f"{token(name, posterior, problem, small)}.npz"
        if file is not None and file.is_file():
            judged[name] = recalled(file)
            continue
        warm = warm or warmed(problem)
        judged[name] = judge(posterior, problem, small, replay=replay)
        if file is not None:
            keep(file, judged[name])
    if progress is not None:
        progress(len(methods), len(methods), "")
    return beside(judged, problem, small)


def beside(judged: Mapping[str, Judged], problem: Problem, small: Problem | None) -> Comparison:
    """The rows with what only the others can tell: ratios of costs, distances, errors by draws."""
    rows = [{"name": name, **one.row} for name, one in judged.items()]
    base = next((row for row in rows if row["kind"] == BASE and row["reason"] is None), None)
    for row in rows:
        for cost in ("train", "epoch"):
            timed = base is not None and row["reason"] is None
            row[f"{cost}_ratio"] = row[f"{cost}_seconds"] / base[f"{cost}_seconds"] if timed and base is not None else None
    reference = chosen_reference(judged)
    errors = {} if reference is None else against(reference, judged, rows)
    about = {"reference": described(reference, judged), "problem": sizes(problem), "small": None if small is None else sizes(small)}
    return Comparison(rows, errors, about)


def against(reference: str, judged: Mapping[str, Judged], rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Writes distances to the reference into the rows; errors by the number of draws, of each method with draws of its own."""
    draws = judged[reference].draws
    assert draws is not None
    mean, stddev = draws.mean(axis=0), draws.std(axis=0, ddof=1)
    errors = {}
    for row in rows:
        own = judged[row["name"]].draws
        if own is None:
            continue
        row |= distance(own, mean, stddev)
        # The reference's hands are part of it: only those of at most a quarter stand apart enough to be judged by the whole.
        most = len(own) // 4 if row["name"] == reference else len(own)
        if most > 1:
            errors[row["name"]] = by_draws(own, mean, stddev, powers(most))
    return errors


def chosen_reference(judged: Mapping[str, Judged]) -> str | None:
    """The name of the best reference there is: by kind, then the one with the most draws."""
    for kind in REFERENCES:
        names = [name for name, one in judged.items() if one.row["kind"] == kind and one.draws is not None and len(one.draws) > 2]
        if names:
            return max(names, key=lambda name: len(judged[name].draws))  # type: ignore[arg-type]  # those without draws were left out
    return None


def described(name: str | None, judged: Mapping[str, Judged]) -> dict[str, Any] | None:
    """What a reader must know of the reference."""
    if name is None:
        return None
    draws, row = judged[name].draws, judged[name].row
    assert draws is not None
    told = row.get("small_warnings", row.get("warnings", []))
    return {
        "name": name,
        "kind": row["kind"],
        "exact": row["kind"] == "nuts",
        "draws": len(draws),
        "rows": draws.shape[1],
        "warnings": told,
    }


def sizes(problem: Problem) -> dict[str, int]:
    """How large a problem is."""
    return {
        "train_rows": len(problem.train),
        "train_groups": problem.train.segments[1],
        "test_rows": len(problem.test),
        "test_groups": problem.test.segments[1],
    }


def warmed(problem: Problem) -> bool:
    """One short fit, so that the first method does not pay for TensorFlow's start. Its faults are told where they matter."""
    few = problem.train.take(problem.train.segments[0] <= problem.train.segments[0][: WARM + 1].max())
    with suppress(ValueError):
        fit(few, posterior=posteriors.map(), **{**problem.settings, "epochs": 1, "held_out": 0.0, "recalibrate": False})
    return True


def token(name: str, posterior: Posterior, problem: Problem, small: Problem | None) -> str:
    """A name for a method's file: what it was, on which rows."""
    logs = [log.fingerprint for part in (problem, small) if part is not None for log in (part.train, part.test)]
    parts = json.dumps([name, posterior.kind, posterior.settings, logs], sort_keys=True, default=str)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def keep(file: Path, judged: Judged) -> None:
    """Writes a finished method beside, then in its place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    with partial.open("wb") as stream:
        none = np.zeros((0, 0))
        np.savez(stream, row=np.array(json.dumps(judged.row)), draws=none if judged.draws is None else judged.draws)
    os.replace(partial, file)


def recalled(file: Path) -> Judged:
    """What `keep` wrote."""
    with np.load(file, allow_pickle=False) as saved:
        draws = saved["draws"]
        return Judged(json.loads(str(saved["row"])), draws if draws.size else None)
