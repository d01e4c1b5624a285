"""A log's rows as decisions: reward and count, cluster, fold, and in which half of the log they are.

A row of counts is two rows of decisions: those that were clicked, and those that were not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.evaluation.rows import BUCKETS
from recbayes.log import Log
from recbayes.log.columns import listed, nearest
from recbayes.log.stream import Stream
from recbayes.types import Array, UserError

NULL = np.uint64(0x9E3779B97F4A7C15)
"""Stands for the hash of no value."""


class Decisions(NamedTuple):
    """Decisions of a log's rows: row [m], reward [m], times [m] (None: one each), bucket [m] (None: every row its own cluster).

    fold: of each of the log's rows, [n].
    """

    row: Array
    reward: Array
    times: Array | None
    bucket: Array | None
    fold: Array


def decisions_of(log: Any, first: int, folds: int) -> Decisions:
    """The decisions of a log's rows, the first of which has the number `first`."""
    hashed = cluster_hash(log, first)
    fold = (hashed % np.uint64(folds)).astype(np.int64)
    own = log.columns.cluster is None and log.columns.group is None
    bucket = None if own else ((hashed >> np.uint64(20)) % np.uint64(BUCKETS)).astype(np.int64)
    rows = np.arange(len(log))
    if log.columns.clicks is None or log.is_events:
        reward = log.reward if log.columns.clicks is None else log.clicks.astype(np.float64)
        return Decisions(rows, np.asarray(reward, np.float64), None, bucket, fold)
    clicks, others = log.clicks.astype(np.float64), (log.impressions - log.clicks).astype(np.float64)
    row, reward, count = np.tile(rows, 2), np.repeat([1.0, 0.0], len(rows)), np.concatenate([clicks, others])
    there = count > 0
    if own:  # the two halves of a row belong together
        bucket = ((hashed >> np.uint64(20)) % np.uint64(BUCKETS)).astype(np.int64)
    assert bucket is not None
    return Decisions(row[there], reward[there], count[there], bucket[row[there]], fold)


def cluster_hash(log: Any, first: int) -> Array:
    """A hash of the name of each row's cluster, uint64 [n]; of its number where it stands alone."""
    numbers = pd.util.hash_array(np.arange(first, first + len(log), dtype=np.int64))
    name = log.columns.cluster or log.columns.group
    if name is None:
        return numbers
    column = log.column(name).combine_chunks()
    alone = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    encoded = pc.dictionary_encode(column.fill_null(column.filter(pc.is_valid(column))[0]) if alone.any() and not alone.all() else column)
    if alone.all():
        return numbers
    names = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False))
    return np.where(alone, numbers, names[encoded.indices.to_numpy()])


def check_decisions(stream: Stream, decision: str) -> None:
    """Raise UserError where a decision is logged twice, however far apart.

    Held is a hash of each row's, 8 bytes; two of n different ones agree with a probability of n^2 / 2^65.
    """
    if decision not in stream.names:
        hint = nearest(decision, stream.names)
        mend = " Name one of them, or read the log with the column among its features." if isinstance(stream.opened, Log) else ""
        raise UserError(
            f"evaluate: {stream.source} has no column {decision!r} (evaluate.decision).{hint} It has: {listed(stream.names, 30)}.{mend}"
        )
    names = list(dict.fromkeys([decision, *filter(None, [stream.columns.position])]))
    keys = pd.Series(np.concatenate([_hashed(table, names) for table in stream.select(names)]))
    twice = np.flatnonzero(keys.duplicated(keep=False))
    if len(twice):
        raise UserError(
            f"evaluate: {' and '.join(names)} repeat in {len(twice):,} of {stream.rows:,} rows (first: {_some(twice)}): "
            "a decision that is logged twice counts twice. Drop the copies, or name another column: evaluate.decision."
        )


def _hashed(table: Any, names: Sequence[str]) -> Array:
    """A hash of each row's values, uint64 [n]; it does not depend on which batch holds the row."""
    parts = {}
    for name in names:
        column = table.column(name).combine_chunks()
        alone = column.is_null().to_numpy(zero_copy_only=False)
        if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):  # nulls would make another type of them
            column = column.cast(pa.int64() if column.type != pa.uint64() else column.type).fill_null(0)
        values = column.to_pandas().to_numpy()
        parts[name] = np.where(alone, NULL, pd.util.hash_array(values))
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(parts), index=False))


def check_candidates(log: Any, first: int) -> None:
    """Raise UserError where a row, the first of which has the number `first`, shows what was no candidate."""
    column, item = log.columns.candidates, log.columns.item
    if column is not None and item is not None:
        lists, shown = log.column(column).to_pylist(), log.column(item).to_pylist()
        outside = np.flatnonzero([a not in (c or ()) for c, a in zip(lists, shown)])
        if len(outside):
            raise UserError(
                f"evaluate: {item} is not among its row's {column} in {len(outside):,} of {len(log):,} rows "
                f"(first: {_some(first + outside)}; row {first + outside[0]:,} shows {shown[outside[0]]!r}). "
                "Log the candidates that the choice was made from."
            )


def _some(rows: Array) -> str:
    return ", ".join(f"{row:,}" for row in rows[:5]) + ", ..." * (len(rows) > 5)
