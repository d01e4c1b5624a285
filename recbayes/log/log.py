"""A click log in memory: the columns that are used, the role of each, and where the rows came from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.log.columns import Columns, listed
from recbayes.log.counts import equal_rows, has_repeats, sum_batches
from recbayes.log.faults import numbers
from recbayes.log.splits import split_rows
from recbayes.types import Array, UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    """Rows of a click log. Made by `read_log`; nothing in it is changed in place.

    columns: the role of each column. table: pyarrow.Table [N] of the used columns. source: where it was read. fingerprint: SHA-256 of
    the source's contents and of what was taken from it. attribution: authors and licence of an embedded example. quarantined: the
    rows that could not be right, with the reason, file and row number of each.

    >>> from recbayes.log import read_log
    >>> log = read_log("example:upworthy", clicks="clicks", impressions="impressions", group="clickability_test_id", features=["headline"])
    >>> len(log), int(log.clicks.sum()), log.segments[1]
    (17860, 1087568, 3898)
    """

    columns: Columns
    table: Any
    source: str
    fingerprint: str
    attribution: str | None = None
    quarantined: Any = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def is_events(self) -> bool:
        """Whether a row is one impression, as the log has no column of impressions."""
        return self.columns.impressions is None

    @functools.cached_property
    def spread_identified(self) -> bool:
        """Whether the spread of click rates can be told from their mean: some row, summed, has more than one impression."""
        return bool((self.counts() if self.is_events else self).impressions.max() > 1)

    @functools.cached_property
    def clicks(self) -> Array:
        """Clicks of each row, int64 [N].

        Raises:
          UserError: the log has a reward instead of clicks.
        """
        if self.columns.clicks is None:
            raise UserError(f"log: {self.source} has a reward ({self.columns.reward}) but no clicks; counts of clicks are needed here.")
        return self.table.column(self.columns.clicks).to_numpy()

    @functools.cached_property
    def impressions(self) -> Array:
        """Impressions of each row, int64 [N]; 1 where the log has no such column."""
        name = self.columns.impressions
        return np.ones(len(self), np.int64) if name is None else self.table.column(name).to_numpy()

    @functools.cached_property
    def reward(self) -> Array | None:
        """Reward of each row, float64 [N]."""
        return self._numbers(self.columns.reward)

    @functools.cached_property
    def item(self) -> Array | None:
        """What each row showed, [N]."""
        return None if self.columns.item is None else self.column(self.columns.item).to_numpy()

    @functools.cached_property
    def group(self) -> Array | None:
        """Name of each row's group, [N]; None or NaN where a row has no group."""
        return None if self.columns.group is None else self.column(self.columns.group).to_numpy()

    @functools.cached_property
    def time(self) -> Array | None:
        """Time of each row, float64 [N]: Unix seconds of a timestamp or date, a number as it is."""
        return None if self.columns.time is None else seconds(self.column(self.columns.time))

    @functools.cached_property
    def propensity(self) -> Array | None:
        """Probability with which the logging policy showed the row's item, float64 [N] in (0, 1]."""
        return self._numbers(self.columns.propensity)

    @functools.cached_property
    def segments(self) -> tuple[Array, int]:
        """Group of each row, int32 [N] in order of first appearance, and the number of groups. A row without a group is its own."""
        return self._codes(self.columns.group)

    @functools.cached_property
    def clusters(self) -> tuple[Array, int]:
        """Like `segments`, for the column of clusters; the groups where the log has none."""
        return self._codes(self.columns.cluster) if self.columns.cluster is not None else self.segments

    def column(self, name: str) -> Any:
        """One column as it is, pyarrow.ChunkedArray [N].

        Raises:
          UserError: the log holds no such column.
        """
        if name not in self.table.column_names:
            held = listed(self.table.column_names)
            raise UserError(f"log: {self.source} was read without a column {name!r} (with {held}). Name it among the features.")
        return self.table.column(name)

    def take(self, rows: Array) -> Log:
        """The log of these rows (numbers [M], or a bool mask [N]).

        >>> from recbayes.log import read_log
        >>> log = read_log("example:open_bandit", clicks="click", item="item_id", features=["position"])
        >>> len(log.take(log.clicks == 1))
        38
        """
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, np.int64)
        taken = hashlib.sha256(self.fingerprint.encode() + rows.tobytes()).hexdigest()
        return dataclasses.replace(self, table=self.table.take(pa.array(rows)), fingerprint=taken)

    def split(
        self,
        by: Literal["time", "group", "connected", "random"] = "time",
        test_fraction: float = 0.2,
        follow: Sequence[str] = (),
        seed: int = 0,
    ) -> tuple[Log, Log]:
        """Part the groups into those to learn from and those to judge by; a group (or cluster) is never cut.

        time: the newest groups, by their first row, are the test. random: any. group: chosen by a hash of the group's name, so that a
        group stays on its side when the log grows. connected: random among sets of groups that share a value of a `follow` column.
        Whatever `by`, groups that share a value of a `follow` column stay on one side.

        Args:
          by: how the test groups are chosen.
          test_fraction: share of the groups to judge by, in (0, 1).
          follow: columns whose shared values hold groups together.
          seed: of the random choices.

        Returns:
          The training log and the test log.

        Raises:
          UserError: one group, all groups connected, or a column that is needed is not there.

        >>> from recbayes.log import read_log
        >>> log = read_log("example:upworthy", clicks="clicks", impressions="impressions", group="clickability_test_id",
        ...                time="test_created_at", features=["headline"])
        >>> train, test = log.split(by="time", test_fraction=0.2)
        >>> train.segments[1], test.segments[1]
        (3118, 780)
        """
        is_test = split_rows(self, by, test_fraction, follow, seed)
        return self.take(~is_test), self.take(is_test)

    def counts(self) -> Log:
        """The log with rows summed that agree in cluster, group, item and every feature (see `counts.sum_batches`).

        A log of counts without an item column is returned as it is: each of its rows is an item of its own.

        Raises:
          UserError: the log has a reward instead of clicks.
        """
        if self.columns.clicks is None:
            raise UserError(f"log: {self.source} has a reward ({self.columns.reward}) instead of clicks and cannot be summed to counts.")
        if not has_repeats(self.columns):
            return self
        table, columns = sum_batches([self.table], self.columns)
        fingerprint = hashlib.sha256(f"{self.fingerprint} {columns}".encode()).hexdigest()
        return dataclasses.replace(self, table=table, columns=columns, fingerprint=fingerprint)

    def to_pandas(self) -> pd.DataFrame:
        """The used columns as a DataFrame [N]."""
        return self.table.to_pandas()

    def __repr__(self) -> str:
        return f"Log({self.source!r}, {', '.join(f'{name} {value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        """What a notebook shows: a summary, the roles and the first rows."""
        summary = " &middot; ".join(f"<b>{html.escape(value)}</b> {html.escape(name)}" for name, value in self._summary().items())
        uses = pd.DataFrame({"column": self.columns.used, "used as": [self.columns.user_of(name) for name in self.columns.used]})
        first = self.table.slice(0, 5).to_pandas()
        parts = [f"<p>{html.escape(self.source)}: {summary}</p>", uses.to_html(index=False), first.to_html(index=False)]
        if self.attribution:
            parts.append(f"<details><summary>Attribution</summary><pre>{html.escape(self.attribution)}</pre></details>")
        return "\n".join(parts)

    def _summary(self) -> dict[str, str]:
        """What is in the log, in words and figures."""
        summary = {"rows": f"{len(self):,}"}
        if self.columns.clicks is not None:
            summary |= {"clicks": f"{int(self.clicks.sum()):,}", "impressions": f"{int(self.impressions.sum()):,}"}
        if self.columns.group is not None:
            summary["groups"] = f"{self.segments[1]:,}"
        if self.quarantined is not None and self.quarantined.num_rows:
            summary["quarantined"] = f"{self.quarantined.num_rows:,}"
        return summary

    def _numbers(self, name: str | None) -> Array | None:
        return None if name is None else numbers(self.column(name))

    def _codes(self, name: str | None) -> tuple[Array, int]:
        """Number of each row's value in order of first appearance, int32 [N]; a null (and every row without a column) is its own."""
        if name is None:
            return np.arange(len(self), dtype=np.int32), len(self)
        codes, size = equal_rows(self.table, [name])
        alone = pc.is_null(self.table.column(name), nan_is_null=True).to_numpy()
        if alone.any():
            codes[alone] = size + np.arange(alone.sum())
            codes = pd.factorize(codes)[0]
            size = int(codes.max()) + 1
        return codes.astype(np.int32), size


def seconds(column: Any) -> Array:
    """A time column as float64 [N]: Unix seconds of timestamps and dates, numbers as they are."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64()).to_numpy() / 1e6
    return numbers(column)
