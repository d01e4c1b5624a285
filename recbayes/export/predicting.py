"""`predict`: click rates of every row of a Parquet file, streamed, from features alone, resumable."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from recbayes import __version__
from recbayes.export.schema import OUTPUTS
from recbayes.export.scorer import Scorer
from recbayes.features import columns as arrow
from recbayes.log.counts import equal_rows
from recbayes.types import UserError

COLUMNS = tuple(OUTPUTS["click_rate"])
SLICE, ROUGH = 6000, 128
"""Rows in one call of the graph (of a power of two arrays crowd each other out of a cache) and of every draw; memory grows with both."""
ALL_DIFFER, UNLOOKED = 0.9, 7
"""Share of rows from which on they are taken to differ, and for how many tables to come."""
MOST_CORES, BATCH_BYTES = 8, 64_000_000
"""Batches worked on at once, and bytes of one: what memory is held grows with both."""


def predict(
    source: Any,
    rows: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    batch_rows: int = 262_144,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the rows with mean, data_stddev, model_stddev, stddev, lower and upper of their click rates beside them.

    Order and columns are kept; memory does not depend on the number of rows; the file appears when it is whole. What was predicted before a
    kill stays in a hidden folder beside it, and the same call goes on from there, on however many cores. Each core works on a batch of its
    own. Rows of a batch, and of one before it, that agree in every feature are computed once.

    Args:
      source: a fitted model, or a run folder.
      rows: a Parquet file with the columns of the model's features.
      out: where to write.
      batch_rows: rows at a time, at most.
      progress: called after each batch with (rows done, rows in all).

    Returns: the number of rows.
    Raises: UserError if a file or a column is missing or of a wrong type, a column has the name of a prediction, or another call is writing
      the same file.

    >>> predict("runs/quickstart", "rows.parquet", "predictions.parquet")  # doctest: +SKIP
    17860
    >>> predict(None, "nowhere.parquet", "predictions.parquet")
    Traceback (most recent call last):
    recbayes.types.UserError: nowhere.parquet: no such file
    """
    file, target = opened(Path(rows)), Path(out)
    if not target.parent.is_dir() or target.is_dir():
        what = "is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise UserError(f"{out}: {what}. Name a file to write, in a folder that is there")
    clash = sorted(set(COLUMNS) & set(file.schema_arrow.names))
    if clash:
        raise UserError(f"{rows}: has columns {', '.join(clash)}, the names of predictions. Rename or drop them")
    workers = _cores() + 1  # as each waits for Python's lock at times
    score, parts = scorer(source, threads=1), target.with_name(f".{target.name}-parts")
    size = batch_size(file.metadata.num_rows, _row_bytes(file), batch_rows, workers)
    with _held(parts, target):
        size = _resumable(parts, {"rows": _identity(Path(rows)), "most": batch_rows, "model": score.model}, size)
        try:
            done = _written(_predicted(file, parts, size, score, workers), file, parts / "whole", progress)
        except UserError:
            shutil.rmtree(parts)  # what can't be predicted now can't later
            raise
        os.replace(parts / "whole", target)
        shutil.rmtree(parts)
    return done


@contextmanager
def _held(parts: Path, target: Path) -> Iterator[None]:
    """Holds the folder of the parts, made if need be, by a lock that dies with its process."""
    parts.mkdir(exist_ok=True)
    descriptor = os.open(parts, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{target}: another predict is writing it. Wait for it, or name another file") from None
    finally:
        os.close(descriptor)


def _written(
    batches: Generator[tuple[pa.Table, pa.Table]], file: pq.ParquetFile, path: Path, progress: Callable[[int, int], None] | None
) -> int:
    """Rows and their predictions side by side in one file; how many."""
    schema, done = pa.schema([*file.schema_arrow, *(pa.field(name, pa.float32()) for name in COLUMNS)]), 0
    own = [file.schema.column(i).path for i in range(len(file.schema))]  # a dictionary of predictions takes more time and room than they do
    with closing(batches), pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=own) as writer:
        for rows, predicted in batches:
            for name in COLUMNS:
                rows = rows.append_column(schema.field(name), predicted[name])
            writer.write_table(rows)
            done += len(rows)
            if progress is not None:
                progress(done, file.metadata.num_rows)
    return done


