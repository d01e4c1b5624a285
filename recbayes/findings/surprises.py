"""Rows where the model was sure and wrong: counts outside the central 99% of what it thought possible, the surest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from recbayes.findings.asking import percent

LEVEL = 0.99
LISTED = 8
ALARM = 0.001


def surprises(frame: pd.DataFrame) -> dict[str, Any]:
    """What came outside the 99% intervals of the counts.

    Args:
      frame: of predictions, a row a test row.

    Returns: rows (how many are outside), expected (1% of all), high (of them, more clicks than thought possible), listed (the positions
      in the
      frame of those whose interval of the rate is narrowest relative to it; one a group), says.
    """
    outside = (frame.pit - 0.5).abs() > LEVEL / 2
    wrong = frame[outside].assign(width=(frame.upper - frame.lower) / frame["mean"]).sort_values("width")
    one_each = wrong.drop_duplicates("group") if "group" in wrong.columns else wrong
    count, high = int(outside.sum()), int((frame.pit[outside] > 0.5).sum())
    found = {"rows": count, "of": len(frame), "expected": (1.0 - LEVEL) * len(frame), "high": high}
    new = float((wrong.new != "").mean()) if count else 0.0
    listed = [int(position) for position in np.flatnonzero(frame.index.isin(one_each.index[:LISTED]))]
    return found | {"new": new, "listed": listed, "says": _says(found, new, float((frame.new != "").mean()))}


def _says(found: dict[str, Any], new: float, base: float) -> str:
    count, rows = found["rows"], found["of"]
    start = f"{count:,} of {rows:,} rows ({percent(count / max(rows, 1))}) fell outside their 99% intervals, where 1% should"
    if binom.sf(count - 1, rows, 1.0 - LEVEL) > ALARM:
        return f"{start}: about as many as chance makes. Nothing to mend; read the list for what a feature could have told."
    side = f"{found['high']:,} with more clicks than it thought possible, {count - found['high']:,} with fewer"
    if new > base + 0.15:
        return (
            f"{start}; {side}; {percent(new)} of them hold something new to it. Collect more of such values, and widen: train.recalibrate."
        )
    return f"{start}; {side}. They are no newer than others, so look for an unrecorded cause in the list, or a density with heavier tails."
