"""Which features explain where the model doubts: the share of the doubt's variance between the parts that a feature makes of the rows.

For each feature the rows fall into parts (a category by the training rows of its value, a text by its share of new words, a number or a
time by its tenth); the share of the variance of log(model stddev / mean) that lies between parts, corrected for their number (adjusted
R^2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from recbayes.calibration.coverage import deciles
from recbayes.calibration.novelty import new_words, plain
from recbayes.features import Feature
from recbayes.findings.asking import percent
from recbayes.log import Log
from recbayes.types import Array

NOTABLE = 0.05
NEWEST = ("new", "over 25% new")
"""Names of the parts that training has not seen."""
ADVICE = {
    "categorical": "collect more rows of the values that training has few of",
    "text": "collect more texts with the words that training has not seen",
    "numeric": "collect more rows in the ranges where it doubts most",
    "time": "train again more often: what is newest is what it knows least",
}


def explained(features: list[Feature], frame: pd.DataFrame, train: Log, test: Log) -> dict[str, Any]:
    """The features in order of what they explain of the model's doubt.

    Args:
      features: the model's.
      frame: of predictions, a row a test row.
      train: counts.
      test: counts.

    Returns: features (a record each: feature, share, and the parts of most and least doubt with their medians), says.
    """
    doubt = (frame.model_stddev / frame["mean"]).to_numpy(np.float64)
    if not (doubt > 0).all():
        return {"features": [], "says": "This posterior has no doubt of its own to explain. Train with last_layer or ensemble to see it."}
    found = []
    for feature in features:
        if feature.kind in ADVICE:
            names = _parts(feature, plain(train.column(feature.name)), plain(test.column(feature.name)))
            found.append({"feature": feature.name, "kind": feature.kind, **between(np.log(doubt), names, doubt)})
    found.sort(key=lambda record: -record["share"])
    return {"features": found, "says": _says(found)}


def between(values: Array, names: Array, doubt: Array) -> dict[str, Any]:
    """Adjusted share of the variance between parts, and the parts of most and least doubt.

    >>> between(np.array([0.0, 0.1, 1.0, 1.1]), np.array(["a", "a", "b", "b"]), np.arange(4.0))["share"] > 0.9
    True
    """
    frame = pd.DataFrame({"value": values, "part": names, "doubt": doubt})
    within = float(((frame.value - frame.groupby("part").value.transform("mean")) ** 2).sum())
    total, free = float(((frame.value - frame.value.mean()) ** 2).sum()), len(frame) - frame.part.nunique()
    share = 1.0 - within / max(free, 1) / (total / max(len(frame) - 1, 1)) if total > 0 else 0.0
    medians = frame.groupby("part").doubt.median().sort_values()
    return {
        "share": max(share, 0.0),
        "most": {"part": str(medians.index[-1]), "model": float(medians.iloc[-1])},
        "least": {"part": str(medians.index[0]), "model": float(medians.iloc[0])},
    }


def _parts(feature: Feature, known: Any, asked: Any) -> Array:
    if feature.kind == "categorical":
        seen = pd.Series(asked).astype(object).map(pd.Series(known).astype(object).value_counts()).fillna(0)
        return np.asarray(
            pd.cut(seen, [-1, 0, 2, 10, 100, np.inf], labels=["new", "1 or 2 rows", "3 to 10 rows", "11 to 100 rows", "over 100 rows"]),
            object,
        )
    if feature.kind == "text":
        words = new_words(known, asked)
        share = words.new / words.words.clip(lower=1)
        return np.asarray(
            pd.cut(share, [-1, 0, 0.1, 0.25, 1], labels=["no new word", "up to 10% new", "up to 25% new", "over 25% new"]), object
        )
    numbers = pd.Series(asked)
    numbers = numbers.astype("int64") if pd.api.types.is_datetime64_any_dtype(numbers) else pd.to_numeric(numbers, errors="coerce")
    tenths = deciles(np.asarray(numbers.fillna(numbers.median()), np.float64))
    return np.array([f"tenth {t + 1} of 10" for t in tenths], object)


def _says(found: list[dict[str, Any]]) -> str:
    if not found or found[0]["share"] < NOTABLE:
        return (
            "No single feature explains where the model doubts: it is spread over combinations of them. More rows of every kind would help."
        )
    first = found[0]
    most, least = (f"{percent(first[end]['model'])} of the rate in the part “{first[end]['part']}”" for end in ("most", "least"))
    start = f"{first['feature']} explains {percent(first['share'])} of where the model doubts: {most}, {least}"
    if first["least"]["part"] in NEWEST:
        least = "It doubts least what it knows least: don't read its doubt as ignorance there"
        return f"{start}. {least}; {ADVICE[first['kind']]}."
    return f"{start}: {ADVICE[first['kind']]}."
