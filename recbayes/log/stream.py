"""A log that is never whole in memory: its rows as a sequence of small logs, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from recbayes.log.columns import Columns, check_roles
from recbayes.log.faults import bad_rows, check_columns, merge_faults
from recbayes.log.log import Log
from recbayes.log.source import BATCH_ROWS, LogSource, Source, open_source
from recbayes.types import UserError


@dataclasses.dataclass(frozen=True)
class Stream:
    """A log to go through more than once. columns: roles; rows: how many; source: where they come from; table: of a log in memory."""

    columns: Columns
    rows: int
    source: str
    opened: Any
    reward_range: tuple[float, float] | None = None

    def __iter__(self) -> Iterator[tuple[int, Log]]:
        """(number of the first row, rows) of each batch.

        Raises: UserError at the first batch that holds rows which cannot be right, with their numbers.
        """
        first = 0
        for table, file in self._tables():
            found = bad_rows(table, self.columns, self.reward_range)
            if found:
                faults = merge_faults({}, found, table, file, first).values()
                mend = "Mend or drop them; `recbayes audit` lists all."
                raise UserError("\n  ".join([f"log: {self.source} holds rows that cannot be right.", *map(str, faults)]) + f"\n{mend}")
            yield first, Log(self.columns, table, self.source, "")
            first += table.num_rows

    @property
    def names(self) -> list[str]:
        """All columns that can be read, those without a role too."""
        return list(self.opened.schema.names if isinstance(self.opened, Source) else self.opened.table.column_names)

    def select(self, names: Sequence[str]) -> Iterator[Any]:
        """The named columns of every row, in order, unchecked: tables of some rows each."""
        if isinstance(self.opened, Source):
            yield from (batch.table for batch in self.opened.batches(names))
        else:
            yield self.opened.table.select(list(names))

    def _tables(self) -> Iterator[tuple[Any, str]]:
        if isinstance(self.opened, Source):
            for batch in self.opened.batches(self.columns.used):
                yield batch.table, batch.file if len(self.opened.parts) > 1 else ""
        else:
            for start in range(0, self.rows, BATCH_ROWS):
                yield self.opened.table.slice(start, BATCH_ROWS), ""


def stream_log(log: Log | LogSource, *, reward_range: tuple[float, float] | None = None, **roles: Any) -> Stream:
    """A log as a stream: of files it holds one batch at a time; of a log in memory, pieces of it.

    Args:
      log: a log, or what `read_log` reads.
      reward_range: the smallest and largest value that a reward can take.
      **roles: the columns' roles, as `read_log` has them, where `log` is not a log yet.

    Raises: UserError for files, columns and types that can't be.

    >>> stream = stream_log("example:open_bandit", clicks="click", item="item_id")
    >>> sum(len(part) for _, part in stream), stream.rows
    (10000, 10000)
    """
    if isinstance(log, Log):
        return Stream(log.columns, len(log), log.source, log, reward_range)
    features = tuple(roles.pop("features", None) or ())
    columns = Columns(**roles, features=features)
    check_roles(columns)
    opened = open_source(log)
    check_columns(opened, columns)
    return Stream(columns, opened.rows, opened.name, opened, reward_range)
