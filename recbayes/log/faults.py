"""Rows that cannot be right: found while the log streams by, named with file and row number, never dropped unseen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.log.columns import Columns, listed, nearest
from recbayes.log.source import Source
from recbayes.types import UserError

SHOWN = 5
"""So many rows of each fault are shown in a message."""
_LARGEST = 2.0**53
"""Above it float64 no longer holds every whole number."""


class BadRows(NamedTuple):
    """The rows of a batch that break one rule: why, the columns it is about, bool mask [N]."""

    reason: str
    names: tuple[str, ...]
    mask: Any


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of bad row in a whole log. first: (file, row number from 0, its values) of the first ones; count: of all."""

    reason: str
    count: int
    first: tuple[tuple[str, int, str], ...]

    def __str__(self) -> str:
        """One line for a message."""
        shown = "; ".join(f"{file + ' ' if file else ''}row {row:,}: {values}" for file, row, values in self.first)
        return f"{self.reason}: {self.count:,} row{'s' * (self.count != 1)} ({shown}{'; ...' * (self.count > len(self.first))})"


def bad_rows(table: Any, columns: Columns, reward_range: tuple[float, float] | None = None) -> list[BadRows]:
    """The rules that rows of a batch break, each with its rows.

    >>> table = pa.table({"clicks": [1, 7, None], "shown": [5, 5, 5]})
    >>> [(bad.reason, bad.mask.tolist()) for bad in bad_rows(table, Columns(clicks="clicks", impressions="shown"))]
    [('clicks is null', [False, False, True]), ('clicks > shown', [False, True, False])]
    """
    return [bad for bad in _rules(table, columns, reward_range) if bad.mask.any()]


def merge_faults(faults: Mapping[str, Fault], found: Sequence[BadRows], table: Any, file: str, first_row: int) -> dict[str, Fault]:
    """The faults so far and those of one more batch, whose first row has the number `first_row` in `file`."""
    merged = dict(faults)
    for reason, names, mask in found:
        before = merged.get(reason, Fault(reason, 0, ()))
        at = np.flatnonzero(mask)[: SHOWN - len(before.first)].tolist()
        rows = [(file, first_row + row, ", ".join(f"{name} = {table.column(name)[row].as_py()}" for name in names)) for row in at]
        merged[reason] = Fault(reason, before.count + int(mask.sum()), (*before.first, *rows))
    return merged


def numbers(column: Any) -> Any:
    """A number or bool column as float64 [N], nulls as NaN."""
    values = column.cast(pa.float64(), safe=False)
    return (values.fill_null(np.nan) if values.null_count else values).to_numpy()


def check_columns(source: Source, columns: Columns) -> None:
    """Raise UserError for columns that are missing (all at once) or of a wrong type."""
    known = source.schema.names
    if missing := [name for name in columns.used if name not in known]:
        lines = [f"no column {name!r} ({columns.user_of(name)}).{_elsewhere(source, name) or nearest(name, known)}" for name in missing]
        raise UserError("\n  ".join([f"log: {source.name} lacks what the columns name:", *lines, f"It has: {listed(known, 30)}."]))
    _check_types(source.schema, columns, source.name)


def _elsewhere(source: Source, name: str) -> str:
    """What to say of a column that the first file lacks and a later one has."""
    having = next((part.file for part in source.parts if name in part.schema.names), None)
    return f" {having} has it and {source.parts[0].file} has not: write all files with the same columns." if having else ""


def _check_types(schema: Any, columns: Columns, source: str) -> None:
    """Raise UserError where a column has a type that its use cannot have; all such columns at once."""
    wrong = [
        f"column {name!r} ({use}) is {schema.field(name).type}: {mend}"
        for use, name in [*columns.roles.items(), *(("feature", name) for name in columns.features)]
        if (mend := _mend_type(use, schema.field(name).type))
    ]
    if wrong:
        raise UserError("\n  ".join([f"log: {source}: {len(wrong)} column{'s' * (len(wrong) > 1)} of a wrong type.", *wrong]))


def _mend_type(use: str, kind: Any) -> str:
    """What to do about a column's type, or nothing where it is right."""
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    right, mend = {
        "clicks": (number or pa.types.is_boolean(kind), "it must be a number; cast it before writing."),
        "impressions": (number, "it must be a number; cast it before writing."),
        "reward": (number, "it must be a number; cast it before writing."),
        "propensity": (number, "it must be a number; cast it before writing."),
        "time": (
            number or pa.types.is_timestamp(kind) or pa.types.is_date(kind),
            "it must be a timestamp, a date or a number; cast it, say with pandas.to_datetime.",
        ),
        "candidates": (pa.types.is_large_list(kind), "it must be a list column of items."),
        "feature": (_is_feature(kind), "a feature is a value or a list of values; flatten it."),
    }.get(use, (not pa.types.is_nested(kind), "it must be a single value: a string or a whole number."))
    return "" if right else mend


def _is_feature(kind: Any) -> bool:
    """A value, or a list of values."""
    return not pa.types.is_nested(kind.value_type if pa.types.is_large_list(kind) else kind)


def _rules(table: Any, columns: Columns, reward_range: tuple[float, float] | None) -> Iterator[BadRows]:
    """Every rule. NaN counts as null; as comparisons with it are False, a null breaks one rule only."""
    for name in (columns.clicks, columns.impressions):
        if name is not None:
            yield from _count_rules(name, numbers(table.column(name)))
    if columns.clicks is not None:
        clicks = numbers(table.column(columns.clicks))
        within = clicks <= _LARGEST
        if columns.impressions is None:
            why = f"{columns.clicks} > 1 (without an impressions column a row is one impression)"
            yield BadRows(why, (columns.clicks,), (clicks > 1) & within)
        else:
            too_many = (clicks > numbers(table.column(columns.impressions))) & within
            yield BadRows(f"{columns.clicks} > {columns.impressions}", (columns.clicks, columns.impressions), too_many)
    if columns.reward is not None:
        yield from _reward_rules(columns.reward, numbers(table.column(columns.reward)), reward_range)
    if columns.propensity is not None:
        propensity = numbers(table.column(columns.propensity))
        yield BadRows(f"{columns.propensity} is null", (columns.propensity,), np.isnan(propensity))
        yield BadRows(f"{columns.propensity} is outside (0, 1]", (columns.propensity,), (propensity <= 0) | (propensity > 1))
    for name in (columns.item, columns.time, columns.candidates):
        if name is not None:
            yield BadRows(f"{name} is null", (name,), pc.is_null(table.column(name), nan_is_null=True).to_numpy())


def _count_rules(name: str, counts: Any) -> Iterator[BadRows]:
    """What a column of clicks or impressions must hold: whole numbers from 0 on."""
    yield BadRows(f"{name} is null", (name,), np.isnan(counts))
    yield BadRows(f"{name} is negative", (name,), counts < 0)
    yield BadRows(f"{name} is infinite or above 2^53", (name,), counts > _LARGEST)
    yield BadRows(f"{name} is not a whole number", (name,), np.isfinite(counts) & (counts != np.floor(counts)))


def _reward_rules(name: str, reward: Any, reward_range: tuple[float, float] | None) -> Iterator[BadRows]:
    """What a reward must be: a number within its declared range."""
    low, high = reward_range or (-np.inf, np.inf)
    yield BadRows(f"{name} is null", (name,), np.isnan(reward))
    yield BadRows(f"{name} is infinite", (name,), np.isinf(reward))
    yield BadRows(f"{name} is outside its range [{low:g}, {high:g}]", (name,), np.isfinite(reward) & ((reward < low) | (reward > high)))
