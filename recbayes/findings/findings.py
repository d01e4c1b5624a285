"""All findings of a trained model: findings.json, each with a sentence of what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from recbayes.findings.explained import explained
from recbayes.findings.exposure import item, values
from recbayes.findings.hidden import hidden
from recbayes.findings.left_out import left_out
from recbayes.findings.surprises import surprises
from recbayes.findings.within import within
from recbayes.log import Log


def findings(
    fitted: Any,
    train: Log,
    test: Log,
    predictions: pd.DataFrame,
    *,
    refit: Callable[[Log], Any] | None = None,
    rare: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """What a model's uncertainty says to do.

    Args:
      fitted: a `Fitted`.
      train: the log it was fitted on.
      test: the log that was predicted.
      predictions: the frame that `calibrate` gave for it.
      refit: trains a model on a log, briefly; given, rare values are left out and the model trained again, twice for each categorical
        feature.
      rare: a value is rare if it stands in at most so many training rows.
      seed: of the random choices.

    Returns: hidden, item, values, explained, within, surprises and left_out (None without `refit`), see the files of these names; each
      holds
      `says`.

    >>> findings(fitted, train, test, predictions)["item"]["says"]  # doctest: +SKIP
    'Before an item is shown its rate is known to ±69%; after 10,000 impressions to ±17%. Show a new item about that often ...'
    """
    train, test = (log.counts() if log.is_events else log for log in (train, test))
    features = fitted.encoder.features
    categories = [feature.name for feature in features if feature.kind == "categorical"]
    found = {
        "hidden": hidden(fitted, train, test),
        "item": item(fitted, test),
        "values": [values(predictions, train, test, name) for name in categories],
        "explained": explained(features, predictions, train, test),
        "within": within(features, predictions, test),
        "surprises": surprises(predictions),
        "left_out": None if refit is None else [left_out(refit, train, test, name, rare=rare, seed=seed) for name in categories],
    }
    return {name: _no_nan(value) for name, value in found.items()}


def _no_nan(value: Any) -> Any:
    """JSON has no NaN: None in its place."""
    if isinstance(value, dict):
        return {key: _no_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_no_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
