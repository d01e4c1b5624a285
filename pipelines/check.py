"""Check: the export against its known answers and the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.console import Console
from recbayes.run_folder import RunFolder
from recbayes.runtime import start


def run(run_folder: Path, *, console: Console) -> dict[str, Any]:
    """Holds an export against its record: a run's, or a folder that was copied from one.

    Raises: UserError if there is no export.
    """
    folder = run_folder if (run_folder / "metadata.json").is_file() else RunFolder.read(run_folder).path
    start()
    found = rb.check(folder)
    return {"says": str(found), **found.to_dict()}
