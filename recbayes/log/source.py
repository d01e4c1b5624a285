"""Where rows come from: Parquet files (one, a folder, a glob, an example) or a table in memory, in batches of plain types.

Batches come row group by row group, so the size of a file is no limit. Dictionary columns are decoded and strings and lists get
64-bit offsets, so that whatever comes after sees few types and no file is too large for them. Folders named `date=2024-05-01` give
their files a column `date`.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from recbayes.log.columns import listed, nearest
from recbayes.log.embedded import PREFIX, attribution, example_path
from recbayes.types import UserError

BATCH_ROWS = 1 << 17
_FIRST = 1 << 20
LogSource: TypeAlias = "str | Path | pd.DataFrame | Any"
"""A path, a glob, `example:NAME`, a pandas DataFrame or a pyarrow Table."""


class Part(NamedTuple):
    """One file: its name for messages, its rows (a Parquet fragment or a table), and the columns that its folders' names give it.

    kinds: the file's own columns and types; groups: the rows of each row group; footer: a digest of the file's footer. The footer itself is
    not kept: it takes 1.5 KB a column and row group, gigabytes for a log of billions of rows.
    """

    file: str
    rows: Any
    keys: Mapping[str, str]
    kinds: Any = None
    groups: tuple[int, ...] = ()
    footer: str = ""

    @property
    def schema(self) -> Any:
        """Columns and types, those of the folders included."""
        schema = self.rows.schema if isinstance(self.rows, pa.Table) else self.kinds
        for name, value in self.keys.items():
            schema = schema.append(pa.field(name, pa.int64() if value.isdecimal() else pa.large_string()))
        return schema

    def mark(self) -> str:
        """A digest of a file's first rows and its footer, which holds sizes, counts and ranges of every column: which file it was."""
        if isinstance(self.rows, pa.Table):
            return _table_digest(self.rows)[:16]
        with open(self.rows.path, "rb") as file:
            first = file.read(_FIRST)
        return hashlib.sha256(first + footer_of(self.rows.path)).hexdigest()[:16]


class Batch(NamedTuple):
    """Rows that follow each other in one file; `first` is the number of the first one, counted from 0."""

    table: Any
    file: str
    first: int


@dataclasses.dataclass(frozen=True)
class Source:
    """Files (or one table) that share a schema. name: as the user gave it; digest: of all contents; attribution: of an embedded log."""

    name: str
    parts: tuple[Part, ...]
    schema: Any
    digest: Callable[[], str]
    rows: int
    attribution: str | None = None

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names and contents: reads all of it, so it is taken at its first use."""
        return self.digest()

    def batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """The named columns of every row, in order."""
        schema = pa.schema([self.schema.field(name) for name in names])
        for part in self.parts:
            first = 0
            for table in _tables(part, schema):
                yield Batch(table, part.file, first)
                first += table.num_rows


def open_source(source: LogSource) -> Source:
    """Find the files, read their footers, agree on one schema; a source that is open already is given back.

    Raises:
      UserError: no such file, an empty file, not Parquet, or files whose columns disagree.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (pd.DataFrame, pa.Table)):
        table = pa.Table.from_pandas(source, preserve_index=False) if isinstance(source, pd.DataFrame) else source
        parts = [Part("table", table, {})]
        return Source(
            "table", tuple(parts), _plain_schema(parts), functools.partial(_table_digest, table), _some(table.num_rows, "the table")
        )
    name = str(source)
    files = find_files(source)
    root = _root(name, files)
    parts = list[Part]()
    for path in files:
        kinds, groups, footer = _read_footer(path)
        kinds = parts[-1].kinds if parts and kinds.equals(parts[-1].kinds, check_metadata=True) else kinds
        inside = path.relative_to(root)
        parts.append(Part(inside.as_posix(), _fragment(path), _folder_keys(inside), kinds, groups, footer))
    rows = _some(sum(sum(part.groups) for part in parts), name)
    credit = attribution(name) if name.startswith(PREFIX) else None
    return Source(name, tuple(parts), _plain_schema(parts), functools.partial(_file_digest, files, root), rows, credit)


def _some(rows: int, name: str) -> int:
    """The number of rows, which must not be 0."""
    if rows == 0:
        raise UserError(f"log: {name} has columns but no rows.")
    return rows


def fingerprint(source: str | Path) -> str:
    """SHA-256 over names and contents of a source's files; where their folder lies does not matter.

    >>> fingerprint("example:upworthy")[:8]
    'a14b4622'
    """
    files = find_files(source)
    return _file_digest(files, _root(str(source), files))


def find_files(source: str | Path) -> list[Path]:
    """The Parquet files behind a path, a folder, a glob or `example:NAME`, sorted by name.

    Raises:
      UserError: nothing is there, with the nearest name that is.
    """
    text = str(source)
    if text.startswith(PREFIX):
        return [example_path(text)]
    path = Path(text).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*.parquet") if not any(part[0] in "._" for part in p.relative_to(path).parts))
        if not files:
            raise UserError(f"log: the folder {text} holds no file that ends in .parquet.")
        return files
    files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file()) if glob.has_magic(text) else []
    if files:
        return files
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(f"log: no such file: {text}.{nearest(path.name, beside)} Give a Parquet file, a folder, a glob or {PREFIX}upworthy.")


