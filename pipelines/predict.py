"""Predict: mean and uncertainty of the click rate of each row of a file, streamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import recbayes as rb
from recbayes.console import Console
from recbayes.log.source import open_source
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

CHUNK = 2048


def run(run_folder: Path, rows: Path, out: Path, *, console: Console) -> dict[str, Any]:
    """Writes OUT.parquet: the rows' columns, and mean, data_stddev, model_stddev, stddev, lower, upper (90%) of the click rate.

    Raises: UserError if the run holds no model, or the rows lack a feature's column.
    """
    fitted = rb.load(RunFolder.read(run_folder).path / "model")
    source = open_source(rows)
    names = [feature.name for feature in fitted.encoder.features]
    missing = [name for name in names if name not in source.schema.names]
    if missing:
        raise UserError(
            f"{rows}: lacks {', '.join(missing)}, which the model of {run_folder} reads. It has: {', '.join(source.schema.names)}."
        )
    beside = out.with_name(f".{out.name}.part")
    done, writer = 0, None
    try:
        with console.progress("predicting") as progress:
            for batch in source.batches(source.schema.names):
                for start in range(0, batch.table.num_rows, CHUNK):
                    part = predicted(fitted, batch.table.slice(start, CHUNK), names)
                    writer = writer or pq.ParquetWriter(beside, part.schema)
                    writer.write_table(part)
                    done += part.num_rows
                    progress(done, source.rows)
    finally:
        if writer is not None:
            writer.close()
    if not done:
        raise UserError(f"{rows}: no rows in it, so there is nothing to predict.")
    os.replace(beside, out)
    return {"says": f"{done:,} rows in {out}", "rows": done, "out": str(out)}


def predicted(fitted: Any, table: Any, names: list[str]) -> Any:
    """Some rows with their predictions."""
    predictive = fitted.predict({name: table.column(name) for name in names})
    data_stddev, model_stddev = predictive.split()
    figures = {
        "mean": predictive.mean,
        "data_stddev": data_stddev,
        "model_stddev": model_stddev,
        "stddev": predictive.stddev,
        "lower": predictive.quantile(0.05),
        "upper": predictive.quantile(0.95),
    }
    for name, values in figures.items():
        taken = name if name not in table.column_names else f"predicted_{name}"
        table = table.append_column(taken, pa.array(np.asarray(values, np.float64)[:, 0]))
    return table
