"""A log's rows as decisions: reward and count, cluster, fold, and in which half of the log they are.

A row of counts is two rows of decisions: those that were clicked, and those that were not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from recbayes.evaluation.rows import BUCKETS
from recbayes.types import Array, UserError


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


def check_decisions(log: Any, decision: str | None) -> None:
    """Raise UserError where a decision is logged twice, or shows what was no candidate."""
    if decision is not None:
        names = [decision, *filter(None, [log.columns.position])]
        keys = log.table.select(names).to_pandas()
        twice = np.flatnonzero(keys.duplicated(keep=False))
        if len(twice):
            raise UserError(
                f"evaluate: {' and '.join(names)} repeat in {len(twice):,} of {len(log):,} rows (first: {_some(twice)}): "
                "a decision that is logged twice counts twice. Drop the copies, or name another column: evaluate.decision."
            )
    column, item = log.columns.candidates, log.columns.item
    if column is not None and item is not None:
        lists, shown = log.column(column).to_pylist(), log.column(item).to_pylist()
        outside = np.flatnonzero([a not in (c or ()) for c, a in zip(lists, shown)])
        if len(outside):
            raise UserError(
                f"evaluate: {item} is not among its row's {column} in {len(outside):,} of {len(log):,} rows (first: {_some(outside)}; row "
                f"{outside[0]:,} shows {shown[outside[0]]!r}). Log the candidates that the choice was made from."
            )


def _some(rows: Array) -> str:
    return ", ".join(f"{row:,}" for row in rows[:5]) + ", ..." * (len(rows) > 5)
