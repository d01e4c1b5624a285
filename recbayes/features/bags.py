"""Many ids a row: the values of a list, or the word n-grams of a text. 0 pads, 1 is out of vocabulary.

A text without a word, and a null list, are one out-of-vocabulary id: unknown, not empty. An empty list stays empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recbayes.features import columns
from recbayes.features.coding import FIRST_TOKEN, OOV_TOKEN, PADDING, Encoded
from recbayes.features.feature import Feature
from recbayes.features.grams import Grams, ngrams
from recbayes.features.spilled import distinct
from recbayes.features.vocabulary import Table, counts, merged, most_frequent, places
from recbayes.log.asked import CHUNK
from recbayes.types import Tensor, UserError

UNKNOWN = "\x1a"
"""The served value of a null list (ASCII's substitute character): in no vocabulary."""
LONGEST = 512
"""A row's tokens beyond so many are never read, however long the training rows are."""


class Text(tf.Module):
    """A fitted text feature."""

    def __init__(self, feature: Feature, vocabulary: Sequence[str], length: int) -> None:
        super().__init__()
        self.feature, self.vocabulary, self.length = feature, list(vocabulary), length
        self.grams = Grams(self.vocabulary, feature.settings["ngrams"])

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Text:
        """Counts the n-grams of the training rows' distinct texts: a text shown in ten rows is one witness of its words."""
        texts = columns.strings(column, feature.name).drop_null().unique()
        return cls._of(feature, (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)))

    @classmethod
    def fit_parts(cls, feature: Feature, parts: Iterable[pa.Array]) -> Text:
        """The same of a column in parts; memory follows the number of distinct n-grams."""
        return cls._of(feature, distinct(columns.strings(part, feature.name).drop_null() for part in parts))

    @classmethod
    def _of(cls, feature: Feature, distinct_texts: Iterable[pa.Array]) -> Text:
        """From distinct texts in chunks."""
        found, longest = merged([], pa.string()), 1
        for texts in distinct_texts:
            grams = ngrams(tf.constant(columns.objects(texts), tf.string), feature.settings["ngrams"])
            values = pa.array(grams.flat_values.numpy(), pa.binary()).cast(pa.string())
            found = merged([found, counts(values, grams.value_rowids().numpy())], pa.string())
            longest = max(longest, int(grams.bounding_shape(axis=1)))
        values, number = found
        kept = most_frequent(values, number, min_count=feature.settings["min_count"], limit=feature.settings["max_tokens"])
        return cls(feature, [str(value) for value in kept], feature.settings["length"] or min(longest, LONGEST))

    @property
    def signature(self) -> Any:
        """String [N]."""
        return tf.TensorSpec([None], tf.string, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """A bag."""
        size = len(self.vocabulary) + FIRST_TOKEN
        return Encoded("bag", size, self.feature.side, self.feature.name, self.feature.kind, self.length)

    def raw(self, column: pa.Array) -> np.ndarray:
        """Texts [N]; null as the empty text."""
        return columns.objects(columns.strings(column, self.feature.name).fill_null(""))

    def __call__(self, raw: Tensor) -> Tensor:
        """Ids int32 [N, length]."""
        return self.grams(raw, self.length)

    def codes(self, column: pa.Array) -> np.ndarray:
        """Ids int32 [N, length]; each distinct text is taken apart once."""
        return columns.by_distinct(column, lambda texts: np.asarray(self(tf.constant(self.raw(texts), tf.string))))

    def example(self, rows: int) -> np.ndarray:
        """Frequent words in a row, unseen ones last."""
        words = [token for token in self.vocabulary if " " not in token] * rows * 4 or ["word"] * rows * 4
        return np.array([*(" ".join(words[3 * i : 3 * i + 4]).capitalize() for i in range(rows - 1)), "Qzxj <b>vvkwq</b>!"], object)

    def state(self) -> dict[str, Any]:
        """Vocabulary and length."""
        return {"vocabulary": self.vocabulary, "length": self.length}


class Values(tf.Module):
    """A fitted multi-categorical feature."""

    def __init__(self, feature: Feature, vocabulary: Sequence[str], length: int) -> None:
        super().__init__()
        self.feature, self.vocabulary, self.length = feature, list(vocabulary), length
        self.known = pa.array(list(vocabulary), pa.large_string())
        self.table = Table(self.vocabulary, integer=False, first=FIRST_TOKEN, oov=OOV_TOKEN)

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Values:
        """Counts the values of the training rows, a row once."""
        return cls.fit_parts(feature, [column])

    @classmethod
    def fit_parts(cls, feature: Feature, parts: Iterable[pa.Array]) -> Values:
        """The same of a column in parts; memory follows the number of distinct values."""
        found, longest, settings = merged([], pa.large_string()), 1, feature.settings
        for part in parts:
            values, rows = _flat(part, feature.name)
            longest = max(longest, int(np.bincount(rows, minlength=1).max()))
            found = merged([found, counts(values, rows)], pa.large_string())
        values, number = found
        kept = most_frequent(values, number, min_count=settings["min_count"], limit=settings["max_values"])
        return cls(feature, [str(value) for value in kept], settings["length"] or min(longest, LONGEST))

    @property
    def signature(self) -> Any:
        """String [N, length], padded with empty strings."""
        return tf.TensorSpec([None, self.length], tf.string, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """A bag."""
        size = len(self.vocabulary) + FIRST_TOKEN
        return Encoded("bag", size, self.feature.side, self.feature.name, self.feature.kind, self.length)

    def raw(self, column: pa.Array) -> np.ndarray:
        """Values [N, length], padded with the empty string; values beyond the length are left out."""
        values, rows = _flat(column, self.feature.name)
        dense = np.full((len(column), self.length), "", object)
        kept, slots = _slots(rows, len(column), self.length)
        dense[rows[kept], slots[kept]] = columns.objects(values)[kept]
        if column.null_count:
            dense[column.is_null().to_numpy(zero_copy_only=False), 0] = UNKNOWN
        return dense

    def __call__(self, raw: Tensor) -> Tensor:
        """Ids int32 [N, length]."""
        ids = self.table(raw)
        return tf.where(tf.equal(raw, ""), tf.constant(PADDING, ids.dtype), ids)

    def codes(self, column: pa.Array) -> np.ndarray:
        """Ids int32 [N, length]."""
        column = columns.plain(column, self.feature.name)
        values, rows = _flat(column, self.feature.name)
        dense = np.full((len(column), self.length), PADDING, np.int32)
        kept, slots = _slots(rows, len(column), self.length)
        found = places(values, self.known)
        dense[rows[kept], slots[kept]] = np.where(found < 0, OOV_TOKEN, found + FIRST_TOKEN)[kept]
        if column.null_count:
            dense[column.is_null().to_numpy(zero_copy_only=False), 0] = OOV_TOKEN
        return dense

    def example(self, rows: int) -> np.ndarray:
        """One value more in each row, an unseen one in the last."""
        values = np.full((rows, self.length), "", object)
        for i in range(rows - 1):
            known = self.vocabulary[: min(i, self.length)]
            values[i, : len(known)] = known
        values[-1, 0] = UNKNOWN
        return values

    def state(self) -> dict[str, Any]:
        """Vocabulary and length."""
        return {"vocabulary": self.vocabulary, "length": self.length}


def _slots(rows: np.ndarray, size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the values of all rows [M]: which stand within a row's first `length`, bool [M], and at which place, [M]."""
    starts = np.searchsorted(rows, np.arange(size))
    slots = np.arange(len(rows)) - starts[rows] if len(rows) else np.zeros(0, np.int64)
    return slots < length, slots


def _flat(column: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
    """All values of a list column as strings, and the row of each; nulls and empty strings inside lists are left out."""
    if not columns.is_list(column.type):
        raise UserError(f"features: column {name!r} is {column.type}, multi_categorical needs lists. Use categorical for one value a row")
    rows = np.asarray(pc.list_parent_indices(column).to_numpy(zero_copy_only=False), np.int64)
    values = columns.strings(pc.list_flatten(column), name)
    if pa.types.is_fixed_size_list(column.type) and len(values) != len(rows):
        rows = np.repeat(np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)), column.type.list_size)
    kept = pc.fill_null(pc.not_equal(values, ""), False)
    return values.filter(kept), rows[kept.to_numpy(zero_copy_only=False)]