def _fragment(path: Path) -> Any:
    """One file, of which nothing is read yet."""
    return ds.ParquetFileFormat().make_fragment(str(path.resolve()), filesystem=pa.fs.LocalFileSystem())


def footer_of(path: str | Path) -> bytes:
    """A Parquet file's footer, as it stands at its end."""
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        size = int.from_bytes(file.read(4), "little") + 8
        file.seek(-size, os.SEEK_END)
        return file.read(size)


def digest_of(footer: bytes) -> str:
    """Which footer it is: it holds sizes, places and ranges of every column, so a file that is written anew with other rows has another."""
    return hashlib.sha256(footer).hexdigest()[:16]


def _read_footer(path: Path) -> tuple[Any, tuple[int, ...], str]:
    """A file's columns and types, the rows of each row group, and a digest."""
    try:
        if path.stat().st_size == 0:
            raise UserError(f"log: {path} is empty (0 bytes). Write it again.")
        fragment = _fragment(path)
        return fragment.physical_schema, tuple(group.num_rows for group in fragment.row_groups), digest_of(footer_of(path))
    except pa.ArrowInvalid as error:
        raise UserError(f"log: {path} is not a Parquet file, or was cut off while it was written{_looks_like(path)}") from error
    except OSError as error:
        raise UserError(f"log: {path} cannot be read: {error.strerror or error}.") from error


def _looks_like(path: Path) -> str:
    """The mend for a file that is not Parquet."""
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1":
        return ": it starts as Parquet but its end is missing. Copy or write it again."
    return ". Turn CSV into Parquet with pandas: pd.read_csv(FILE).to_parquet(NEW)."


def _root(source: str, files: Sequence[Path]) -> Path:
    """The folder that the names of files are relative to: the folder given, or what comes before a glob's first wildcard."""
    path = Path(source).expanduser()
    if len(files) == 1 and not (path.is_dir() or glob.has_magic(source)):
        return files[0].parent
    return path if path.is_dir() else Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))


def _folder_keys(path: Path) -> dict[str, str]:
    """Columns that the names of folders give: {"date": "2024-05-01"} of date=2024-05-01/part-0.parquet."""
    pairs = (part.split("=", 1) for part in path.parts[:-1] if "=" in part)
    return {name: unquote(value) for name, value in pairs}


def _plain_schema(parts: Sequence[Part]) -> Any:
    """One schema of plain types for all files; columns of the first file, each in a type that holds every file's values."""
    first = parts[0]
    plain = {field.name: plain_type(field.type) for field in first.schema}
    for part in parts[1:]:
        schema = part.schema
        if missing := [name for name in plain if name not in schema.names]:
            raise UserError(
                f"log: {part.file} lacks column {listed(missing)} that {first.file} has. Write all files with the same columns."
            )
        for name, kind in plain.items():
            other = plain_type(schema.field(name).type)
            if other != kind:
                plain[name] = _wider(name, kind, other, first.file, part.file)
    return pa.schema(list(plain.items()))


def _wider(name: str, kind: Any, other: Any, first_file: str, file: str) -> Any:
    """A type that holds both."""
    try:
        return pa.unify_schemas([pa.schema([(name, kind)]), pa.schema([(name, other)])], promote_options="permissive").field(name).type
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise UserError(f"log: column {name!r} is {kind} in {first_file} and {other} in {file}. Write both in one type.") from error


def plain_type(kind: Any) -> Any:
    """The type in which a column is kept: dictionaries decoded, strings and lists with 64-bit offsets.

    >>> plain_type(pa.dictionary(pa.int32(), pa.string()))
    DataType(large_string)
    """
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    return kind


def _tables(part: Part, schema: Any) -> Iterator[Any]:
    """A file's rows as tables of plain types. Few batches are read ahead: memory stays small whatever the file's size."""
    inside = [name for name in schema.names if name not in part.keys]
    try:
        for batch in part.rows.to_batches(**_reading(part.rows, inside)):
            yield _plain(batch, part.keys, schema)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"log: {part.file} is damaged: {error}. Copy or write it again.") from error


def _reading(rows: Any, names: Sequence[str]) -> dict[str, Any]:
    """How a table or a file is cut into batches."""
    if isinstance(rows, pa.Table):
        return {"max_chunksize": BATCH_ROWS}
    return {"columns": names, "batch_size": BATCH_ROWS, "batch_readahead": 4}


def _plain(batch: Any, keys: Mapping[str, str], schema: Any) -> Any:
    """A batch in the plain types of the schema."""
    columns = []
    for field in schema:
        if field.name in keys:
            columns.append(pa.repeat(keys[field.name], batch.num_rows).cast(field.type))
            continue
        column = batch.column(field.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


def _file_digest(files: Sequence[Path], root: Path) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _table_digest(table: Any) -> str:
    """SHA-256 over a table's types and values."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()
