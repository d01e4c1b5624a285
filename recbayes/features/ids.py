"""Categorical: one value a row, one id a value; 0 is every value not in the vocabulary, and null."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recbayes.features import columns
from recbayes.features.coding import OOV_ID, Encoded
from recbayes.features.feature import Feature
from recbayes.features.lookup import Lookup
from recbayes.features.spilled import counted
from recbayes.features.vocabulary import NULL_INTEGER, NULL_STRING, Table, counts, most_frequent, places
from recbayes.types import Tensor, UserError


class Ids(tf.Module):
    """A fitted categorical feature."""

    def __init__(self, feature: Feature, vocabulary: Sequence[Any], integer: bool) -> None:
        super().__init__()
        self.vocabulary: list[Any] = list(vocabulary)
        self.feature, self.integer = feature, integer
        self.known = pa.array(list(vocabulary), pa.int64() if integer else pa.large_string())
        self.table = Table(self.vocabulary, integer=integer, first=OOV_ID + 1, oov=OOV_ID)

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Ids:
        """Counts the values of the training rows."""
        return cls._of(feature, *counts(_counted_as(column, feature.name).drop_null(), None))

    @classmethod
    def fit_parts(cls, feature: Feature, parts: Iterable[pa.Array]) -> Ids:
        """The same of a column in parts: counted by DuckDB, which spills what memory does not hold."""
        keys = (_counted_as(columns.plain(part, feature.name), feature.name) for part in parts)
        return cls._of(feature, *counted(keys, feature.settings["min_count"]))

    @classmethod
    def _of(cls, feature: Feature, values: pa.Array, number: np.ndarray) -> Ids:
        """From distinct values and their rows."""
        integer = _is_integer(values)
        values = (_integers if integer else columns.strings)(values, feature.name)
        kept = most_frequent(values, number, min_count=feature.settings["min_count"], limit=feature.settings["max_values"] + 1)
        kept = [value for value in kept if value not in (NULL_STRING, NULL_INTEGER)][: feature.settings["max_values"]]
        return cls(feature, kept, integer)

    @property
    def signature(self) -> Any:
        """int64 [N] where the column held integers, else string [N]."""
        return tf.TensorSpec([None], tf.int64 if self.integer else tf.string, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """Ids 0 .. size - 1."""
        return Encoded("ids", len(self.vocabulary) + 1, self.feature.side, self.feature.name, self.feature.kind)

    def raw(self, column: pa.Array) -> np.ndarray:
        """Values [N]; null as the value that no vocabulary holds."""
        if self.integer:
            return np.asarray(_integers(column, self.feature.name).fill_null(NULL_INTEGER).to_numpy(zero_copy_only=False), np.int64)
        return columns.objects(columns.strings(column, self.feature.name).fill_null(NULL_STRING))

    def __call__(self, raw: Tensor) -> Tensor:
        """Ids int32 [N]."""
        return self.table(raw)

    def codes(self, column: pa.Array) -> np.ndarray:
        """Ids int32 [N]; of a dictionary, each of its values is looked up once."""
        if pa.types.is_dictionary(column.type):
            return columns.by_distinct(column, self.codes)
        column = columns.plain(column, self.feature.name)
        if self.integer:
            return self._found(column)
        return places(columns.strings(column, self.feature.name), self.known) + (OOV_ID + 1)

    def _found(self, column: pa.Array) -> np.ndarray:
        """Ids of integers, in the width in which they come."""
        narrow = column.type == pa.int32()
        values, there = columns.primitive(column if narrow else _integers(column, self.feature.name))
        ids = (self._narrow if narrow else self._wide)(values)
        if there is not None:
            ids *= there
        return ids

    @cached_property
    def _narrow(self) -> Lookup:
        return Lookup(self.known.to_numpy(), np.int32)

    @cached_property
    def _wide(self) -> Lookup:
        return Lookup(self.known.to_numpy(), np.int64)

    def example(self, rows: int) -> np.ndarray:
        """The most frequent values, an unseen one last."""
        unseen: Any = NULL_INTEGER + 1 if self.integer else "never seen"
        known = (self.vocabulary or [unseen]) * rows
        return np.array([*known[: rows - 1], unseen], np.int64 if self.integer else object)

    def state(self) -> dict[str, Any]:
        """Vocabulary and type."""
        return {"vocabulary": self.vocabulary, "integer": self.integer}


def _counted_as(column: pa.Array, name: str) -> pa.Array:
    """Numbers as they are, as only all of them say whether they are integers; all else as text."""
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return column if number else columns.strings(column, name)


def _is_integer(column: pa.Array) -> bool:
    """Integers, or floats that are integers (what pandas makes of integers with nulls)."""
    if pa.types.is_floating(column.type):
        values = column.drop_null()
        return (
            len(values) > 0
            and bool(pc.all(pc.equal(values, pc.round(values))).as_py())
            and bool(pc.all(pc.less(pc.abs(values), 2.0**53)).as_py())
        )
    return bool(pa.types.is_integer(column.type))


def _integers(column: pa.Array, name: str) -> pa.Array:
    try:
        return pc.cast(column, pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = f"features: column {name!r} held integers in training and is {column.type} here ({error}). Give it the same type"
        raise UserError(message) from error
