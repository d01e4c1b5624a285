"""What `aggregate` asks of DuckDB: the rules of `faults.py` and the sums of `counts.py` as SQL.

The tests hold both against the Arrow code on the same rows. Values never stand in a query by string formatting unless quoted here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recbayes.log.columns import Columns
from recbayes.log.counts import key_columns
from recbayes.log.source import Source
from recbayes.types import UserError

ROW_GROUP = 122_880
"""Rows of a row group of the counts, DuckDB's own size: what a stream of them shuffles."""
_LARGEST = 2**53
_SHOWN = 5


@contextmanager
def connected(source: Source, out: Path, spill: Path, memory_limit: str, threads: int | None) -> Iterator[Any]:
    """A database in memory that spills to a folder; what goes wrong in the block becomes a UserError that names the file and the mend."""
    import duckdb

    settings: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(spill), "preserve_insertion_order": False}
    try:
        with duckdb.connect(config=settings | ({"threads": threads} if threads else {})) as database:
            database.execute("SET enable_progress_bar = false")
            yield database
    except duckdb.Error as error:
        raise _told(source, out, memory_limit, error) from error


def _told(source: Source, out: Path, memory_limit: str, error: Exception) -> Exception:
    """What went wrong, in the user's words."""
    said = str(error).splitlines()[0]
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)) or "max_temp_directory_size" in said:
        return UserError(
            f"aggregate: {out} cannot be written: the disk is full ({said}). Make room, or name another folder. It is as it was."
        )
    if "Out of Memory" in said:
        return UserError(f"aggregate: {memory_limit} of memory are not enough ({said}). Raise memory_limit, or lower threads.")
    for part in source.parts:
        if not os.path.exists(part.rows.path):
            return UserError(f"log: {part.file} vanished while it was read. Put it back, or read the other files alone.")
    for batch in source.batches(source.schema.names):  # names the damaged file
        del batch
    return UserError(f"aggregate: {source.name}: {said}. Check memory_limit, and that the files are whole.")


def proven_good(source: Source, columns: Columns) -> bool:
    """Whether the footers alone show that every row is possible: counts are whole numbers within bounds and nothing needed is null."""
    return all(_proven(pq.read_metadata(part.rows.path), columns) for part in source.parts)


def _proven(metadata: Any, columns: Columns) -> bool:
    place = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    kinds = metadata.schema.to_arrow_schema()
    needed = [name for name in (columns.clicks, columns.impressions, columns.item, columns.time) if name is not None]
    if any(name not in place or pa.types.is_floating(kinds.field(name).type) for name in needed):
        return False
    counts = [name for name in (columns.clicks, columns.impressions) if name is not None]
    if not all(pa.types.is_integer(kinds.field(name).type) or pa.types.is_boolean(kinds.field(name).type) for name in counts):
        return False
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found = {name: group.column(place[name]).statistics for name in needed}
        if any(s is None or not s.has_null_count or s.null_count for s in found.values()):
            return False
        if any(not found[name].has_min_max or not 0 <= found[name].min <= found[name].max <= _LARGEST for name in counts):
            return False
        if found[counts[0]].max > (1 if columns.impressions is None else found[columns.impressions].min):
            return False
    return True


def set_aside(database: Any, source: Source, columns: Columns, to: Path) -> dict[str, int]:
    """Writes the bad rows with their reasons, file and row number, and says how many there are of each set of reasons."""
    rules = _rules(columns, source)
    reasons = ", ".join(f"CASE WHEN {rule} THEN {_text(reason)} END" for reason, rule in rules.items())
    paths, names = ([_text(str(x)) for x in both] for both in zip(*((part.rows.path, part.file) for part in source.parts)))
    file = f"([{', '.join(names)}])[list_position([{', '.join(paths)}], filename)]"
    used = ", ".join(_name(name) for name in columns.used)
    beside = f"concat_ws('; ', {reasons}) AS quarantine_reason, {file} AS quarantine_file, file_row_number AS quarantine_row"
    query = f"SELECT {used}, {beside} FROM {_files(source, 'file_row_number = true, filename = true')} WHERE {' OR '.join(rules.values())}"
    database.execute(f"COPY ({query} ORDER BY filename, file_row_number) TO {_text(str(to))} (FORMAT parquet)")
    found = database.execute(f"SELECT quarantine_reason, count(*) FROM read_parquet({_text(str(to))}) GROUP BY 1 ORDER BY 2 DESC, 1")
    return dict(found.fetchall())


def message(database: Any, source: Source, bad: Mapping[str, int], aside: Path) -> str:
    """All faults in one text, with the first rows and the mend."""
    lines = [f"log: {source.name}: {total(bad):,} of {source.rows:,} rows are bad (rows are counted from 0)."]
    for reason, count in by_reason(bad).items():
        where = "list_contains(string_split(quarantine_reason, '; '), ?)"
        query = f"SELECT quarantine_file, quarantine_row FROM read_parquet(?) WHERE {where} LIMIT ?"
        rows = "; ".join(f"{file} row {row:,}" for file, row in database.execute(query, [str(aside), reason, _SHOWN]).fetchall())
        lines.append(f"{reason}: {count:,} row{'s' * (count != 1)} ({rows}{'; ...' * (count > _SHOWN)})")
    mend = "Mend them, or set on_bad_rows to quarantine: they are then left out and kept in a file of their own."
    return "\n  ".join(lines) + "\n" + mend


