"""Parquet to batches: rows a second, and memory, on a click layout of 13 numbers and 26 categories, for two sizes of the same log.

    python benchmarks/stream.py [--rows 500000,2000000] [--fit-rows 1000000] [--save]

The log is made here: numbers with a long tail and a tenth of nulls, categories as hashes of 32 bits, from 10 to 100,000 of them a
column, row groups of 122,880 rows, eight to a file. A larger log is a folder of links to that file, so that 100 million rows take no disk.
Each size has a process of its own, which fits the encoder (to the first --fit-rows rows; 0: all) and then goes through one epoch in
shuffled batches of 4,096 rows. Its peak is that of the whole process, TensorFlow and all.
In the same process, for comparison: what Python weighed
before it began; pyarrow reading the same columns in as many threads and doing nothing with them, the floor; encoding rows that are in
memory, on one core; and the straightforward way: pyarrow reads batches and the encoder's TensorFlow operations code them, as of a log in
memory.
Full size is --rows 10000000,100000000.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # as the command line has it

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import recbayes as rb

NUMBERS, CATEGORIES, GROUP, BLOCKS, BATCH = 13, 26, 122_880, 8, 4096
SIZES = np.geomspace(10, 100_000, CATEGORIES).astype(int)


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="500000,2000000", help="two sizes")
    parser.add_argument("--fit-rows", type=int, default=1_000_000, help="rows that the encoder is fitted to, about; 0: all")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/stream.json too")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(Path(options.measure), options.fit_rows)))
        return
    small, large = (in_a_process(int(rows), options.fit_rows) for rows in options.rows.split(","))
    figures = {f"{name}_{size}": value for size, found in (("small", small), ("large", large)) for name, value in found.items()}
    ratios = {
        "encoded_vs_tensorflow": large["rows_per_second"] / large["tensorflow_rows_per_second"],
        "encoded_vs_reading_alone": large["rows_per_second"] / large["reading_alone_rows_per_second"],
        "memory_small_vs_large": small["peak_gb"] / large["peak_gb"],
    }
    line = json.dumps({"benchmark": "stream", "device": f"{os.cpu_count()} cores", "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "stream.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def in_a_process(rows: int, fit_rows: int) -> dict[str, float]:
    """A size's figures."""
    with tempfile.TemporaryDirectory() as home:
        write_clicks(Path(home), rows)
        command = [sys.executable, __file__, "--measure", home, "--fit-rows", str(fit_rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def columns() -> list[Any]:
    """The features."""
    return [rb.numeric(f"n{i}", log1p=True) for i in range(NUMBERS)] + [rb.categorical(f"c{i}") for i in range(CATEGORIES)]


def write_clicks(home: Path, rows: int) -> None:
    """The log: a few blocks of random rows, as often as it takes."""
    random = np.random.default_rng(0)
    names = [random.integers(-(2**31), 2**31, size).astype(np.int32) for size in SIZES]
    blocks, first = min(BLOCKS, -(-rows // GROUP)), home / "00000.parquet"
    with pq.ParquetWriter(first, block(random, names).schema, compression="snappy") as writer:
        for _ in range(blocks):
            writer.write_table(block(random, names), row_group_size=GROUP)
    for number in range(1, -(-rows // (blocks * GROUP))):
        os.link(first, home / f"{number:05d}.parquet")


def block(random: Any, names: list[Any]) -> Any:
    """A row group's rows."""
    table = {"click": pa.array((random.random(GROUP) < 0.03).astype(np.int8))}
    for i in range(NUMBERS):
        table[f"n{i}"] = pa.array(np.floor(random.lognormal(2, 2, GROUP)), pa.int32(), mask=random.random(GROUP) < 0.1)
    for i, values in enumerate(names):
        table[f"c{i}"] = values[(len(values) * random.random(GROUP) ** 3).astype(np.int32)]
    return pa.table(table)


def measured(path: Path, fit_rows: int) -> dict[str, float]:
    """Figures of one log in this process."""
    from recbayes.features import Encoder
    from recbayes.log.pieces import pieces, read, source_of
    from recbayes.log.stream import stream_log
    from recbayes.streamed import THREADS, Streamed
    from recbayes.training import Schedule

    names, before = [feature.name for feature in columns()], peak_gb()
    stream = stream_log(path, clicks="click", features=names)
    parts, source = pieces(stream, None), source_of(stream)
    fitted = [part for part in parts if part.row < (fit_rows or stream.rows)]
    start = time.perf_counter()
    encoder = Encoder.fit_parts(
        columns(), lambda name: (c for p in fitted for c in read(source, p, (), [name]).column(name).chunks), threads=os.cpu_count() or 1
    )
    figures: dict[str, float] = {"fit_rows_per_second": sum(p.stop - p.start for p in fitted) / (time.perf_counter() - start)}
    figures |= {"import_gb": before, "fit_peak_gb": peak_gb()}
    feed = Streamed(stream, tuple(parts), encoder, None)
    start, rows = time.perf_counter(), 0
    for batch, _ in feed.epoch(Schedule(batch_size=BATCH, oov_share=0.0), 0, (0, 0)):
        rows += len(batch.clicks)
    figures |= {"rows": rows, "rows_per_second": rows / (time.perf_counter() - start), "peak_gb": peak_gb()}
    some = parts[: 10 * BLOCKS]
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda part: len(read(source, part, (), names)), some))
    figures["reading_alone_rows_per_second"] = sum(p.stop - p.start for p in some) / (time.perf_counter() - start)
    table = read(source, parts[0], (), names)
    start = time.perf_counter()
    encoder.codes(table)
    figures["encoding_alone_rows_per_second_a_core"] = len(table) / (time.perf_counter() - start)
    start = time.perf_counter()
    table = read(source, parts[0], (), names)
    encoder(encoder.raw(table))
    return figures | {"tensorflow_rows_per_second": len(table) / (time.perf_counter() - start)}


def peak_gb() -> float:
    """This process's largest size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
