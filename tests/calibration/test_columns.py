"""Parts of a column: what coverage is broken down by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbayes.calibration.columns import FEW, LEAST_ROWS, MOST_PARTS, NEW, NONE, parts


def test_values_with_few_rows_go_together_and_new_ones_apart() -> None:
    """A share of three rows says nothing, and rows of unseen values are the ones to look at."""
    test = ["a"] * LEAST_ROWS + ["b"] * (LEAST_ROWS - 1) + ["x"] * LEAST_ROWS + [None] * LEAST_ROWS
    found = pd.Series(parts(["a", "b"], test)).value_counts()
    assert found.to_dict() == {"a": LEAST_ROWS, FEW: LEAST_ROWS - 1, NEW: LEAST_ROWS, NONE: LEAST_ROWS}


def test_at_most_so_many_values_are_shown() -> None:
    test = [f"v{i}" for i in range(20) for _ in range(LEAST_ROWS + 20 - i)]
    found = pd.Series(parts(sorted(set(test)), test))
    assert set(found) == {*(f"v{i}" for i in range(MOST_PARTS)), FEW}


def test_numbers_and_times_make_quarters() -> None:
    """Their names say the range, in order, and a missing number has a part of its own."""
    numbers = np.append(np.random.default_rng(0).permutation(100).astype(float), np.nan)
    found = pd.Series(parts(numbers, numbers)).value_counts().sort_index()
    assert found.to_dict() == {NONE: 1, "1: 0 to 24": 25, "2: 25 to 49": 25, "3: 50 to 74": 25, "4: 75 to 99": 25}
    times = pd.Series(pd.date_range("2024-01-01", periods=40, freq="D"))
    for column in (times, times.dt.tz_localize("UTC")):
        assert sorted(set(parts(column, column)))[0] == "1: 2024-01-01 to 2024-01-10"


def test_few_distinct_numbers_are_values() -> None:
    """A position is a place, not a range."""
    assert set(parts([1, 2, 3], [1, 2, 3] * LEAST_ROWS)) == {"1", "2", "3"}
