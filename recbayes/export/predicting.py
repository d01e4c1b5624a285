"""`predict`: click rates of every row of a Parquet file, streamed, from features alone, resumable."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from recbayes import __version__
from recbayes.export.schema import OUTPUTS
from recbayes.export.scorer import Scorer
from recbayes.log.counts import equal_rows
from recbayes.types import UserError

COLUMNS = tuple(OUTPUTS["click_rate"])
SLICE, ROUGH = 1024, 128
"""Rows in one call of the graph, and of every draw: what one takes grows with them."""


def predict(
    source: Any,
    rows: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    batch_rows: int = 65_536,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the rows with mean, data_stddev, model_stddev, stddev, lower and upper of their click rates beside them.

    Order and columns are kept; memory does not depend on the number of rows; the file appears when it is whole. What was predicted before a
    kill stays in a hidden folder beside it, and the same call goes on from there. Rows of a batch, and of the one before it, that
    agree in every feature are computed once.

    Args:
      source: a fitted model, or a run folder.
      rows: a Parquet file with the columns of the model's features.
      out: where to write.
      batch_rows: rows at a time.
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
    score, parts = scorer(source), target.with_name(f".{target.name}-parts")
    with _held(parts, target):
        _resumable(parts, {"rows": _identity(Path(rows)), "batch_rows": batch_rows, "model": score.model})
        try:
            done = _parts(file, parts, score, batch_rows, progress)
        except UserError:
            shutil.rmtree(parts)  # what can't be predicted now can't later
            raise
        _assemble(file, parts, target, batch_rows)
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


def _parts(file: pq.ParquetFile, parts: Path, score: Scored, batch_rows: int, progress: Callable[[int, int], None] | None) -> int:
    """The predictions of each batch, a file each, those that are there left out."""
    done = 0
    for number, table in enumerate(_batches(file, batch_rows)):
        part = parts / f"{number}.parquet"
        if not part.exists():
            predicted = score(table)
            pq.write_table(pa.table({name: pa.array(predicted[name]) for name in COLUMNS}), parts / "unfinished")
            os.replace(parts / "unfinished", part)
        done += len(table)
        if progress is not None:
            progress(done, file.metadata.num_rows)
    return done


def _assemble(file: pq.ParquetFile, parts: Path, target: Path, batch_rows: int) -> None:
    """Rows and predictions into one file, which appears when it is whole."""
    schema = pa.schema([*file.schema_arrow, *(pa.field(name, pa.float32()) for name in COLUMNS)])
    with pq.ParquetWriter(parts / "whole", schema, compression="zstd", compression_level=1) as writer:
        for number, table in enumerate(_batches(file, batch_rows)):
            predicted = pq.read_table(parts / f"{number}.parquet")
            for name in COLUMNS:
                table = table.append_column(pa.field(name, pa.float32()), predicted[name])
            writer.write_table(table)
    os.replace(parts / "whole", target)


def _resumable(parts: Path, what: dict[str, Any]) -> None:
    """Keeps the parts of a killed call if it was about the same rows and model, else begins anew."""
    about, text = parts / "about.json", json.dumps(what)
    if about.is_file() and about.read_text(encoding="utf-8") == text:
        return
    for stale in parts.iterdir():
        stale.unlink()
    about.write_text(text, encoding="utf-8")


def _identity(path: Path) -> list[Any]:
    """What changes when a file does."""
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]


class Scored:
    """Columns -> click rates as NumPy arrays, by the graph that the export serves. model: tells one model from another.

    Only the quick way is traced, which tracing and planning take seconds less for; the few rows that need every draw go through
    operation by operation. As many rows as the last call had are remembered, so that a log of the same rows over and over is cheap.
    """

    def __init__(self, fitted: Any) -> None:
        self._served = Scorer(fitted)
        self._encoder, declared = self._served.encoder, self._served.inputs["click_rate"]
        self._function = tf.function(self._served.quickly, autograph=False).get_concrete_function(**{e.name: e.spec for e in declared})
        self._names = {entry.feature: entry for entry in declared if entry.feature}
        self._known: tuple[pa.Table, np.ndarray] | None = None
        encoder = [(feature, self._encoder.codings[feature.name].state()) for feature in self._encoder.features]
        digest = hashlib.sha256(repr((__version__, fitted.family, getattr(fitted, "recalibration", None), encoder)).encode())
        for tensor in [*self._served.weights, *self._served.network_values, *([] if self._served.tau is None else [self._served.tau])]:
            digest.update(np.ascontiguousarray(tensor).tobytes())
        self.model = digest.hexdigest()

    def __call__(self, columns: Any) -> dict[str, np.ndarray]:
        """Of a table's rows, [N]; rows that agree in every feature are computed once, in slices on all cores."""
        self._encoder.raw(columns.slice(0, 0))  # says which column is missing
        rows = columns.select(list(self._names))
        known, answers = self._known or (rows.slice(0, 0), np.zeros((0, len(COLUMNS)), np.float32))
        both = pa.concat_tables([known, rows])
        code, number = equal_rows(both, list(self._names))
        first = np.full(number, len(code), np.int64)
        np.minimum.at(first, code, np.arange(len(code)))
        distinct = both.take(pa.array(first))
        answers = np.concatenate([answers, self._answers(distinct.slice(len(known)))])
        kept = slice(max(number - len(rows), 0), None)
        self._known = distinct.slice(kept.start), answers[kept]
        return dict(zip(COLUMNS, answers[code[len(known) :]].T, strict=True))

    def _answers(self, rows: Any) -> np.ndarray:
        """Of rows that differ, [N, 6]."""
        number = len(rows)
        if not number:
            return np.zeros((0, len(COLUMNS)), np.float32)
        raw = self._encoder.raw(rows)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            found = list(pool.map(lambda start: self._slice(raw, start, number), range(0, number, SLICE)))
        answers, alike = (np.concatenate(parts) for parts in zip(*found, strict=True))
        rough = np.flatnonzero(~alike)
        for start in range(0, len(rough), ROUGH):
            some = rough[start : start + ROUGH]
            answers[some] = _stacked(self._served.by_draws(**self._inputs({name: value[some] for name, value in raw.items()}, len(some))))
        tf.debugging.check_numerics(answers, "click_rate: not a number")
        return answers

    def _slice(self, raw: dict[str, np.ndarray], start: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        stop = min(start + SLICE, number)
        answers, alike = self._function(**self._inputs({name: value[start:stop] for name, value in raw.items()}, stop - start))
        return _stacked(answers), alike.numpy()

    def _inputs(self, raw: dict[str, np.ndarray], count: int) -> dict[str, Any]:
        none = tf.zeros([count], tf.int64)
        features = {self._names[name].name: tf.constant(value, self._names[name].dtype) for name, value in raw.items()}
        return {**features, "clicks": none, "impressions": none}


def _stacked(answers: dict[str, Any]) -> np.ndarray:
    """One column an output, [N, 6]."""
    return np.stack([answers[name].numpy() for name in COLUMNS], 1)


def scorer(source: Any) -> Scored:
    """Of a fitted model, or of a run folder's."""
    if isinstance(source, str | os.PathLike):
        from recbayes.fitted import load

        return Scored(load(Path(source) / "model"))
    return Scored(source)


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
