"""Events into counts: rows equal in cluster, group, item and every used feature become one, with their clicks and impressions summed.

With one impression a row the spread of click rates cannot be told from their mean: for a Bernoulli draw only the mean enters the
likelihood. Sums are taken batch by batch, so that memory follows the number of distinct rows, not of events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.log.columns import Columns
from recbayes.types import Array

PENDING_ROWS = 1 << 21
"""Rows gathered before they are summed: some 100 MB of a few columns."""


def has_repeats(columns: Columns) -> bool:
    """Whether rows can stand for the same thing: a row of counts is, without an item column, an item of its own."""
    return columns.impressions is None or columns.item is not None


def sum_batches(tables: Iterable[Any], columns: Columns) -> tuple[Any, Columns]:
    """Sum equal rows of a stream of tables; returns one table, in order of first appearance, and its roles.

    What belongs to one decision (propensity, position, candidates) is left out unless it is a feature; a time that is no feature
    becomes that of the earliest row.

    >>> events = pa.table({"item": ["a", "b", "a"], "click": [1, 0, 0]})
    >>> table, roles = sum_batches([events], Columns(clicks="click", item="item"))
    >>> table.to_pydict(), roles.impressions
    ({'click': [1, 0], 'impressions': [2, 1], 'item': ['a', 'b']}, 'impressions')
    """
    summed = summed_columns(columns)
    pending: list[Any] = []
    limit = PENDING_ROWS
    for table in tables:
        pending.append(_with_impressions(table, columns, summed))
        if sum(part.num_rows for part in pending) > limit:
            pending = [_sum_equal(pa.concat_tables(pending), summed)]
            limit = max(PENDING_ROWS, 2 * pending[0].num_rows)
    return _sum_equal(pa.concat_tables(pending), summed), summed


def summed_columns(columns: Columns) -> Columns:
    """The roles of a log's counts: impressions are a column, and what belongs to one decision is gone."""
    impressions = columns.impressions or _free_name("impressions", columns)
    return dataclasses.replace(columns, impressions=impressions, propensity=None, position=None, candidates=None)


def key_columns(columns: Columns) -> tuple[str, ...]:
    """What rows must agree in to be summed: cluster, group, item and every feature."""
    roles = (columns.cluster, columns.group, columns.item)
    return tuple(dict.fromkeys([name for name in roles if name is not None] + list(columns.features)))


def equal_rows(table: Any, names: Iterable[str]) -> tuple[Array, int]:
    """Which rows agree in all the named columns: int64 [N] in order of first appearance, and how many there are. Nulls agree.

    >>> equal_rows(pa.table({"a": [1, 1, 2, 1], "b": ["x", "y", "x", "x"]}), ["a", "b"])
    (array([0, 1, 2, 0]), 3)
    """
    codes, size = np.zeros(table.num_rows, np.int64), 1
    for name in names:
        column, column_size = _codes(table.column(name).combine_chunks())
        if size * column_size >= 2**62:
            codes, size = _dense(codes)
        codes, size = codes * column_size + column, size * column_size
    return _dense(codes)


def _dense(codes: Array) -> tuple[Array, int]:
    """Whole numbers by their order of first appearance, and how many there are."""
    encoded = pc.dictionary_encode(pa.array(codes))
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _codes(column: Any) -> tuple[Array, int]:
    """A whole number below 2^31 for each value of an array, equal where the values are, and a bound on them."""
    if pa.types.is_integer(column.type) and column.null_count == 0 and len(column):
        low, high = pc.min_max(column).as_py().values()
        if high - low < 2**31 - 1 and high < 2**63:
            return column.to_numpy().astype(np.int64) - low, high - low + 1
    encoded = pc.dictionary_encode(_key(column), null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), max(len(encoded.dictionary), 1)


def _key(column: Any) -> Any:
    """An array that can be dictionary-encoded, nulls too: an encoded one as its values, a list as the string of its length and values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.large_list(column.type.value_type))
    if not pa.types.is_large_list(column.type):
        return column
    words = column.values.cast(pa.large_string()).fill_null("\x00")
    joined = pc.binary_join(pa.ListArray.from_arrays(column.offsets.cast(pa.int32()), words), pa.scalar("\x1f", pa.large_string()))
    length = pc.list_value_length(column).cast(pa.large_string())
    return pc.binary_join_element_wise(length, joined, pa.scalar("\x1e", pa.large_string()))  # null where the length is


def _free_name(name: str, columns: Columns) -> str:
    """The name, or the name with an underscore where the log uses it for something else."""
    return name if name not in columns.used else _free_name(name + "_", columns)


def _with_impressions(table: Any, columns: Columns, summed: Columns) -> Any:
    """The columns that counts keep; one impression a row where the log has no impressions."""
    if columns.impressions is None:
        table = table.append_column(summed.impressions, pa.array(np.ones(table.num_rows, np.int64)))
    return table.select(list(summed.used))


def _sum_equal(table: Any, columns: Columns) -> Any:
    """One row for each set of equal rows, in order of first appearance."""
    codes, size = equal_rows(table, key_columns(columns))
    first = np.zeros(size, np.int64)
    first[codes[::-1]] = np.arange(table.num_rows)[::-1]  # the last one written stays: the first row of each set
    result = table.take(pa.array(first))
    for name in (columns.clicks, columns.impressions):
        total = np.bincount(codes, weights=table.column(name).to_numpy(), minlength=size).astype(np.int64)
        result = result.set_column(result.schema.get_field_index(name), name, pa.array(total))
    if columns.time is not None and columns.time not in columns.features:
        times = pa.table({"code": codes, "time": table.column(columns.time)}).group_by("code").aggregate([("time", "min")]).sort_by("code")
        result = result.set_column(result.schema.get_field_index(columns.time), columns.time, times.column("time_min"))
    return result
