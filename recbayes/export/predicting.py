"""`predict`: click rates of every row of a Parquet file, streamed, from features alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from recbayes.export.schema import OUTPUTS
from recbayes.export.scorer import Scorer
from recbayes.types import UserError

COLUMNS = tuple(OUTPUTS["click_rate"])


def predict(
    source: Any,
    rows: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    batch_rows: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the rows with mean, data_stddev, model_stddev, stddev, lower and upper of their click rates beside them.

    Order and columns are kept; memory does not depend on the number of rows; the file appears when it is whole.

    Args:
      source: a fitted model, or a run folder.
      rows: a Parquet file with the columns of the model's features.
      out: where to write.
      batch_rows: rows at a time.
      progress: called after each batch with (rows done, rows in all).

    Returns: the number of rows.
    Raises: UserError if a file or a column is missing or of a wrong type, or a column has the name of a prediction.

    >>> predict("runs/quickstart", "rows.parquet", "predictions.parquet")  # doctest: +SKIP
    17860
    >>> predict(None, "nowhere.parquet", "predictions.parquet")
    Traceback (most recent call last):
    recbayes.types.UserError: nowhere.parquet: no such file
    """
    file, target, done = _open(Path(rows)), Path(out), 0
    if not target.parent.is_dir() or target.is_dir():
        what = "is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise UserError(f"{out}: {what}. Name a file to write, in a folder that is there")
    clash = sorted(set(COLUMNS) & set(file.schema_arrow.names))
    if clash:
        raise UserError(f"{rows}: has columns {', '.join(clash)}, the names of predictions. Rename or drop them")
    score = scorer(source)
    schema = pa.schema([*file.schema_arrow, *(pa.field(name, pa.float32()) for name in COLUMNS)])
    descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(descriptor)
    try:
        with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
            for table in _batches(file, batch_rows):
                predicted = score(table)
                for name in COLUMNS:
                    table = table.append_column(pa.field(name, pa.float32()), pa.array(predicted[name]))
                writer.write_table(table)
                done += len(table)
                if progress is not None:
                    progress(done, file.metadata.num_rows)
        os.chmod(beside, 0o644)
        os.replace(beside, target)
    finally:
        Path(beside).unlink(missing_ok=True)
    return done


def scorer(source: Any) -> Callable[[Any], dict[str, np.ndarray]]:
    """Columns -> click rates as NumPy arrays, by the graph that the export serves."""
    fitted = source
    if isinstance(source, str | os.PathLike):
        from recbayes.fitted import load

        fitted = load(Path(source) / "model")
    served = Scorer(fitted)
    function = served.functions()["click_rate"]
    names = {entry.feature: entry for entry in served.inputs["click_rate"] if entry.feature}

    def score(columns: Any) -> dict[str, np.ndarray]:
        raw = served.encoder.raw(columns)
        none = tf.zeros([len(next(iter(raw.values())))], tf.int64)
        features = {names[feature].name: tf.constant(value, names[feature].dtype) for feature, value in raw.items()}
        return {name: value.numpy() for name, value in function(**features, clicks=none, impressions=none).items()}

    return score


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file that can be read ({error})") from error


def _batches(file: pq.ParquetFile, size: int) -> Iterator[pa.Table]:
    for batch in file.iter_batches(size):
        yield pa.Table.from_batches([batch], file.schema_arrow)
