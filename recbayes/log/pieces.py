"""A log on disk in pieces: row groups of its files, none of which cuts a group, to be read in any order.

A large row group is several pieces. A piece begins at the first change of group in its row group and ends where the next piece begins, so
rows of one group are always in one piece. That takes a log whose groups' rows lie together, as `aggregate` writes them; without groups a
piece is a row group as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbayes.log.asked import distinct_count
from recbayes.log.faults import bad_rows, merge_faults
from recbayes.log.source import Part, Source, digest_of, footer_of
from recbayes.log.stream import Stream
from recbayes.types import Array, Interrupted, UserError

TABLE_ROWS = 1 << 12
"""Rows of a piece of a table in memory."""
PIECE_ROWS = 1 << 17
"""Rows of a piece of a file, at most: a larger row group is cut evenly, and read once for each of its pieces."""
COLUMNS = 8
"""Columns of a piece that are read at once."""
MOST_GROUP_ROWS = 1 << 16
"""Rows of one group that a step can take at once."""


class Piece(NamedTuple):
    """Rows start .. stop of a file. part: the file's number; row, group: numbers of the first row and its group in the whole log."""

    part: int
    start: int
    stop: int
    row: int
    group: int


def source_of(stream: Stream) -> Source:
    """The stream's files, or its table as the only one."""
    if isinstance(stream.opened, Source):
        return stream.opened
    table = stream.opened.table
    return Source(stream.source, (Part("table", table, {}),), table.schema, lambda: stream.opened.fingerprint, len(stream.opened))


def pieces(stream: Stream, group: str | None) -> list[Piece]:
    """The log's pieces, in order; with a column of groups it is gone through once.

    Raises: UserError where a group's rows lie apart, or one has too many.

    >>> from recbayes.log.stream import stream_log
    >>> stream = stream_log("example:open_bandit", clicks="click", item="item_id")
    >>> pieces(stream, None)
    [Piece(part=0, start=0, stop=10000, row=0, group=0)]
    """
    source, found, row = source_of(stream), [], 0
    changes = _Changes(group)
    for number, part in enumerate(source.parts):
        ends = [0, *_ends(part)]
        starts = []
        for start, stop in ((a, b) for a, b in pairwise(ends) if a < b):
            first = 0 if group is None else changes.first(_column(source, number, start, stop, group), start == 0)
            if first is not None:
                starts.append((start + first, row + start + first, changes.before))
        stops = [start for start, _, _ in starts[1:]] + [ends[-1]]
        found += [Piece(number, start, stop, at, before) for (start, at, before), stop in zip(starts, stops)]
        row += ends[-1]
    if group is not None:
        changes.must_be_together(stream.source, group, (_column(source, p.part, p.start, p.stop, group) for p in found))
    return [piece for piece in found if piece.stop > piece.start]


class _Changes:
    """Where a column's value changes, row group after row group. before: groups that began before the last row group's first change."""

    def __init__(self, group: str | None) -> None:
        self.before, self.groups, self.alone, self._last, self._length = 0, 0, 0, None, 0
        self.group = group

    def first(self, column: Any, begins: bool) -> int | None:
        """The first row of a row group that begins a group; None where there is none. A null is a group of its own."""
        at = np.flatnonzero(new_groups(column, None if begins else self._last))
        self.alone += column.null_count
        self._last = column[-1:]
        sizes = np.diff(np.concatenate([[-self._length if not begins else 0], at, [len(column)]]))
        must_fit_a_step(sizes, self.group)
        self._length = int(sizes[-1]) if len(at) else self._length * (not begins) + len(column)
        self.before = self.groups
        self.groups += len(at)
        return int(at[0]) if len(at) else None

    def must_be_together(self, source: str, group: str, columns: Iterator[Any]) -> None:
        """UserError where a group begins more than once."""
        different = distinct_count(columns) + self.alone
        if different != self.groups:
            raise UserError(
                f"stream: {source}: rows of {self.groups - different:,} groups of column {group!r} lie apart, and a batch takes a group "
                "whole. Write them together, as rb.aggregate does, or set density.group_effect to false."
            )


def must_fit_a_step(sizes: Array, group: str | None) -> None:
    """UserError for groups, of so many rows each, that share an effect and of which one would take all memory.

    >>> must_fit_a_step(np.array([4, 70_000]), "page")
    Traceback (most recent call last):
    recbayes.types.UserError: fit: a group of column 'page' has more than 65,536 rows, and a step takes a group whole. Sum equal rows ...
    """
    if np.max(sizes, initial=0) > MOST_GROUP_ROWS:
        raise UserError(
            f"fit: a group of column {group!r} has more than {MOST_GROUP_ROWS:,} rows, and a step takes a group whole. Sum equal rows "
            "first with rb.aggregate, name a finer group, or set density.group_effect to false."
        )


def new_groups(column: Any, last: Any | None = None) -> Array:
    """Where a group begins: rows whose value is another than the row before's, or null; bool [N]. last: the row before, an array of one."""
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    before = pa.concat_arrays([column[:1] if last is None else last.cast(column.type), column[:-1]])
    changed = pc.fill_null(pc.not_equal(column, before), True).to_numpy(zero_copy_only=False)
    if last is None and len(changed):
        changed[0] = True
    return changed


