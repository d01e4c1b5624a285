"""Rare values left out and the model trained again: what were they worth, and does the model know that it doesn't know them?

Half of the values that stand in few training rows are chosen at random and their rows taken out. Two short trainings, with and without
them, are held against the test rows (what the rare rows taught) and against the rows left out (which only the second has not seen).
Source: the deep density network's debugging views (rare titles left out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from recbayes.calibration.novelty import plain
from recbayes.calibration.pit import pit
from recbayes.calibration.points import few_of, rate_points
from recbayes.findings.asking import parts, percent, some
from recbayes.log import Log
from recbayes.types import Array

LEAST_ROWS = 50
ROWS = 1000


def left_out(fit: Callable[[Log], Any], train: Log, test: Log, feature: str, *, rare: int, seed: int = 0) -> dict[str, Any]:
    """Trains with and without half of a feature's rare values.

    Args:
      fit: a training log in, a fitted model out.
      train: counts.
      test: counts.
      feature: a categorical one.
      rare: a value is rare if it stands in at most so many training rows.
      seed: of the choice of values.

    Returns: feature, rare, rows (left out), log_likelihood (test, nats a row, with and without), model (median relative stddev of the rows
      left out, with and without), coverage (of the rows left out, by the model that did not see them), says; only rows and says where too
      few rows are rare.
    """
    out = chosen(plain(train.column(feature)), rare=rare, seed=seed)
    record: dict[str, Any] = {"feature": feature, "rare": rare, "rows": int(out.sum())}
    if out.sum() < LEAST_ROWS:
        return record | {"says": f"{int(out.sum()):,} training rows have rare values of {feature}: too few to leave out and compare."}
    gone = train.take(np.flatnonzero(out)[some(int(out.sum()), ROWS)])
    models = fit(train), fit(train.take(~out))
    record["log_likelihood"] = [float(np.sum(model.log_likelihood(test))) / len(test) for model in models]
    record["model"] = [float(np.median(parts(model.predict(gone))["model"])) for model in models]
    points = rate_points(few_of(models[1].predict(gone)), seed=seed)
    values = pit(np.asarray(gone.clicks, np.float64), np.asarray(gone.impressions, np.float64), points, seed=seed)
    record["coverage"] = float((np.abs(values - 0.5) <= 0.45).mean())
    return record | {"says": _says(record)}


def chosen(column: Any, *, rare: int, seed: int) -> Array:
    """Rows whose value is one of the half of the rare values that a coin chose, bool [N].

    >>> chosen(["a", "a", "a", "b"], rare=1, seed=0).tolist()
    [False, False, False, True]
    """
    codes, values = pd.factorize(pd.Series(column).astype(object))
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    few = np.flatnonzero(counts <= rare)
    picked = np.random.default_rng(seed).permutation(few)[: (len(few) + 1) // 2]
    return np.isin(codes, picked)


def _says(record: dict[str, Any]) -> str:
    name, (full, less) = record["feature"], record["log_likelihood"]
    before, after = (percent(doubt) for doubt in record["model"])
    rows = f"{record['rows']:,} rows of rare values of {name}"
    start = f"Without {rows} the held-out log-likelihood goes from {full:.3f} to {less:.3f} nats a row"
    knows = f"its 90% intervals hold {percent(record['coverage'])} of the rows left out, its doubt of them goes from {before} to {after}"
    if record["coverage"] < 0.85:
        return (
            f"{start}, and {knows}: it is too sure of values it has not seen. Collect more rare values, or recalibrate (train.recalibrate)."
        )
    if full - less > 0.01:
        return f"{start}: rare values teach it something; collect more of them. It knows what it lacks: {knows}."
    return f"{start}: rare values add little; raise min_count of {name}, or spend impressions elsewhere. It knows what it lacks: {knows}."