def _predicted(file: pq.ParquetFile, parts: Path, size: int, score: Scored, workers: int) -> Generator[tuple[pa.Table, pa.Table]]:
    """Batches of rows in their order, each with its predictions; so many are worked on at once."""
    pool, waiting = ThreadPoolExecutor(workers), deque[tuple[pa.Table, Future[pa.Table]]]()
    try:
        for number, rows in enumerate(_batches(file, size)):
            waiting.append((rows, pool.submit(_part, parts / f"{number}.parquet", rows, score)))
            if len(waiting) > workers:
                rows, predicted = waiting.popleft()
                yield rows, predicted.result()
        for rows, predicted in waiting:
            yield rows, predicted.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _part(path: Path, table: pa.Table, score: Scored) -> pa.Table:
    """The predictions of a batch: those of the file, or made and kept there."""
    if path.exists():
        return pq.read_table(path)
    predicted = pa.table({name: pa.array(values) for name, values in score(table).items()})
    pq.write_table(predicted, path.with_suffix(".unfinished"), use_dictionary=False)
    os.replace(path.with_suffix(".unfinished"), path)
    return predicted


def batch_size(rows: int, width: float, most: int, workers: int) -> int:
    """Rows of a batch: as many for each worker, each so many times, at most `most` and so many as `BATCH_BYTES` hold.

    Args:
      rows: of the file.
      width: bytes of a row.
      most: rows of a batch.
      workers: that take batches.

    >>> batch_size(1_000_000, 50.0, 262_144, 3), batch_size(1_000_000, 2000.0, 262_144, 3), batch_size(40, 100.0, 10, 3)
    (166667, 30304, 10)
    """
    most = max(min(most, int(BATCH_BYTES / max(width, 1.0))), 1)
    rounds = math.ceil(rows / (workers * most))
    return max(math.ceil(rows / (workers * max(rounds, 1))), min(most, SLICE))


def _row_bytes(file: pq.ParquetFile) -> float:
    """Bytes of a row in memory: of the first ones, or as the file has them, which keeps equal values once; the larger."""
    about = file.metadata
    whole = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) / max(about.num_rows, 1)
    first = next(file.iter_batches(1000), None)
    return max(whole, first.nbytes / len(first) if first else 0.0)


def _resumable(parts: Path, what: dict[str, Any], size: int) -> int:
    """Keeps the parts of a killed call if it was about the same rows and model, else begins anew; rows of the parts' batches."""
    about = parts / "about.json"
    try:
        before = json.loads(about.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    if before == {**what, "size": before.get("size")}:
        return int(before["size"])
    for stale in parts.iterdir():
        stale.unlink()
    about.write_text(json.dumps({**what, "size": size}), encoding="utf-8")
    return size


def _identity(path: Path) -> list[Any]:
    """What changes when a file does."""
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]


