"""What the training rows never showed of a row: the plain reason for much of the model's doubt.

A categorical value is new or not; of a text, the share of its words that no training text has. A number is new outside the
training range. Of times nothing is said: where the split goes by time, all are later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbayes.features import Feature
from recbayes.log import Log

COMMON = 0.5
"""What is new about more than this share of the rows tells none of them from the others, and is not said."""
WORD = re.compile(r"\w+")


def _words(text: Any) -> set[str]:
    return set(WORD.findall("" if text is None or text is pd.NA else str(text).lower()))


def new_values(train: Any, test: Any) -> NDArray[np.bool_]:
    """Whether each value of a categorical column is absent from training, [N].

    >>> new_values(["a", "b"], ["b", "c"]).tolist()
    [False, True]
    """
    return ~np.asarray(pd.Series(test).astype(object).isin(pd.unique(pd.Series(train).astype(object))), bool)


def new_words(train: Iterable[Any], test: Iterable[Any]) -> pd.DataFrame:
    """Distinct words of each text, and how many of them no training text has: columns words, new.

    >>> new_words(["You will cry"], ["You will laugh"]).values.tolist()
    [[3, 1]]
    """
    known: set[str] = set().union(*(_words(text) for text in train))
    words = [_words(text) for text in test]
    return pd.DataFrame({"words": [len(w) for w in words], "new": [len(w - known) for w in words]})


def outside(train: Any, test: Any) -> NDArray[np.bool_]:
    """Whether each number lies outside the training range, [N].

    >>> outside([1.0, 3.0], [2.0, 4.0]).tolist()
    [False, True]
    """
    known, asked = pd.Series(train), pd.Series(test)
    return np.asarray((asked < known.min()) | (asked > known.max()), bool)


def describe(features: Iterable[Feature], train: Log, test: Log) -> list[str]:
    """What is new about each test row, in words.

    Args:
      features: with name and kind (categorical, text, numeric; other kinds say nothing).
      train: the training log: `.column(name)` gives a column.
      test: the test log.

    Returns: a phrase a row, such as "eyecatcher_id new; 2 of 11 words of headline new", or "" where nothing is new.
    """
    phrases: list[list[str]] = [[] for _ in range(len(test))]
    for feature in features:
        for row, phrase in _phrases(feature, train.column(feature.name), test.column(feature.name)):
            phrases[row].append(phrase)
    return ["; ".join(parts) for parts in phrases]


def _phrases(feature: Feature, train: Any, test: Any) -> Iterable[tuple[int, str]]:
    known, asked = pd.Series(plain(train)), pd.Series(plain(test))
    if feature.kind == "categorical":
        unseen = new_values(known, asked)
        return [(int(row), f"{feature.name} new") for row in np.flatnonzero(unseen)] if unseen.mean() < COMMON else []
    if feature.kind == "text":
        counts = new_words(known, asked)
        return [
            (row, f"{new} of {words} words of {feature.name} new")
            for row, (words, new) in enumerate(zip(counts.words, counts.new, strict=True))
            if new
        ]
    if feature.kind == "numeric":
        return [(int(row), f"{feature.name} outside the training range") for row in np.flatnonzero(outside(known, asked))]
    return []


def plain(column: Any) -> Any:
    """A log's column as pandas takes it (an Arrow column comes back as a series)."""
    return column.to_pandas() if hasattr(column, "to_pandas") else column
