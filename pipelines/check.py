"""Check: the export against its known answers and the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.console import Console
from recbayes.run_folder import RunFolder
from recbayes.runtime import start


def run(run_folder: Path, *, console: Console) -> dict[str, Any]:
    """Holds the export of a run against its record.

    Raises: UserError if there is no export.
    """
    folder = RunFolder.read(run_folder)
    start()
    found = rb.check(folder.path)
    return {"says": str(found), **found.to_dict()}
