"""Questions to DuckDB about a column that memory may not hold: it comes in parts, and what is counted is spilled to disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pyarrow as pa

MEMORY_LIMIT = "256MB"
"""Of one question; beyond it, it spills."""
CHUNK = 100_000
"""Rows of an answer's batch."""


def distinct_count(parts: Iterable[pa.Array]) -> int:
    """How many values a column has, nulls left out.

    >>> distinct_count([pa.array(["b", "a"]), pa.array(["b", None])])
    2
    """
    with asked("SELECT count(DISTINCT value) FROM parts", parts) as reader:
        return int(reader.read_all().column(0)[0].as_py())


@contextmanager
def asked(query: str, parts: Iterable[pa.Array]) -> Iterator[Any]:
    """The answer to a query over `parts`, a table of one column `value`, as a reader of Arrow batches."""
    import duckdb

    kind, parts = peeked(parts)
    schema = pa.schema([("value", kind)])
    batches = (pa.record_batch([_decoded(part).cast(kind)], schema=schema) for part in parts)
    with tempfile.TemporaryDirectory() as spill:
        settings: dict[str, Any] = {"memory_limit": MEMORY_LIMIT, "temp_directory": spill, "preserve_insertion_order": False, "threads": 1}
        with duckdb.connect(config=settings) as database:
            database.execute("SET enable_progress_bar = false")
            database.register("parts", pa.RecordBatchReader.from_batches(schema, batches))
            yield database.sql(query).to_arrow_reader(CHUNK)


def peeked(parts: Iterable[pa.Array]) -> tuple[pa.DataType, Iterable[pa.Array]]:
    """The type of the first part's values, and all parts."""
    rest = iter(parts)
    first = next(rest, pa.array([], pa.null()))
    kind = first.type.value_type if pa.types.is_dictionary(first.type) else first.type
    return kind, chain([first], rest)


def _decoded(part: pa.Array) -> pa.Array:
    return part.dictionary_decode() if pa.types.is_dictionary(part.type) else part
