"""Whatever holds a column (NumPy, pandas, Arrow; dictionary, large or view types; chunked or not) as one plain Arrow array.

pandas 3 keeps strings in Arrow and Parquet files bring dictionaries, large strings and nulls; the codings see none of that.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.types import UserError


def take(columns: Any, name: str) -> pa.Array:
    """One column of a mapping, table or frame as an Arrow array without dictionary and chunks.

    Args:
      columns: anything with `columns[name]`: a dict of arrays, a pyarrow Table, a pandas DataFrame.
      name: the column.

    Returns: the column, [N].
    Raises: UserError if there is no such column; names the nearest.

    >>> take({"a": np.array([1.0, np.nan])}, "a").null_count
    1
    """
    names = list(getattr(columns, "column_names", None) or columns.keys())
    if name not in names:
        near = difflib.get_close_matches(name, [str(other) for other in names], 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(map(str, names[:20]))}"
        raise UserError(f"features: there is no column {name!r}. {hint}")
    return plain(columns[name], name)


def kept(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one Arrow array, a dictionary kept as one: what `Coding.codes` takes."""
    if isinstance(column, pa.ChunkedArray):
        if not pa.types.is_dictionary(column.type):
            return plain(column, "")
        column = column.unify_dictionaries()
        column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([])
    return column if pa.types.is_dictionary(column.type) else plain(column, "")


def by_distinct(column: pa.Array, encode: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """What `encode` gives of every row, [N, ...], computed for the distinct values only.

    Args:
      column: with a dictionary or without; a null is encoded as itself.
      encode: values [K] -> array [K, ...].
    """
    values, places = distinct(column)
    return np.take(encode(values), places, axis=0)


def distinct(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The distinct values of a column with a dictionary or without, a null last, and where each row's stands, [N].

    >>> [part.tolist() for part in distinct(pa.array(["b", None, "b"]))]
    [['b', None], [0, 1, 0]]
    """
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = pa.concat_arrays([coded.dictionary, pa.array([None], coded.dictionary.type)])
    return values, coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)


def plain(column: Any, name: str) -> pa.Array:
    """The column as one Arrow array: decoded, unchunked, NaN as null."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not isinstance(column, pa.Array):
        column = _from_python(column, name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column


def primitive(column: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """The values [N] of an array of numbers as they lie in memory, anything where a null is; uint8 [N], 1 where there is a value.

    >>> values, there = primitive(pa.array([5, None], pa.int32()))
    >>> int(values[0]), there.tolist()
    (5, [1, 0])
    """
    valid, values = column.buffers()
    rows = slice(column.offset, column.offset + len(column))
    there = None
    if column.null_count:
        there = np.unpackbits(np.frombuffer(valid, np.uint8), count=rows.stop, bitorder="little")[rows]
    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(values, kind, count=rows.stop)[rows] if len(column) else np.zeros(0, kind), there


def _from_python(column: Any, name: str) -> pa.Array:
    values = column if hasattr(column, "dtype") else np.asarray(column, dtype=object)
    try:
        if getattr(values, "ndim", 1) == 2:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UserError(f"features: column {name!r} mixes types ({error}). Give it one type") from error
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def is_text(kind: pa.DataType) -> bool:
    """Whether Arrow's type holds strings, of whatever width."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether Arrow's type holds lists, of whatever width."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def strings(array: pa.Array, name: str) -> pa.Array:
    """Any scalar column as large strings; nulls stay null.

    Raises: UserError if Arrow can't write the values as text.
    """
    try:
        return pc.cast(array, pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"features: column {name!r} holds {array.type}, which can't be read as text. Use another kind") from error


def objects(array: pa.Array) -> np.ndarray:
    """A string array without nulls as the NumPy array of Python strings that TensorFlow takes, [N]."""
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)
