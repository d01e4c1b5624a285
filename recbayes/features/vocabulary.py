"""Values and the ids they get: counted with Arrow, looked up in the graph by a static table.

Keras' lookup layers count a NumPy string array in Python, 50 times slower than Arrow does; the table beneath them is used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recbayes.types import Tensor

NULL_INTEGER = int(np.iinfo(np.int64).min)
NULL_STRING = ""
"""How a null is served; never in a vocabulary."""


def counts(values: pa.Array, rows: np.ndarray | None) -> tuple[pa.Array, np.ndarray]:
    """The distinct values [K], and how many rows hold each, int64 [K].

    Args:
      values: values without nulls, [M].
      rows: the row each value stands in, [M]; a value counts once a row. None: each in a row of its own.

    >>> values, number = counts(pa.array(["a", "b", "b", "b"]), np.array([0, 0, 0, 1]))
    >>> most_frequent(values, number, min_count=2, limit=9)
    ['b']
    """
    coded = values.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    size = len(coded.dictionary)
    if rows is not None and size:
        codes = np.unique(rows.astype(np.int64) * size + codes) % size
    return coded.dictionary, np.bincount(codes, minlength=size)


def merged(parts: Iterable[tuple[pa.Array, np.ndarray]], kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """The counts of parts of a column as those of the whole: memory follows the number of distinct values."""
    total = pa.table({"value": pa.array([], kind), "rows": pa.array([], pa.int64())})
    for values, number in parts:
        both = pa.concat_tables([total, pa.table({"value": values.cast(kind), "rows": pa.array(number, pa.int64())})])
        total = both.group_by("value").aggregate([("rows", "sum")]).rename_columns(["value", "rows"])
    return pa.concat_arrays(total.column("value").chunks or [pa.array([], kind)]), total.column("rows").to_numpy()


def most_frequent(values: pa.Array, number: np.ndarray, *, min_count: int, limit: int) -> list[Any]:
    """Of distinct values [K] and their rows [K], those of at least `min_count`, most frequent first, ties in the values' own order.

    At most `limit` of them.
    """
    often = number >= min_count
    kept = pa.table({"value": values.filter(pa.array(often)), "rows": number[often]})
    order: list[Any] = kept.sort_by([("rows", "descending"), ("value", "ascending")]).column("value").slice(0, limit).to_pylist()
    return order


def places(values: pa.Array, known: pa.Array) -> np.ndarray:
    """Where each value stands in the vocabulary, int32 [N]; -1 where it does not, and of a null.

    >>> places(pa.array(["b", None, "z"]), pa.array(["a", "b"])).tolist()
    [1, -1, -1]
    """
    return np.asarray(pc.fill_null(pc.index_in(values, value_set=known), -1).to_numpy(zero_copy_only=False), np.int32)


class Table(tf.Module):
    """Looks values up: the vocabulary's i-th value has id first + i, any other value the out-of-vocabulary id.

    It holds a TensorFlow resource, so whoever exports it must keep it tracked (an attribute of the exported module does).
    """

    def __init__(self, vocabulary: Sequence[Any], *, integer: bool, first: int, oov: int) -> None:
        super().__init__()
        dtype = tf.int64 if integer else tf.string
        keys = tf.constant([NULL_INTEGER if integer else NULL_STRING, *vocabulary], dtype)  # a table can't be empty
        ids = tf.constant([oov, *range(first, first + len(vocabulary))], tf.int64)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=oov)

    def __call__(self, values: Tensor) -> Tensor:
        """Ids int32 of values of any shape."""
        return tf.cast(self.table.lookup(values), tf.int32)
