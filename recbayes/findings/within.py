"""How far click rates lie apart within one group or one value of a category, as seen and as predicted.

Seen is the variance of the empirical logit within the parts less its measurement noise 1 / (clicks + 1/2) + 1 / (misses + 1/2); predicted
is the variance of the logit of the predicted means. Their ratio is the share of what tells rows of one advertiser or page apart that the
features catch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from recbayes.calibration.novelty import plain
from recbayes.features import Feature
from recbayes.findings.asking import percent
from recbayes.log import Log
from recbayes.types import Array

LEAST_PARTS = 10
LISTED = 5


def within(features: list[Feature], frame: pd.DataFrame, test: Log) -> list[dict[str, Any]]:
    """The spread within parts, for the log's groups and each categorical feature whose values repeat.

    Args:
      features: the model's.
      frame: of predictions, a row a test row.
      test: counts.

    Returns: a record a column: column, parts (how many), rows, seen and predicted (standard deviations on the logit; seen 0 where it is all
      noise), caught (share of the variance), widest (parts whose rows lie furthest apart in what was seen), says.
    """
    columns = {} if test.columns.group is None else {test.columns.group: np.asarray(test.segments[0])}
    for feature in features:
        if feature.kind == "categorical":
            columns.setdefault(feature.name, pd.factorize(pd.Series(plain(test.column(feature.name))))[0])
    found = (one(name, codes, frame, plain(test.column(name))) for name, codes in columns.items())
    return [record for record in found if record is not None]


def one(name: str, codes: Array, frame: pd.DataFrame, names: Any) -> dict[str, Any] | None:
    """The record of one column; None where fewer than LEAST_PARTS of its parts have two rows."""
    clicks, shown = frame["clicks"].to_numpy(np.float64), frame["impressions"].to_numpy(np.float64)
    clicks, misses = clicks + 0.5, shown - clicks + 0.5
    rows = pd.DataFrame(
        {
            "part": codes,
            "name": pd.Series(names).astype(str).to_numpy(),
            "seen": np.log(clicks / misses),
            "noise": 1.0 / clicks + 1.0 / misses,
            "predicted": logit(frame["mean"].to_numpy(np.float64)),
        }
    )
    rows = rows[(rows.part >= 0) & (rows.groupby("part").part.transform("size") > 1)]
    parts = rows.part.nunique()
    if parts < LEAST_PARTS:
        return None
    free = len(rows) - parts
    off = rows[["seen", "predicted"]] - rows.groupby("part")[["seen", "predicted"]].transform("mean")
    noise = float((rows.noise * (1.0 - 1.0 / rows.groupby("part").part.transform("size"))).sum()) / free
    seen, predicted = max(float((off.seen**2).sum()) / free - noise, 0.0), float((off.predicted**2).sum()) / free
    caught = float((off.seen * off.predicted).sum() ** 2 / max((off.predicted**2).sum(), 1e-300)) / free / seen if seen > 0 else None
    spread = (off.seen**2 - rows.noise).groupby(rows.part).mean().sort_values(ascending=False).head(LISTED)
    first = rows.groupby("part").name.first()
    record = {
        "column": name,
        "parts": int(parts),
        "rows": len(rows),
        "seen": float(np.sqrt(seen)),
        "predicted": float(np.sqrt(predicted)),
        "caught": None if caught is None else min(caught, 1.0),
        "widest": [
            {"part": str(first.loc[part])[:80], "seen": float(np.sqrt(max(float(value), 0.0)))}
            for part, value in zip(spread.index, spread, strict=True)
        ],
    }
    return record | {"says": _says(record)}


def _says(record: dict[str, Any]) -> str:
    name = record["column"]
    if record["caught"] is None:
        return f"Within one {name} click rates differ by no more than chance: there is nothing to choose there, exploring can't pay."
    apart = f"Within one {name} click rates lie ±{percent(record['seen'])} apart"
    start = f"{apart}; the features catch {percent(record['caught'])} of that variance"
    if record["predicted"] > 1.5 * record["seen"]:
        return f"{start}, but predict them ±{percent(record['predicted'])} apart: it overfits. Train fewer epochs or strengthen the prior."
    if record["caught"] < 0.1:
        return f"{start}. Collect what differs between rows of one {name} as another feature, or explore: only impressions tell."
    return f"{start}. The rest is for exploration to find, or for features that are not in the log yet."
