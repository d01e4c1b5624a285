"""One feature at a time as if its value had never been seen: what becomes of the mean, and of each part of the uncertainty.

A model that knows what it doesn't know doubts more (model part) once a feature that it leans on is hidden. A mean that moves while the
doubt stays is a warning: the model is as sure of an unseen value as of a seen one.
Source: the deep density network's debugging views (a feature swapped for its out-of-vocabulary value).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbayes.features.coding import OOV_ID, OOV_TOKEN, PADDING
from recbayes.findings.asking import parts, percent, predict, some
from recbayes.fitting import columns_of, encode
from recbayes.log import Log
from recbayes.types import Array

LEAST_ROWS = 30
MOVES = 0.05
"""Median relative change that is worth a sentence."""


def hidden(fitted: Any, train: Log, test: Log) -> list[dict[str, Any]]:
    """What hiding each feature does, on test rows whose value the model knows (training rows where those are fewer than 30).

    Args:
      fitted: the model.
      train: counts.
      test: counts.

    Returns: a record a categorical, list or text feature: feature, rows, of (test or training), share_known (of the test rows), mean_change
      (median |log ratio|), data and model (median relative stddev, before and after), says.
    """
    found = []
    for name, spec in fitted.encoder.specs.items():
        if spec.kind in ("ids", "bag"):
            found.append(_one(fitted, name, train, test))
    return found


def _one(fitted: Any, name: str, train: Log, test: Log) -> dict[str, Any]:
    rows, share = _known(fitted, name, test)
    of = "test"
    if len(next(iter(rows.values()))) < LEAST_ROWS:
        rows, of = _known(fitted, name, train)[0], "training"
    count = len(next(iter(rows.values())))
    record: dict[str, Any] = {"feature": name, "rows": count, "of": of, "share_known": share}
    if not count:
        return record | {
            "says": f"No row has a value of {name} that the model knows: it can learn nothing from this feature. Lower its min_count."
        }
    before = parts(predict(fitted, rows))
    masked = fitted.encoder.oov(rows, {name: np.ones(count, bool)})
    after = parts(predict(fitted, {key: np.asarray(value) for key, value in masked.items()}))
    record["mean_change"] = float(np.median(np.abs(np.log(after["mean"] / before["mean"]))))
    for part in ("data", "model"):
        record[part] = [float(np.median(values[part])) for values in (before, after)]
    return record | {"says": _says(record)}


def _known(fitted: Any, name: str, log: Log) -> tuple[dict[str, Array], float]:
    """Encoded rows whose value of the feature is in the vocabulary (of a text, some word), and their share."""
    encoded = encode(fitted.encoder, columns_of(log.take(some(len(log), 2000)), fitted.encoder))
    ids = encoded[name]
    known = ids != OOV_ID if ids.ndim == 1 else ((ids != OOV_TOKEN) & (ids != PADDING)).any(axis=1)
    chosen = np.flatnonzero(known)
    return {key: value[chosen[some(len(chosen))]] for key, value in encoded.items()}, float(known.mean())


def _says(record: dict[str, Any]) -> str:
    name, (before, after) = record["feature"], record["model"]
    moves = f"Hidden, {name} moves the predicted rate by {percent(record['mean_change'])} (median)"
    if record["mean_change"] < MOVES:
        return f"{moves}: the model hardly uses it. Leave it out, or give it coarser values that repeat."
    if after > before * (1.0 + MOVES):
        return (
            f"{moves} and raises the model's doubt from {percent(before)} to {percent(after)} of the rate: it knows what it doesn't know. "
            f"Collect impressions of new values of {name} to bring that down."
        )
    change = f"falls from {percent(before)} to {percent(after)}" if after < before * (1.0 - MOVES) else f"stays at {percent(after)}"
    return (
        f"{moves}, yet its doubt {change} of the rate: it is no less sure of an unseen {name} than of a seen one. "
        "Collect more new values of it "
        "before you trust the model's part of their uncertainty, or try the ensemble posterior."
    )
