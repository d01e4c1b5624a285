"""Events to counts on disk: `rb.aggregate` beside DuckDB's own grouped sum of the same file, in the same process.

    python benchmarks/aggregation.py [--rows 5000000] [--save]

Events of 20,000 items in four kinds of contexts, one impression a row, written here first. DuckDB's own is the same sum into a Parquet
file, without order, without a look at bad rows and with all the memory it likes. Both run in turn, three times; the best of each counts.
Full size is --rows 100000000, which takes some 500 MB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import recbayes as rb

ROUNDS, PIECE, ITEMS = 3, 1_000_000, 20_000


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="events")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/aggregation.json too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        source = Path(home) / "events.parquet"
        write_events(source, options.rows)
        work = {
            "ours": partial(ours, source, Path(home) / "ours.parquet"),
            "duckdb": partial(theirs, source, Path(home) / "duckdb.parquet"),
        }
        seconds: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, one in work.items():
                seconds[name] = min(timed(one), seconds.get(name, np.inf))
        rows = {name: pq.read_metadata(Path(home) / f"{name}.parquet").num_rows for name in work}
    assert rows["ours"] == rows["duckdb"], rows
    figures: dict[str, Any] = {"events": options.rows, "counts": rows["ours"], **{f"{name}_seconds": s for name, s in seconds.items()}}
    figures |= {
        "ours_events_per_second": options.rows / seconds["ours"],
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    ratios = {"speed_vs_duckdb": seconds["duckdb"] / seconds["ours"]}
    line = json.dumps({"benchmark": "aggregation", "device": f"{os.cpu_count()} cores", "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "aggregation.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def write_events(path: Path, rows: int, items: int = ITEMS) -> None:
    """Events in pieces, so that any number of them fits in memory."""
    random, country = np.random.default_rng(0), np.array(["de", "fr", "it", "us"])
    schema = pa.schema([("item", pa.int32()), ("country", pa.string()), ("click", pa.int8()), ("seen_at", pa.int64())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, PIECE):
            size = min(PIECE, rows - start)
            item = (items * random.random(size) ** 2).astype(np.int32)
            click = (random.random(size) < 0.05).astype(np.int8)
            columns = [item, country[random.integers(0, 4, size)], click, start + np.arange(size)]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=122_880)


def ours(source: Path, out: Path) -> None:
    """Counts in order, bad rows looked for, written beside and renamed."""
    rb.aggregate(source, out, clicks="click", item="item", time="seen_at", features=["country"])


def theirs(source: Path, out: Path) -> None:
    """The grouped sum alone."""
    sums = "sum(click) AS click, count(*) AS impressions, min(seen_at) AS seen_at"
    query = f"SELECT item, country, {sums} FROM '{source}' GROUP BY item, country"
    with duckdb.connect() as database:
        database.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet)")


def timed(work: Callable[[], None]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
