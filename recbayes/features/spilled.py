"""What fitting asks of a column that memory may not hold: distinct values, their counts, quantiles. DuckDB spills to disk.

A column comes in parts; in memory it is one part, and the answers are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from recbayes.log.asked import asked, peeked


def counted(parts: Iterable[pa.Array], min_count: int) -> tuple[pa.Array, np.ndarray]:
    """The distinct values of a column [K], nulls left out, and the rows of each, int64 [K]; rare ones may be left out too.

    Args:
      parts: the column's values.
      min_count: values of fewer rows are left out, unless their type may be read otherwise for them (floats that are all integers).

    >>> values, rows = counted([pa.array(["b", "a"]), pa.array(["b", None])], 2)
    >>> values.to_pylist(), rows.tolist()
    (['b'], [2])
    """
    first, parts = peeked(parts)
    least = 1 if pa.types.is_floating(first) else min_count
    query = f"SELECT value, count(*) AS rows FROM parts WHERE value IS NOT NULL GROUP BY value HAVING count(*) >= {least}"
    with asked(query, parts) as reader:
        found = reader.read_all()
    values = found.column("value").combine_chunks()
    return (pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values), found.column("rows").to_numpy()


def distinct(parts: Iterable[pa.Array]) -> Iterator[pa.Array]:
    """The distinct values of a column in chunks; nulls left out. The order is any.

    >>> sorted(value for chunk in distinct([pa.array(["b", "a"]), pa.array(["b"])]) for value in chunk.to_pylist())
    ['a', 'b']
    """
    with asked("SELECT DISTINCT value FROM parts WHERE value IS NOT NULL", parts) as reader:
        for batch in reader:
            yield batch.column(0)


def quantiles(parts: Iterable[np.ndarray], shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """`np.quantile` of all numbers, float64 [Q]; empty where there are none.

    >>> quantiles([np.array([3.0, 1.0]), np.array([2.0, 2.0])], [0.0, 0.5, 1.0]).tolist()
    [1.0, 2.0, 3.0]
    """
    values, rows = [np.zeros(0)], [np.zeros(0, np.int64)]
    with asked(
        "SELECT value, count(*) AS rows FROM parts GROUP BY value ORDER BY value", (pa.array(x, pa.float64()) for x in parts)
    ) as reader:
        for batch in reader:
            values.append(batch.column(0).to_numpy(zero_copy_only=False))
            rows.append(batch.column(1).to_numpy(zero_copy_only=False))
    ordered, ends = np.concatenate(values), np.cumsum(np.concatenate(rows))
    if not len(ordered):
        return ordered
    at = np.asarray(shares) * (ends[-1] - 1)
    below, above = (
        ordered[np.searchsorted(ends, np.minimum(place, ends[-1] - 1), side="right")] for place in (np.floor(at), np.floor(at) + 1)
    )
    return np.array([np.quantile([low, high], share) for low, high, share in zip(below, above, at - np.floor(at))])
