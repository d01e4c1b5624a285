"""Uncertainty against impressions: those of the item itself, and those that a categorical value had in training.

As an item is shown its own clicks take over from the prediction: the density is conditioned on the clicks that are expected, draw by
draw, and what is left of the data part shrinks. What is left of the model part is what the item's own impressions don't tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from recbayes.calibration.novelty import plain
from recbayes.findings.asking import parts, percent, some
from recbayes.log import Log
from recbayes.predictive import Predictive
from recbayes.types import Array

SHOWN = (0, 100, 300, 1_000, 3_000, 10_000, 30_000)
ROWS = 120
ENOUGH = 0.2
"""A rate that is known to within this share of itself (one standard deviation) is known well enough to compare items."""
LISTED = 5
LEAST_ROWS = 30
NEVER = "never in training"


def item(fitted: Any, test: Log) -> dict[str, Any]:
    """What is left of a rate's uncertainty once the item was shown so often; the clicks are those expected.

    Args:
      fitted: the model.
      test: counts.

    Returns: curve (a record a number of impressions: impressions, data, model, total, medians relative to the rate), says.
    """
    predictive = fitted.predict(test.take(some(len(test), ROWS)))
    curve = []
    for shown in SHOWN:
        now = parts(conditioned(predictive, shown))
        total = np.hypot(now["data"], now["model"])
        curve.append({"impressions": shown} | {name: float(np.median(values)) for name, values in (*_two(now), ("total", total))})
    return {"curve": curve, "says": _enough(curve)}


def conditioned(predictive: Predictive, shown: int) -> Predictive:
    """The predictive of N decisions of one candidate once each was shown so often and got the clicks that were expected of it."""
    if not shown:
        return predictive
    clicks = (predictive.mean * shown)[None, None]  # [1, 1, N, 1]
    impressions = tf.fill(tf.shape(clicks), tf.cast(shown, clicks.dtype))
    log_joint = predictive.node_log_weights + predictive.density.log_marginal(clicks, impressions)[..., 0]
    density = predictive.density.condition(clicks, impressions)
    return predictive._replace(density=density, node_log_weights=tf.nn.log_softmax(log_joint, 0))


def values(frame: pd.DataFrame, train: Log, test: Log, feature: str) -> dict[str, Any]:
    """Uncertainty of test rows against the impressions that their value of a categorical feature had in training.

    Args:
      frame: of predictions, a row a test row.
      train: counts.
      test: counts.
      feature: its name.

    Returns: feature, parts (a record a range of training impressions: part, rows, impressions (median), data, model, coverage), most (the
      values
      that weigh most in the model's doubt: value, rows, impressions, model), says.
    """
    shown = _shown(plain(train.column(feature)), train.impressions, plain(test.column(feature)))
    rows = pd.DataFrame(
        {
            "value": pd.Series(plain(test.column(feature))).astype(str).to_numpy(),
            "shown": shown,
            "data": frame.data_stddev / frame["mean"],
            "model": frame.model_stddev / frame["mean"],
            "covered": (frame.pit - 0.5).abs() <= 0.45,
            "weight": frame.model_stddev**2,
        }
    )
    rows["part"] = _ranges(shown)
    found: list[dict[str, Any]] = [
        {
            "part": part,
            "rows": len(some_rows),
            "impressions": float(some_rows.shown.median()),
            "data": float(some_rows.data.median()),
            "model": float(some_rows.model.median()),
            "coverage": float(some_rows.covered.mean()),
        }
        for part, some_rows in rows.groupby("part", sort=False)
    ]
    found.sort(key=lambda record: record["impressions"])
    most = rows.groupby("value").agg(
        rows=("shown", "size"), impressions=("shown", "first"), model=("model", "median"), weight=("weight", "sum")
    )
    listed = most.sort_values("weight", ascending=False).head(LISTED).drop(columns="weight")
    return {
        "feature": feature,
        "parts": found,
        "most": [{"value": str(value)[:80], **_plain(record)} for value, record in listed.to_dict("index").items()],
        "says": _value_says(feature, found),
    }


def _two(now: dict[str, Array]) -> tuple[tuple[str, Array], ...]:
    return ("data", now["data"]), ("model", now["model"])


def _plain(record: dict[Any, Any]) -> dict[str, float]:
    return {str(key): float(value) for key, value in record.items()}


def _shown(known: Any, impressions: Array, asked: Any) -> Array:
    """Training impressions of each test row's value, 0 of a new one."""
    totals = pd.Series(np.asarray(impressions, np.float64)).groupby(pd.Series(known).astype(object).to_numpy()).sum()
    return np.asarray(pd.Series(asked).astype(object).map(totals).fillna(0.0), np.float64)


def _ranges(shown: Array) -> Array:
    """Never shown; then thirds of the rest, or all of it where thirds would be small."""
    names = np.full(len(shown), NEVER, object)
    there = np.flatnonzero(shown > 0)
    for third in np.array_split(there[np.argsort(shown[there], kind="stable")], 3 if len(there) >= 3 * LEAST_ROWS else 1):
        if len(third):
            names[third] = f"{shown[third].min():,.0f} to {shown[third].max():,.0f}"
    return names


def _enough(curve: list[dict[str, float]]) -> str:
    first = next((point for point in curve if point["total"] <= ENOUGH), None)
    start = f"Before an item is shown its rate is known to ±{percent(curve[0]['total'])}"
    if first is None:
        last = curve[-1]
        return (
            f"{start}; after {last['impressions']:,} impressions still to ±{percent(last['total'])}. Clicks are too "
            "rare for a closer look: pool "
            "items, or judge by a more frequent action."
        )
    if first["impressions"] == 0:
        return f"{start}: the features alone tell items apart well enough, exploring has little to find."
    before = curve[curve.index(first) - 1]
    along = np.log(before["total"] / ENOUGH) / np.log(before["total"] / first["total"])
    low = max(before["impressions"], 1)
    needed = float(f"{low * (first['impressions'] / low) ** along:.1e}")
    return (
        f"{start}; to know it to ±{percent(ENOUGH)} takes about {needed:,.0f} impressions of its own. Show a new item "
        "about that often before comparing it with others by its clicks alone."
    )


def _value_says(feature: str, found: list[dict[str, Any]]) -> str:
    total = sum(record["rows"] for record in found)
    never = next((record["rows"] for record in found if record["part"] == NEVER), 0)
    if total - never < LEAST_ROWS:
        return (
            f"{never:,} of {total:,} test rows have values of {feature} that training never saw: the model can use it for hardly any "
            "of them. Give it coarser values that repeat, or collect rows of the values that will be shown."
        )
    if len(found) < 2:
        return f"All rows have values of {feature} with like impressions in training ({found[0]['part']}): nothing to compare."
    few, many = found[0], found[-1]
    gain = few["model"] / many["model"] - 1.0 if many["model"] > 0 else 0.0
    if gain > 0.1:
        return (
            f"The model doubts rows by {percent(few['model'])} of the rate where {feature} was shown least ({few['part']}), by "
            f"{percent(many['model'])} where most: collect more impressions of its rare and new values."
        )
    return (
        f"The model's doubt hardly depends on how often a value of {feature} was shown ({percent(few['model'])} to "
        f"{percent(many['model'])} of the "
        f"rate): more impressions of single values would tell little; more different ones, or a better feature, might."
    )