class Scored:
    """Columns -> click rates as NumPy arrays, by the graph that the export serves. model: tells one model from another.

    Only the quick way is traced, which tracing and planning take seconds less for; the few rows that need every draw go through
    operation by operation. As many rows as the last call had are remembered, so that a log of the same rows over and over is cheap. Where
    nearly all rows differ, from each other or from those remembered, the next tables are not compared: that takes a tenth of the time.
    """

    def __init__(self, fitted: Any, threads: int | None = None) -> None:
        self._served, self._threads = Scorer(fitted), threads or _cores()
        self._encoder = self._served.encoder
        self._names = list(self._encoder.codings)
        self._texts = [feature.name for feature in self._encoder.features if feature.kind == "text"]
        places = {name: tf.TensorSpec([None], tf.int32) for name in self._texts}
        self._function = tf.function(self._quickly, autograph=False).get_concrete_function(self._encoder.signature, places)
        self._known: tuple[pa.Table, np.ndarray] | None = None
        self._unlooked = self._unkept = 0  # tables to come whose rows are taken to differ, from each other or from those before
        encoder = [(feature, self._encoder.codings[feature.name].state()) for feature in self._encoder.features]
        digest = hashlib.sha256(repr((__version__, fitted.family, getattr(fitted, "recalibration", None), encoder)).encode())
        for tensor in [*self._served.weights, *self._served.network_values, *([] if self._served.tau is None else [self._served.tau])]:
            digest.update(np.ascontiguousarray(tensor).tobytes())
        self.model = digest.hexdigest()

    def __call__(self, columns: Any) -> dict[str, np.ndarray]:
        """Of a table's rows, [N]; rows that agree in every feature are computed once, in slices. Several threads may call."""
        self._encoder.raw(columns.slice(0, 0))  # says which column is missing
        rows = columns.select(self._names)
        if self._unlooked > 0:
            self._unlooked -= 1
            return dict(zip(COLUMNS, self._answers(rows).T, strict=True))
        known, answers = self._known or (rows.slice(0, 0), np.zeros((0, len(COLUMNS)), np.float32))
        both = pa.concat_tables([known, rows])
        code, number = equal_rows(both, self._names)
        first = np.full(number, len(code), np.int64)
        np.minimum.at(first, code, np.arange(len(code)))
        distinct = both.take(pa.array(first))
        answers = np.concatenate([answers, self._answers(distinct.slice(len(known)))])
        code = code[len(known) :]
        self._unlooked = UNLOOKED if number - len(known) > ALL_DIFFER * len(rows) else 0
        differ = len(known) > 0 and np.mean(code >= len(known)) > ALL_DIFFER
        self._unkept = UNLOOKED if differ else max(self._unkept - 1, 0)
        kept = slice(max(number - len(rows), 0), None)
        self._known = None if self._unkept else (distinct.slice(kept.start), answers[kept])
        return dict(zip(COLUMNS, answers[code].T, strict=True))

    def _answers(self, rows: Any) -> np.ndarray:
        """Of rows that differ, [N, 6]."""
        number = len(rows)
        if not number:
            return np.zeros((0, len(COLUMNS)), np.float32)
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(lambda start: self._slice(rows.slice(start, SLICE)), range(0, number, SLICE)))
        answers, alike = (np.concatenate(parts) for parts in zip(*((a, b) for a, b, _ in found), strict=True))
        outputs = [tf.concat(parts, -1) for parts in zip(*(rough for _, _, rough in found), strict=True)]  # [P, S, M]
        answers[~alike] = self._by_draws(outputs)
        tf.debugging.check_numerics(answers, "click_rate: not a number")
        return answers

    def _slice(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray, tuple[Any, ...]]:
        """What `Scorer.quickly` gives of rows, [N, 6], [N] and [P, S, M]; each distinct text is read once."""
        raw, places = {}, {}
        for name, coding in self._encoder.codings.items():
            column = arrow.take(rows, name)
            if name in self._texts:
                column, where = arrow.distinct(column)
                places[name] = tf.constant(where, tf.int32)
            raw[name] = tf.constant(coding.raw(column), coding.signature.dtype)
        answers, alike, rough = self._function(raw, places)
        answers, alike = _stacked(answers), alike.numpy()
        if np.count_nonzero(~alike) < ROUGH:  # so few that they are put off until there are more
            return answers, alike, rough
        answers[~alike] = self._by_draws(rough)
        return answers, np.ones_like(alike), tuple(part[..., :0] for part in rough)

    def _by_draws(self, outputs: Sequence[Any]) -> np.ndarray:
        """Answers of rows by every draw, [M, 6], from their outputs [P, S, M]."""
        rows = outputs[0].shape[-1]
        parts = [tuple(part[..., start : start + ROUGH] for part in outputs) for start in range(0, rows, ROUGH)]
        return np.concatenate([np.zeros((0, len(COLUMNS)), np.float32), *(_stacked(self._served.by_draws(part)) for part in parts)])

    def _quickly(self, raw: Mapping[str, Any], places: Mapping[str, Any]) -> Any:
        """Of rows whose texts are given apart, with the place of each row's among them."""
        encoded = self._encoder(raw)
        return self._served.quickly({**encoded, **{name: tf.gather(encoded[name], where) for name, where in places.items()}})


def _stacked(answers: dict[str, Any]) -> np.ndarray:
    """One column an output, [N, 6]."""
    return np.stack([answers[name].numpy() for name in COLUMNS], 1)


def scorer(source: Any, threads: int | None = None) -> Scored:
    """Of a fitted model, or of a run folder's; threads: that one call takes, None: one a core."""
    if isinstance(source, str | os.PathLike):
        from recbayes.fitted import load

        return Scored(load(Path(source) / "model"), threads)
    return Scored(source, threads)


def _cores() -> int:
    return min(os.cpu_count() or 1, MOST_CORES)


def opened(path: Path, mend: str = "") -> pq.ParquetFile:
    """A Parquet file.

    Raises: UserError if there is none (`mend` says what to give), or it can't be read.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file{mend}")
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file that can be read ({error})") from error


def _batches(file: pq.ParquetFile, size: int) -> Iterator[pa.Table]:
    for batch in file.iter_batches(size):
        yield pa.Table.from_batches([batch], file.schema_arrow)
