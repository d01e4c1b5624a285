"""A policy as a table of probabilities: of each item, at each position where the log has positions.

The policy is the same in every context. Items and positions are matched by value; the table's columns have the log's names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.evaluation.target import Choices, Target, contexts
from recbayes.log.columns import listed, nearest
from recbayes.log.counts import equal_rows
from recbayes.log.source import LogSource, open_source
from recbayes.types import Array, UserError

PROBABILITY = "probability"
TOLERANCE = 1e-3
"""Probabilities may be rounded; they are scaled to sum to 1."""


def table(path: LogSource, *, name: str = "") -> Target:
    """A policy from a Parquet file or a table in memory: the log's item column, its position column if it has one, `probability`.

    Args:
      path: as `read_log` takes it.
      name: in results; by default the file's.

    Raises: UserError if there is no such file, no such column, or probabilities that can't be; when it meets the log, if items,
      positions or candidates don't fit.

    >>> import pandas as pd
    >>> table(pd.DataFrame({"item": ["a", "b"], "probability": [0.7, 0.3]}), name="mostly a").name
    'mostly a'
    """
    called = name or (Path(str(path)).stem.removeprefix("example:") if isinstance(path, str | Path) else "table")
    source = open_source(path)
    if PROBABILITY not in source.schema.names:
        raise UserError(f"evaluate: policy {called}: {source.name} has no column {PROBABILITY!r}; it has {listed(source.schema.names)}.")
    rows = pa.concat_tables(batch.table for batch in source.batches(source.schema.names))
    values = rows.column(PROBABILITY).cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1 + TOLERANCE)))
    if len(wrong):
        raise UserError(
            f"evaluate: policy {called}: probability[{wrong[0]}] is {values[wrong[0]]}, must be in [0, 1] "
            f"({len(wrong):,} of {len(values):,} rows are bad: {listed(wrong, 5)}). Write the policy's real probabilities."
        )
    return Target("table", called, lambda log: choices(log, rows, values, called))


def choices(log: Any, rows: Any, values: Array, name: str) -> Choices:
    """The table's vector at each row's position, over the row's candidates."""
    item, position = log.columns.item, log.columns.position
    if item is None:
        raise UserError(f"evaluate: policy {name} is a table of items, and the log has no item column. Name it: log.columns.item.")
    slots = [position] if position is not None and position in rows.column_names else []
    items, codes = _codes(rows, item, log, name)
    places, slot_codes, slot_of_log = _slots(rows, log, slots, name)
    probability = np.zeros((len(places), len(items)))
    np.add.at(probability, (slot_codes, codes), values)
    _check_table(rows, values, probability, [item, *slots], places, name)
    context, first, probability_of = _contexts(log, slot_of_log, items, probability / probability.sum(1, keepdims=True), name)
    shown = pc.index_in(log.column(item).combine_chunks(), value_set=items).fill_null(-1).to_numpy(zero_copy_only=False)
    own = np.where(shown >= 0, probability_of[context, np.maximum(shown, 0)], 0.0)
    return Choices(own, context, items.to_numpy(zero_copy_only=False), probability_of, first)


def _codes(rows: Any, column: str, log: Any, name: str) -> tuple[Any, Array]:
    """The different values of a table's column in the log's type, and the number of each row's."""
    kind = log.column(column).type
    if column not in rows.column_names:
        hint = nearest(column, rows.column_names)
        raise UserError(f"evaluate: policy {name} has no column {column!r}, as the log calls it; it has {listed(rows.column_names)}.{hint}")
    try:
        values = rows.column(column).cast(kind).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(
            f"evaluate: policy {name}: {column} is {rows.column(column).type} in its table and {kind} in the log. Write both in one type."
        ) from None
    if values.null_count:
        raise UserError(
            f"evaluate: policy {name}: {column} is null in {values.null_count:,} rows of its table. Name the item or drop the row."
        )
    unique = values.unique()
    return unique, pc.index_in(values, value_set=unique).to_numpy()


def _slots(rows: Any, log: Any, slots: list[str], name: str) -> tuple[list[Any], Array, Array]:
    """The table's positions, the number of each of its rows' position, and of each of the log's."""
    if not slots:
        return ["any position"], np.zeros(rows.num_rows, np.int64), np.zeros(len(log), np.int64)
    places, codes = _codes(rows, slots[0], log, name)
    found = pc.index_in(log.column(slots[0]).combine_chunks(), value_set=places)
    if found.null_count:
        bad = np.flatnonzero(pc.is_null(found).to_numpy(zero_copy_only=False))
        value = log.column(slots[0])[int(bad[0])].as_py()
        raise UserError(
            f"evaluate: policy {name} has no {slots[0]} {value!r}, which the log shows in {len(bad):,} rows (first: {listed(bad, 5)}). "
            f"Its table has {listed(places.to_pylist())}. Add the position, or leave those rows out."
        )
    return places.to_pylist(), codes, found.to_numpy()


def _check_table(rows: Any, values: Array, probability: Array, names: list[str], places: list[Any], name: str) -> None:
    """One probability an item and position; each position's sum to 1."""
    same, kinds = equal_rows(rows, names)
    if kinds < len(values):
        twice = np.flatnonzero(np.bincount(same)[same] > 1)
        raise UserError(
            f"evaluate: policy {name}: {' and '.join(names)} repeat in {len(twice):,} rows of its table (first: {listed(twice, 5)}). "
            "Give one probability for each."
        )
    sums = probability.sum(1)
    off = np.flatnonzero(np.abs(sums - 1) > TOLERANCE)
    if len(off):
        shown = "; ".join(f"{names[-1] if len(names) > 1 else 'sum'} {places[i]}: {sums[i]:.6g}" for i in off[:5])
        raise UserError(
            f"evaluate: policy {name}: its probabilities do not sum to 1 ({len(off)} of {len(sums)} sums are off; {shown}). "
            "Give the whole vector over the items, at each position."
        )


def _contexts(log: Any, slots: Array, items: Any, probability: Array, name: str) -> tuple[Array, Array, Array]:
    """Rows of equal position and candidates: number of each row's, a row of each, and the vector of each, [C, A]."""
    column = log.columns.candidates
    if column is None:
        context, first = contexts(slots)
        return context, first, probability[slots[first]]
    sets, _ = equal_rows(log.table, [column])
    context, first = contexts(slots * (int(sets.max()) + 1) + sets)
    vectors = probability[slots[first]]
    lists = log.column(column).combine_chunks().take(pa.array(first))
    allowed = np.stack([pc.is_in(items, value_set=lists[i].values).to_numpy(zero_copy_only=False) for i in range(len(first))])
    outside = np.where(allowed, 0.0, vectors).sum(1)
    bad = np.flatnonzero((outside > TOLERANCE)[context])
    if len(bad):
        lost = items.filter(pa.array(~allowed[context[bad[0]]] & (vectors[context[bad[0]]] > 0))).to_pylist()
        raise UserError(
            f"evaluate: policy {name} chooses among other items than the log: in {len(bad):,} of {len(log):,} rows "
            f"(first: {listed(bad, 5)}) up to {outside.max():.1%} of its probability is on items that {column} does not hold "
            f"({listed(lost, 5)}). "
            "Judge a policy over the same candidates, or those rows where they agree."
        )
    return context, first, vectors
