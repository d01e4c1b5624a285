"""A run folder as the report sees it: whatever stages have left there, each part possibly absent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recbayes.types import UserError


@dataclass(frozen=True)
class Run:
    """What the stages wrote; None where a stage has not run.

    config is config.yaml; audit, calibration, findings, simulation, comparison, evaluation and stages are the JSON files of these names;
    training is training.csv, predictions is predictions.parquet, curves is simulation.parquet, export is export/metadata.json.
    """

    folder: Path
    config: dict[str, Any] | None
    audit: dict[str, Any] | None
    training: pd.DataFrame | None
    predictions: pd.DataFrame | None
    calibration: dict[str, Any] | None
    findings: dict[str, Any] | None
    curves: pd.DataFrame | None
    simulation: dict[str, Any] | None
    comparison: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    export: dict[str, Any] | None
    stages: Any | None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


FILES: dict[str, tuple[str, Any]] = {
    "config": ("config.yaml", _yaml),
    "audit": ("audit.json", _json),
    "training": ("training.csv", pd.read_csv),
    "predictions": ("predictions.parquet", pd.read_parquet),
    "calibration": ("calibration.json", _json),
    "findings": ("findings.json", _json),
    "curves": ("simulation.parquet", pd.read_parquet),
    "simulation": ("simulation.json", _json),
    "comparison": ("comparison.json", _json),
    "evaluation": ("evaluation.json", _json),
    "export": ("export/metadata.json", _json),
    "stages": ("stages.json", _json),
}


def read_run(folder: Path) -> Run:
    """The parts of a run folder that are there.

    Args:
      folder: a run folder.

    Returns: the run.
    Raises: UserError if there is no such folder, or a file in it can't be read.
    """
    if not folder.is_dir():
        raise UserError(f"report: there is no run folder {folder}. Make one first: recbayes run CONFIG --out {folder}")
    return Run(folder=folder, **{part: _read(folder / name, read) for part, (name, read) in FILES.items()})


def _read(path: Path, read: Any) -> Any:
    if not path.exists():
        return None
    try:
        return read(path)
    except (ValueError, OSError, yaml.YAMLError, pd.errors.ParserError) as fault:
        raise UserError(f"report: {path} can't be read ({fault}). Remove it and run its stage again.") from fault