def read(source: Source, piece: Piece, roles: Sequence[str], features: Sequence[str] = ()) -> Any:
    """A piece's rows: columns of roles in plain types, features as dictionaries where they are strings.

    Raises: Interrupted for a file that is damaged or gone.
    """
    part = source.parts[piece.part]
    names = tuple(dict.fromkeys([*roles, *features]))
    inside = [name for name in names if name not in part.keys]
    table = _rows(part, piece, inside, _opened(part, piece, [name for name in features if name in inside and name not in roles]))
    columns = []
    for name in names:
        kind = source.schema.field(name).type
        if name in part.keys:
            columns.append(pa.chunked_array([pa.repeat(part.keys[name], len(table)).cast(kind)]))
        else:
            column = table.column(name)
            columns.append(column if name not in roles else _plain(column, kind))
    return pa.table(columns, names=list(names))


def each_column(source: Source, piece: Piece, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """A piece's columns one after the other, as `read` gives features; memory holds a few.

    Raises: Interrupted for a file that is damaged or gone.
    """
    part = source.parts[piece.part]
    file = _opened(part, piece, [name for name in names if name not in part.keys])
    for name in (name for name in names if name in part.keys):
        yield name, read(source, piece, (), [name]).column(name)
    inside = [name for name in names if name not in part.keys]
    for first in range(0, len(inside), COLUMNS):
        some = inside[first : first + COLUMNS]
        yield from zip(some, _rows(part, piece, some, file).columns)


def must_be_good(stream: Stream, piece: Piece, table: Any, file: str) -> None:
    """UserError for rows that cannot be right."""
    found = bad_rows(table, stream.columns, stream.reward_range)
    if found:
        faults = merge_faults({}, found, table, file, piece.start).values()
        mend = "Mend or drop them; `recbayes audit` lists all, and rb.aggregate can set them aside."
        raise UserError("\n  ".join([f"log: {stream.source} holds rows that cannot be right.", *map(str, faults)]) + f"\n{mend}")


class _Opened(NamedTuple):
    """A part's file or table, the row groups that hold a piece, and the piece's first row in them."""

    rows: Any
    groups: list[int]
    start: int


def _opened(part: Part, piece: Piece, features: Sequence[str]) -> _Opened:
    """A part to read a piece of; strings among the features come as dictionaries."""
    if isinstance(part.rows, pa.Table):
        return _Opened(part.rows, [], piece.start)
    ends, schema = np.array([0, *_group_ends(part)]), part.schema
    first, last = np.searchsorted(ends, piece.start, side="right") - 1, np.searchsorted(ends, piece.stop, side="left")
    strings = [name for name in features if _is_text(schema.field(name).type)]
    with _faults_named(part):
        about = os.stat(part.rows.path)
        digest, metadata = _footer(part.rows.path, about.st_size, about.st_mtime_ns)
        file = pq.ParquetFile(part.rows.path, metadata=metadata, read_dictionary=strings)
    if digest != part.footer:
        raise Interrupted(
            f"log: {part.file} was written anew while it was read. Put the old file back before the next run: it goes on from the last "
            "checkpoint."
        )
    return _Opened(file, list(range(first, last)), piece.start - int(ends[first]))


@lru_cache(maxsize=8)
def _footer(path: str, size: int, written: int) -> tuple[str, Any]:
    """A footer's digest and what it says, of a file of that size that was written then: of the last few files, as a footer may be large."""
    return digest_of(footer_of(path)), pq.read_metadata(path)


def _rows(part: Part, piece: Piece, names: Sequence[str], opened: _Opened) -> Any:
    """Some columns of a piece's rows, of one file."""
    rows, groups, start = opened
    if isinstance(rows, pa.Table):
        return rows.select(list(names)).slice(start, piece.stop - piece.start)
    with _faults_named(part):
        table = rows.read_row_groups(groups, columns=list(names), use_threads=False)
    return table.slice(start, piece.stop - piece.start)


@contextmanager
def _faults_named(part: Part) -> Iterator[None]:
    """A file that is damaged or gone as Interrupted."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        if not os.path.exists(part.rows.path):
            raise Interrupted(
                f"log: {part.file} vanished while it was read. Put it back (workers on other machines want it under "
                "the same path) before the next run: it goes on from the last checkpoint."
            ) from error
        said = str(error).splitlines()[0]
        raise Interrupted(
            f"log: {part.file} is damaged: {said}. Copy it again before the next run: it goes on from the last checkpoint."
        ) from error


def _ends(part: Part) -> list[int]:
    """Where each piece of a file ends that cuts no row group of few rows."""
    if isinstance(part.rows, pa.Table):
        return [min(end + TABLE_ROWS, len(part.rows)) for end in range(0, len(part.rows), TABLE_ROWS)]
    cuts = ((start, stop, -(-(stop - start) // PIECE_ROWS)) for start, stop in pairwise([0, *_group_ends(part)]))
    return [start + (stop - start) * (i + 1) // many for start, stop, many in cuts for i in range(many)]


def _group_ends(part: Part) -> list[int]:
    """Where each row group of a file ends."""
    return np.cumsum(part.groups, dtype=np.int64).tolist()


def _column(source: Source, part: int, start: int, stop: int, name: str) -> Any:
    """One plain column of some rows, as one array."""
    column = read(source, Piece(part, start, stop, 0, 0), [name]).column(name).combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _plain(column: Any, kind: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(kind)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
