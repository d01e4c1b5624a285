"""Check: the export against its known answers and the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.console import Console
from recbayes.run_folder import RunFolder
from recbayes.types import UserError


def run(run_folder: Path, *, console: Console) -> dict[str, Any]:
    """Raises: UserError if the run has no export; an error that names the difference if an answer is not what it was."""
    folder = RunFolder.read(run_folder)
    if not (folder.path / "export").is_dir():
        raise UserError(f"{folder.path}: no export in it. `recbayes export CONFIG --out {folder.path}` makes it.")
    checked = rb.check(folder.path / "export", fitted=rb.load(folder.path / "model"))
    return {"says": f"{folder.path / 'export'}: answers as it should", **checked}
