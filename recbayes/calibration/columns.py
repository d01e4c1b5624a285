"""Parts of the rows that a column makes, to look at calibration in each: values, or ranges of numbers.

Many values have too few rows for a share to mean anything: those go together, and those that training never saw apart from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbayes.calibration.coverage import deciles

LEAST_ROWS = 50
MOST_PARTS = 8
QUARTERS = 4
NEW, FEW, NONE = "(never seen in training)", "(other values)", "(none)"


def parts(train: Any, test: Any) -> NDArray[np.object_]:
    """Which part each test row is in.

    Args:
      train: the column in the training log, [N'].
      test: the same column in the test log, [N]: numbers or times make quarters of equal size, all else its values.

    Returns: a name a row, [N].

    >>> parts(["a", "b"], ["a"] * 60 + ["c", "b"])[[0, -2, -1]].tolist()
    ['a', '(never seen in training)', '(other values)']
    """
    known, asked = pd.Series(train), pd.Series(test)
    if pd.api.types.is_numeric_dtype(asked) and not pd.api.types.is_bool_dtype(asked) and asked.nunique() > MOST_PARTS:
        return _ranges(asked)
    if pd.api.types.is_datetime64_any_dtype(asked):
        return _ranges(asked)
    return _values(known, asked)


def _values(known: pd.Series, asked: pd.Series) -> NDArray[np.object_]:
    names = np.array([NONE if missing else str(value) for value, missing in zip(asked, asked.isna(), strict=True)], object)
    counts = pd.Series(names).value_counts()
    shown = set(counts[counts >= LEAST_ROWS].index[:MOST_PARTS])
    seen = np.asarray(asked.isna() | asked.astype(object).isin(pd.unique(known.astype(object))), bool)
    return np.where(~seen, NEW, np.where([name in shown for name in names], names, FEW)).astype(object)


def _ranges(asked: pd.Series) -> NDArray[np.object_]:
    there = np.flatnonzero(~asked.isna())
    values = asked.iloc[there].to_numpy()
    quarter = deciles(values, QUARTERS)
    names = np.full(len(asked), NONE, object)
    for q in np.unique(quarter):
        inside = values[quarter == q]
        names[there[quarter == q]] = f"{q + 1}: {_short(inside.min())} to {_short(inside.max())}"
    return names


def _short(value: Any) -> str:
    return str(value)[:10] if isinstance(value, np.datetime64 | pd.Timestamp) else f"{float(value):.4g}"
