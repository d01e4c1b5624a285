"""Reading a log: find the files, check the columns, stream the rows, set apart those that cannot be right."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.log.columns import Columns, check_roles
from recbayes.log.counts import has_repeats, sum_batches
from recbayes.log.faults import BadRows, Fault, bad_rows, check_columns, merge_faults
from recbayes.log.log import Log
from recbayes.log.source import LogSource, Source, open_source
from recbayes.types import UserError

QUARANTINE = ("quarantine_reason", "quarantine_file", "quarantine_row")
"""Columns that quarantined rows get beside their own; the row is its number in the file, from 0."""


def read_log(
    source: LogSource,
    *,
    clicks: str | None = None,
    impressions: str | None = None,
    reward: str | None = None,
    reward_range: tuple[float, float] | None = None,
    item: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    time: str | None = None,
    propensity: str | None = None,
    position: str | None = None,
    candidates: str | None = None,
    features: Sequence[str] | None = None,
    on_bad_rows: Literal["fail", "quarantine"] = "fail",
    as_counts: bool = False,
) -> Log:
    """Read a click log; every argument but the last three names the column of a role (see `Columns`).

    Only the named columns are read, row group by row group. A row is bad when its clicks, impressions, item, time or propensity are
    missing or impossible.

    Args:
      source: a Parquet file, a folder, a glob, `example:NAME`, a pandas DataFrame or a pyarrow Table.
      clicks: clicks of the row.
      impressions: impressions of the row; without it a row is one impression.
      reward: a number instead of clicks.
      reward_range: the smallest and largest value that a reward can take.
      item: what is shown.
      group: rows that compete.
      cluster: rows that stay together in splits and bootstraps.
      time: order of rows.
      propensity: probability with which the row's item was shown.
      position: slot that it was shown in.
      candidates: list of what could have been shown.
      features: columns a model may use; None takes every column without a role.
      on_bad_rows: "fail" raises with all of them; "quarantine" leaves them out and keeps them in `Log.quarantined`.
      as_counts: sum equal rows while reading (`Log.counts`), so that memory follows the number of distinct rows.

    Returns:
      The log.

    Raises:
      UserError: no such file, not Parquet, columns missing or of a wrong type, bad rows, or nothing to learn from.

    >>> log = read_log("example:upworthy", clicks="clicks", impressions="impressions", item="source_row",
    ...                group="clickability_test_id", time="test_created_at", features=["headline", "eyecatcher_id"])
    >>> log
    Log('example:upworthy', rows 17,860, clicks 1,087,568, impressions 67,969,140, groups 3,898)
    """
    if on_bad_rows not in ("fail", "quarantine"):
        raise UserError(f"log: on_bad_rows is {on_bad_rows!r}, must be fail or quarantine.")
    roles = Columns(clicks, impressions, reward, item, group, cluster, time, propensity, position, candidates, tuple(features or ()))
    check_roles(roles)
    if as_counts and reward is not None:
        raise UserError("log: a reward cannot be summed to counts; read the log with as_counts=False.")
    opened = open_source(source)
    columns = _with_all_features(roles, opened) if features is None else roles
    check_columns(opened, columns)
    good = _GoodRows(opened, columns, reward_range)
    if as_counts and has_repeats(columns):
        table, columns = sum_batches(good, columns)
    else:
        table = pa.concat_tables(good)
    if good.faults and on_bad_rows == "fail":
        raise UserError(good.message())
    quarantined = good.quarantined()
    _check_learnable(table, columns, opened.name, quarantined.num_rows)
    fingerprint = hashlib.sha256(f"{opened.fingerprint} {columns} {quarantined.num_rows}".encode()).hexdigest()
    return Log(columns, table, opened.name, fingerprint, opened.attribution, quarantined)


class _GoodRows:
    """Iterates once over the rows of a source without faults, batch by batch, and gathers the faults on the way."""

    def __init__(self, source: Source, columns: Columns, reward_range: tuple[float, float] | None) -> None:
        self.faults: dict[str, Fault] = {}
        self._bad: list[Any] = []
        self._source, self._columns, self._reward_range = source, columns, reward_range

    def __iter__(self) -> Iterator[Any]:
        several = len(self._source.parts) > 1
        for table, file, first in self._source.batches(self._columns.used):
            good = table
            if found := bad_rows(table, self._columns, self._reward_range):
                self.faults = merge_faults(self.faults, found, table, file if several else "", first)
                is_bad = np.logical_or.reduce([bad.mask for bad in found])
                self._bad.append(_with_reasons(table, found, is_bad, file, first))
                good = table.filter(pa.array(~is_bad))
            yield _whole_counts(good, self._columns)

    def quarantined(self) -> Any:
        """The bad rows, each with its reasons, file and row number."""
        schema = pa.schema([self._source.schema.field(name) for name in self._columns.used])
        for name, kind in zip(QUARANTINE, (pa.large_string(), pa.large_string(), pa.int64())):
            schema = schema.append(pa.field(name, kind))
        return pa.concat_tables([schema.empty_table(), *self._bad])

    def message(self) -> str:
        """All faults in one text, with the mend."""
        bad = sum(part.num_rows for part in self._bad)
        head = f"log: {self._source.name}: {bad:,} of {self._source.rows:,} rows are bad (rows are counted from 0)."
        mend = "Mend them, or set on_bad_rows to quarantine: they are then left out, kept in a file of their own and counted in the report."
        return "\n  ".join([head, *map(str, self.faults.values())]) + "\n" + mend


def _with_reasons(table: Any, found: Sequence[BadRows], is_bad: Any, file: str, first: int) -> Any:
    """The bad rows of a batch with the columns of QUARANTINE."""
    rows = np.flatnonzero(is_bad)
    broken = np.stack([bad.mask[rows] for bad in found])  # [rules, rows]
    kinds, kind_of_row = np.unique(broken, axis=1, return_inverse=True)
    texts = pa.array(["; ".join(bad.reason for bad, is_so in zip(found, kind) if is_so) for kind in kinds.T], pa.large_string())
    beside = [texts.take(pa.array(kind_of_row)), pa.repeat(pa.scalar(file, pa.large_string()), len(rows)), pa.array(first + rows)]
    taken = table.take(pa.array(rows))
    for name, values in zip(QUARANTINE, beside):
        taken = taken.append_column(name, values)
    return taken


def _whole_counts(table: Any, columns: Columns) -> Any:
    """The table with clicks and impressions as int64."""
    for name in (columns.clicks, columns.impressions):
        if name is not None:
            table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(pa.int64()))
    return table


def _with_all_features(roles: Columns, source: Source) -> Columns:
    """The roles, with every other column as a feature."""
    return dataclasses.replace(roles, features=tuple(name for name in source.schema.names if name not in roles.roles.values()))


def _check_learnable(table: Any, columns: Columns, name: str, quarantined: int) -> None:
    """Raise UserError where nothing can be learnt from the rows."""
    aside = f" ({quarantined:,} bad rows are set aside)" if quarantined else ""
    if table.num_rows < 2:
        held = "one row" if table.num_rows else "no good rows"
        raise UserError(f"log: {name} holds {held}{aside}: nothing can be learnt or compared. Give more rows.")
    for column, mend in ((columns.impressions, "Was it filled in?"), (columns.clicks, "Is it the right column?")):
        if column is not None and pc.sum(table.column(column)).as_py() == 0:
            raise UserError(f"log: {name}: column {column!r} is 0 in all {table.num_rows:,} rows{aside}: nothing can be learnt. {mend}")