def total(bad: Mapping[str, int]) -> int:
    """Number of bad rows."""
    return sum(bad.values())


def by_reason(bad: Mapping[str, int]) -> dict[str, int]:
    """Rows of each reason; a row may have several.

    >>> by_reason({"a is null; b is null": 2, "a is null": 1})
    {'a is null': 3, 'b is null': 2}
    """
    found: dict[str, int] = {}
    for reasons, count in bad.items():
        for reason in reasons.split("; "):
            found[reason] = found.get(reason, 0) + count
    return found


def write_counts(
    database: Any, source: Source, columns: Columns, summed: Columns, onto: str | Path | None, bad: bool, to: Path, about: str
) -> None:
    """One row a key, sorted by it; those of `onto` are added where it is given."""
    keys = key_columns(columns)
    when = columns.time if columns.time is not None and columns.time not in keys else None
    good = f" WHERE NOT ({' OR '.join(_rules(columns, source).values())})" if bad else ""
    shown = _cast(columns.impressions) if columns.impressions is not None else "1"
    taken = f"{_files(source, '')}{good}"
    if onto is not None:
        kept = [*keys, *([when] if when else [])]
        new = ", ".join([*(_read(name, source) for name in kept), f"{_cast(columns.clicks)} AS c, {shown} AS n"])
        old = ", ".join([*map(_name, kept), f"{_cast(summed.clicks)} AS c, {_cast(summed.impressions)} AS n"])
        taken = f"(SELECT {new} FROM {taken} UNION ALL BY NAME SELECT {old} FROM read_parquet({_text(str(onto))}))"
        clicks, impressions = "sum(c)", "sum(n)"
    else:
        clicks, impressions = f"sum({_cast(columns.clicks)})", f"sum({shown})" if columns.impressions is not None else "count(*)"
    named = {columns.clicks: f"{clicks}::BIGINT", summed.impressions: f"{impressions}::BIGINT"}
    named |= {name: _name(name) if onto is not None else _read(name, source, named=False) for name in keys}
    named |= {when: f"min({_name(when)})"} if when else {}
    selected = ", ".join(f"{named[name]} AS {_name(name)}" for name in summed.used)
    by = ", ".join(named[name] for name in keys)
    places = ", ".join(str(summed.used.index(name) + 1) for name in keys)
    query = f"SELECT {selected} FROM {taken} GROUP BY {by} ORDER BY {places}" if keys else f"SELECT {selected} FROM {taken}"
    how = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, KV_METADATA {{recbayes: {_text(about)}}}"
    database.execute(f"COPY ({query}) TO {_text(str(to))} ({how})")


def _rules(columns: Columns, source: Source) -> dict[str, str]:
    """Reason -> SQL that is true of the rows that break it; the reasons and their order are those of `faults.bad_rows`."""
    rules: dict[str, str] = {}
    for name in (columns.clicks, columns.impressions):
        if name is not None:
            x = _number(name)
            rules[f"{name} is null"] = f"coalesce(isnan({x}), true)"
            rules[f"{name} is negative"] = f"coalesce({x} < 0, false)"
            rules[f"{name} is infinite or above 2^53"] = f"coalesce({x} > {_LARGEST} AND NOT isnan({x}), false)"
            rules[f"{name} is not a whole number"] = f"coalesce(isfinite({x}) AND {x} <> floor({x}), false)"
    assert columns.clicks is not None
    clicks = _number(columns.clicks)
    within = f"{clicks} <= {_LARGEST}"
    if columns.impressions is None:
        why = f"{columns.clicks} > 1 (without an impressions column a row is one impression)"
        rules[why] = f"coalesce({clicks} > 1 AND {within}, false)"
    else:
        shown = _number(columns.impressions)
        rules[f"{columns.clicks} > {columns.impressions}"] = f"coalesce({clicks} > {shown} AND {within} AND NOT isnan({shown}), false)"
    for name in (columns.item, columns.time):
        if name is not None:
            floating = pa.types.is_floating(source.schema.field(name).type)
            rules[f"{name} is null"] = f"coalesce(isnan({_name(name)}), true)" if floating else f"{_name(name)} IS NULL"
    return rules


def _files(source: Source, more: str) -> str:
    """The source's files as a table."""
    settings = [more] * bool(more) + ["union_by_name = true"] * (len(source.parts) > 1)
    keys = any(part.keys for part in source.parts)
    settings.append("hive_partitioning = true, hive_types_autocast = false" if keys else "hive_partitioning = false")
    paths = ", ".join(_text(str(part.rows.path)) for part in source.parts)
    return f"read_parquet([{paths}], {', '.join(settings)})"


def _read(name: str, source: Source, *, named: bool = True) -> str:
    """A column in its plain type: one that the folders' names give is a string to DuckDB."""
    read = _name(name)
    if any(name in part.keys for part in source.parts) and pa.types.is_integer(source.schema.field(name).type):
        read = f"CAST({_name(name)} AS BIGINT)"
    return f"{read} AS {_name(name)}" if named and read != _name(name) else read


def _number(name: str) -> str:
    return f"CAST({_name(name)} AS DOUBLE)"


def _cast(name: str | None) -> str:
    return f"CAST({_name(str(name))} AS BIGINT)"


def _name(name: str) -> str:
    """A column's name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    """A string, quoted."""
    return "'" + text.replace("'", "''") + "'"
