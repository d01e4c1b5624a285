"""Many ids a row: the values of a list, or the word n-grams of a text. 0 pads, 1 is out of vocabulary.

A text without a word, and a null list, are one out-of-vocabulary id: unknown, not empty. An empty list stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recbayes.features import columns
from recbayes.features.coding import OOV_TOKEN, PADDING, Encoded
from recbayes.features.feature import Feature
from recbayes.features.vocabulary import Table, frequent
from recbayes.types import Tensor, UserError

UNKNOWN = "\x1a"
"""The served value of a null list (ASCII's substitute character): in no vocabulary."""
FIRST = 2
LONGEST = 512
"""A row's tokens beyond so many are never read, however long the training rows are."""
_CHUNK = 100_000


class Text(tf.Module):
    """A fitted text feature."""

    def __init__(self, feature: Feature, vocabulary: Sequence[str], length: int) -> None:
        super().__init__()
        self.feature, self.vocabulary, self.length = feature, list(vocabulary), length
        self.table = Table(self.vocabulary, integer=False, first=FIRST, oov=OOV_TOKEN)

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Text:
        """Counts the n-grams of the training rows' distinct texts: a text shown in ten rows is one witness of its words."""
        values = columns.objects(columns.strings(column, feature.name).fill_null("").unique())
        found, rows, longest = [pa.array([], pa.string())], [np.zeros(0, np.int64)], 1
        for start in range(0, len(values), _CHUNK):
            grams = ngrams(tf.constant(values[start : start + _CHUNK], tf.string), feature.settings["ngrams"])
            found.append(pa.array(grams.flat_values.numpy(), pa.binary()).cast(pa.string()))
            rows.append(start + grams.value_rowids().numpy())
            longest = max(longest, int(grams.bounding_shape(axis=1)))
        kept = frequent(
            pa.concat_arrays(found), np.concatenate(rows), min_count=feature.settings["min_count"], limit=feature.settings["max_tokens"]
        )
        return cls(feature, [str(value) for value in kept], feature.settings["length"] or min(longest, LONGEST))

    @property
    def signature(self) -> Any:
        """String [N]."""
        return tf.TensorSpec([None], tf.string, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """A bag."""
        size = len(self.vocabulary) + FIRST
        return Encoded("bag", size, self.feature.side, self.feature.name, self.feature.kind, self.length)

    def raw(self, column: pa.Array) -> np.ndarray:
        """Texts [N]; null as the empty text."""
        return columns.objects(columns.strings(column, self.feature.name).fill_null(""))

    def __call__(self, raw: Tensor) -> Tensor:
        """Ids int32 [N, length]."""
        grams = ngrams(raw, self.feature.settings["ngrams"])
        ids = grams.with_flat_values(self.table(grams.flat_values)).to_tensor(PADDING, shape=[None, self.length])
        empty = tf.cast(tf.equal(ids[:, :1], PADDING), tf.int32) * OOV_TOKEN  # [N, 1]
        return tf.concat([ids[:, :1] + empty, ids[:, 1:]], 1)

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
        self.table = Table(self.vocabulary, integer=False, first=FIRST, oov=OOV_TOKEN)

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Values:
        """Counts the values of the training rows, a row once."""
        values, rows = _flat(column, feature.name)
        settings = feature.settings
        kept = frequent(values, rows, min_count=settings["min_count"], limit=settings["max_values"])
        longest = int(np.bincount(rows, minlength=1).max())
        return cls(feature, [str(value) for value in kept], settings["length"] or min(max(longest, 1), LONGEST))

    @property
    def signature(self) -> Any:
        """String [N, length], padded with empty strings."""
        return tf.TensorSpec([None, self.length], tf.string, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """A bag."""
        size = len(self.vocabulary) + FIRST
        return Encoded("bag", size, self.feature.side, self.feature.name, self.feature.kind, self.length)

    def raw(self, column: pa.Array) -> np.ndarray:
        """Values [N, length], padded with the empty string; values beyond the length are left out."""
        values, rows = _flat(column, self.feature.name)
        starts = np.searchsorted(rows, np.arange(len(column)))
        slots = np.arange(len(rows)) - starts[rows] if len(rows) else np.zeros(0, np.int64)
        dense = np.full((len(column), self.length), "", object)
        kept = slots < self.length
        dense[rows[kept], slots[kept]] = columns.objects(values)[kept]
        if column.null_count:
            dense[column.is_null().to_numpy(zero_copy_only=False), 0] = UNKNOWN
        return dense

    def __call__(self, raw: Tensor) -> Tensor:
        """Ids int32 [N, length]."""
        ids = self.table(raw)
        return tf.where(tf.equal(raw, ""), tf.constant(PADDING, ids.dtype), ids)

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


def ngrams(texts: Tensor, longest: int) -> Any:
    """Word n-grams of texts [N]: a ragged tensor [N, None], shorter n-grams first.

    Lower case by Unicode; tags and character entities are spaces, apostrophes vanish ("don't" is one word), whatever else is no
    letter, mark or digit parts words.

    >>> ngrams(tf.constant(["<b>Don't</b> panic!"]), 2).to_list()
    [[b'dont', b'panic', b'dont panic']]
    """
    joined = tf.strings.regex_replace(lower(texts), r"['’ʼ]|&(?:apos|rsquo|#0*39|#x27|#8217|#x2019);", "")
    # spaces stay as they are: to write one over each takes three times as long as all else
    words = tf.strings.split(tf.strings.regex_replace(joined, r"<[^<>]*>|&#?[a-z0-9]{1,8};|[^\pL\pM\pN<& ]+|[<&]", " "))
    return tf.strings.ngrams(words, ngram_width=tuple(range(1, longest + 1))) if longest > 1 else words


def lower(texts: Tensor) -> Tensor:
    """Texts [N] in lower case by Unicode; what is plain ASCII by its bytes, which is eight times as quick.

    >>> [text.decode() for text in lower(tf.constant(["ÄPFEL", "Pears"])).numpy()]
    ['äpfel', 'pears']
    """
    other = tf.where(~tf.strings.regex_full_match(texts, r"[\x00-\x7f]*"))  # [M, 1]
    return tf.tensor_scatter_nd_update(tf.strings.lower(texts), other, tf.strings.lower(tf.gather_nd(texts, other), encoding="utf-8"))


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
