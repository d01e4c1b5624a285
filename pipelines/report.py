"""Report: one HTML file over what the other stages found."""

from __future__ import annotations

from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines import recipe, stages
from recbayes.run_folder import RunFolder

READS = ()


def wanted(config: Config) -> bool:
    """Every run is reported."""
    return True


def needs(config: Config) -> tuple[str, ...]:
    """Every other stage that the config asks for."""
    return tuple(stage for stage in stages() if stage != "report" and recipe(stage).wanted(config))


def check(config: Config) -> None:
    """Nothing of its own."""


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes report.html."""
    rb.report(folder.path, out=folder.output("report.html"))
    return {"says": f"open {folder.path / 'report.html'} in a browser"}
