"""Predict: mean and uncertainty of the click rate of each row of a file, streamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recbayes.console import Console
from recbayes.run_folder import RunFolder
from recbayes.runtime import start


def run(run_folder: Path, rows: Path, out: Path, *, console: Console) -> dict[str, Any]:
    """Writes OUT.parquet: the rows with mean, data_stddev, model_stddev, stddev, lower and upper of their click rates."""
    folder = RunFolder.read(run_folder)
    start(threads=1, calls=os.cpu_count())  # a batch a core: no operation is shared out
    from recbayes.export import predict

    with console.progress("predicting") as progress:
        done = predict(folder.path, rows, out, progress=progress)
    return {"says": f"{done:,} rows in {out}", "rows": done, "out": str(out)}
