"""Values and the ids they get: counted with Arrow, looked up in the graph by a static table.

Keras' lookup layers count a NumPy string array in Python, 50 times slower than Arrow does; the table beneath them is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recbayes.types import Tensor

NULL_INTEGER = int(np.iinfo(np.int64).min)
NULL_STRING = ""
"""How a null is served; never in a vocabulary."""


def frequent(values: pa.Array, rows: np.ndarray | None, *, min_count: int, limit: int) -> list[Any]:
    """The values of at least `min_count` rows, most frequent first, ties in the values' own order.

    Args:
      values: values without nulls, [M].
      rows: the row each value stands in, [M]; a value counts once a row. None: each in a row of its own.
      min_count: rows a value must stand in.
      limit: at most so many values.

    Returns: the vocabulary.

    >>> frequent(pa.array(["a", "b", "b", "b"]), np.array([0, 0, 0, 1]), min_count=2, limit=9)
    ['b']
    """
    coded = values.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    size = len(coded.dictionary)
    if rows is not None and size:
        codes = np.unique(rows.astype(np.int64) * size + codes) % size
    counts = np.bincount(codes, minlength=size)
    kept = np.flatnonzero(counts >= min_count)
    names = coded.dictionary.take(pa.array(kept)).to_pylist()
    order = sorted(zip((-counts[kept]).tolist(), names))
    return [value for _, value in order[:limit]]


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
