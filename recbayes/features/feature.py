"""What a column means to the model: its kind, the side it describes, and the settings of its coding.

These are declarations: nothing here looks at data. `Encoder.fit` reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from recbayes.types import UserError

Side: TypeAlias = Literal["item", "context"]

RESERVED = ("clicks", "impressions", "candidates", "remaining", "batch", "exploration", "seed")
"""Inputs that every served model has beside its features, so no feature may be called so."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """One column that the model reads.

    name: the log's column; kind: the builder's name; side: whether it describes the item shown or the context of the request;
    settings: what the builder was given beyond these.
    """

    name: str
    kind: str
    side: Side = "item"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.side not in ("item", "context"):
            raise UserError(f"feature {self.name!r}: side is {self.side!r}, must be 'item' or 'context'")
        if self.name in RESERVED:
            raise UserError(f"feature {self.name!r}: the served model has an input of this name already. Rename the column")
        if (bends := self.settings.get("bends", 0)) < 0:
            raise UserError(f"feature {self.name!r}: bends is {bends!r}, must be 0 or more")
        for setting in ("min_count", "max_values", "max_tokens", "ngrams", "length"):
            value = self.settings.get(setting)
            if value is not None and value < 1:
                raise UserError(f"feature {self.name!r}: {setting} is {value!r}, must be 1 or more")


def categorical(name: str, side: Side = "item", *, min_count: int = 2, max_values: int = 100_000) -> Feature:
    """One of many values: an id, a country. Of any type; integers are served as int64, all else as strings.

    Args:
      name: the column.
      side: "item" or "context".
      min_count: a value of fewer training rows counts as unseen (which trains what unseen values get).
      max_values: at most so many values, the most frequent ones.

    Returns: the declaration.
    Raises: UserError if the side or a setting is out of range.

    >>> categorical("image").kind
    'categorical'
    """
    return Feature(name, "categorical", side, {"min_count": min_count, "max_values": max_values})


def multi_categorical(
    name: str, side: Side = "item", *, min_count: int = 2, max_values: int = 100_000, length: int | None = None
) -> Feature:
    """Any number of values a row, as a list column: tags, genres. Their order carries nothing.

    Args:
      name: the column, a list of strings or integers.
      side: "item" or "context".
      min_count: a value of fewer training rows counts as unseen.
      max_values: at most so many values, the most frequent ones.
      length: at most so many values of a row are read; None is the longest training row's.

    Returns: the declaration.
    Raises: UserError if the side or a setting is out of range.

    >>> multi_categorical("tags", "context").side
    'context'
    """
    return Feature(name, "multi_categorical", side, {"min_count": min_count, "max_values": max_values, "length": length})


def text(
    name: str, side: Side = "item", *, ngrams: int = 2, min_count: int = 3, max_tokens: int = 50_000, length: int | None = None
) -> Feature:
    """Words and runs of words (n-grams) of a text in lower case, without HTML tags and punctuation.

    Args:
      name: the column. Words must be parted by spaces or punctuation.
      side: "item" or "context".
      ngrams: runs of up to so many words are tokens of their own.
      min_count: a token of fewer distinct training texts counts as unseen.
      max_tokens: at most so many tokens, the most frequent ones.
      length: at most so many tokens of a row are read; None is the longest training row's.

    Returns: the declaration.
    Raises: UserError if the side or a setting is out of range.

    >>> text("headline", ngrams=1).settings["ngrams"]
    1
    """
    return Feature(name, "text", side, {"ngrams": ngrams, "min_count": min_count, "max_tokens": max_tokens, "length": length})


def numeric(name: str, side: Side = "item", *, log1p: bool = False) -> Feature:
    """A number, standardised by the training rows and held to their range; a missing one is the mean.

    Args:
      name: the column.
      side: "item" or "context".
      log1p: take sign(x) log(1 + |x|) first, for counts and prices with a long tail.

    Returns: the declaration.
    Raises: UserError if the side is neither "item" nor "context".

    >>> numeric("price", log1p=True).settings
    {'log1p': True}
    """
    return Feature(name, "numeric", side, {"log1p": log1p})


def vector(name: str, side: Side = "item") -> Feature:
    """Numbers of a fixed count a row, say a pretrained embedding; standardised like `numeric`, each dimension by itself.

    Args:
      name: the column: lists of one length, or an array [N, D].
      side: "item" or "context".

    Returns: the declaration.
    Raises: UserError if the side is neither "item" nor "context".

    >>> vector("embedding").kind
    'vector'
    """
    return Feature(name, "vector", side)


def time(name: str, side: Side = "context", *, day_of_week: bool = False, hour_of_day: bool = False, bends: int = 0) -> Feature:
    """A moment, in years before (-) or after (+) the newest training row: linear, also beyond the training range; or bent, and flat beyond.

    Args:
      name: the column: timestamps (without a zone: UTC), dates, ISO strings, or Unix seconds.
      side: "item" or "context".
      day_of_week: add the sine and cosine of the day of the week (UTC).
      hour_of_day: add the sine and cosine of the time of the day (UTC).
      bends: where the trend may turn, at evenly spaced quantiles of the training rows; with any it is flat beyond the newest. For levels
        that wander: what time explains no longer counts as spread between groups.

    Returns: the declaration.
    Raises: UserError if the side is neither "item" nor "context", or bends is below 0.

    >>> time("created_at").side
    'context'
    """
    return Feature(name, "time", side, {"day_of_week": day_of_week, "hour_of_day": hour_of_day, "bends": bends})
