"""Monitor: a served log against the run that served it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.config import load
from recbayes.console import Console
from recbayes.pipelines.inputs import logs
from recbayes.run_folder import RunFolder
from recbayes.runtime import start


def run(run_folder: Path, rows: Path, *, console: Console) -> dict[str, Any]:
    """Writes monitor.json and monitor.html into the run folder.

    Raises: UserError if the run has no model, or the log is not in the layout of served decisions.
    """
    folder = RunFolder.read(run_folder)
    start()
    from recbayes.export.predicting import opened, scorer
    from recbayes.monitor import layout, monitor, page
    from recbayes.report import document

    table = opened(rows, ". Give the Parquet file of served decisions").read()
    layout.checked(table)
    config = load(str(folder.path / "config.yaml"), [])
    with console.progress("monitoring"):
        fitted = rb.load(folder.path / "model")
        found = monitor(table, fitted.encoder, logs(config)[0], expected=scorer(fitted)(table))
    document.write(json.dumps(found.to_dict(), indent=1), folder.path / "monitor.json")
    page.write(found, folder.path / "monitor.html", f"{folder.path.name}: served decisions")
    says = "\n".join(found.warnings) or "nothing is out of the ordinary"
    return {"says": f"{says}\n{folder.path / 'monitor.html'}", **found.to_dict()}
