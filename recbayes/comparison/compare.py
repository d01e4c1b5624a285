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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbayes import posteriors
from recbayes.comparison.distances import by_draws, distance, powers
from recbayes.comparison.judge import Judged, Problem, judge
from recbayes.comparison.result import Comparison
from recbayes.engine import Engine, Kept, Kind, Work, opened, results
from recbayes.fitted import Fitted, fit
from recbayes.posteriors import Posterior
from recbayes.types import Array, UserError

REFERENCES = ("nuts", "sgld", "neural_linear", "last_layer", "ensemble")
"""Whose draws are the reference, the best that is there; only NUTS is exact (as its draws are many)."""
BASE = "map"
"""Training costs are multiples of this one's."""
WARM = 200
"""Training rows of the fit that nobody times: TensorFlow's own start."""


class Contest(NamedTuple):
    """What is compared, on what; see `compare`."""

    problem: Problem
    small: Problem | None
    methods: list[tuple[str, Posterior]]
    replay: Callable[[Fitted], Mapping[str, float]] | None


def compare(
    problem: Problem,
    methods: Mapping[str, Posterior],
    *,
    small: Problem | None = None,
    replay: Callable[[Fitted], Mapping[str, float]] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[..., None] | None = None,
    engine: Kind | Engine = "local",
) -> Comparison:
    """Fits and measures posteriors, one after the other, or each by a worker.

    Args:
      problem: what held-out figures and costs are of.
      methods: the posteriors by the names that their rows get; with one of kind `map` costs are multiples of its.
      small: what distances are of, small enough for NUTS; None: the problem itself.
      replay: a fitted model -> lift of each policy by name; None: no replay.
      checkpoint: a folder where each finished method is kept; a comparison that was interrupted goes on from it.
      progress: called with (done, of, name) before each method (spread over workers: the first that is not done) and at the end.
      engine: where methods are fitted, as for `replay`: figures are the same, costs are those of a worker's one thread.

    Returns: a row a method, one that failed with its reason; errors by the number of draws.
    Raises: UserError if there is no method to compare, or the engine is none.
    """
    if not methods:
        raise UserError("compare: no posterior to compare. Name some, such as posteriors: [map, last_layer, nuts]")
    contest = Contest(problem, small, list(methods.items()), replay)
    kept = None if checkpoint is None else Kept(Path(checkpoint), partial(token, contest), packed, recalled)
    found: dict[int, Judged] = {}
    tell = progress or (lambda *_: None)
    with opened(engine) as runner:
        tell(0, len(methods), contest.methods[0][0])
        for number, one in results(runner, Work(judged, contest, once=ready, whole=True), len(methods), kept=kept):
            found[number] = one
            tell(len(found), len(methods), next((name for n, (name, _) in enumerate(contest.methods) if n not in found), ""))
    return beside({name: found[number] for number, name in enumerate(methods)}, problem, small)


def judged(contest: Contest, number: int) -> Judged:
    """One of the methods: what an engine does."""
    return judge(contest.methods[number][1], contest.problem, contest.small, replay=contest.replay)


def ready(contest: Contest) -> None:
    """What comes before the first method in a process."""
    warmed(contest.problem)


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


def warmed(problem: Problem) -> None:
    """One short fit, so that the first method does not pay for TensorFlow's start. Its faults are told where they matter."""
    few = problem.train.take(problem.train.segments[0] <= problem.train.segments[0][: WARM + 1].max())
    with suppress(ValueError):
        fit(few, posterior=posteriors.map(), **{**problem.settings, "epochs": 1, "held_out": 0.0, "recalibrate": False})


def token(contest: Contest, number: int) -> str:
    """A name for a method's file: what it was, on which rows."""
    name, posterior = contest.methods[number]
    logs = [log.fingerprint for part in (contest.problem, contest.small) if part is not None for log in (part.train, part.test)]
    parts = json.dumps([name, posterior.kind, posterior.settings, logs], sort_keys=True, default=str)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def packed(judged: Judged) -> dict[str, Array]:
    """A finished method as a file holds it."""
    return {"row": np.array(json.dumps(judged.row)), "draws": np.zeros((0, 0)) if judged.draws is None else judged.draws}


def recalled(saved: Mapping[str, Array]) -> Judged:
    """What `packed` made."""
    draws = saved["draws"]
    return Judged(json.loads(str(saved["row"])), draws if draws.size else None)
