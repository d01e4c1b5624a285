"""The stages of a run, each a short recipe over the library: a config in, files in the run folder out.

A stage is a file here with `wanted(config)` (is it part of a whole run?), `needs(config)` (stages it reads), `READS` (the config's
sections it depends on), `check(config)` (the user's mistakes, before anything is written) and `run(config, folder, console)`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from types import ModuleType

_STAGES = {
    "audit": "What is wrong with the log, with counts and row numbers.",
    "train": "Fit the click model and hold it against the test rows.",
    "simulate": "Replay the policies over the test groups.",
    "compare": "Hold posteriors against each other: right, sure and dear.",
    "evaluate": "Judge policies from logged propensities.",
    "export": "Write the SavedModel that decides.",
    "report": "Write the one-page report.",
}


def stages() -> dict[str, str]:
    """What each stage does, in the order of a run."""
    present = {entry.name for entry in files("recbayes.pipelines").iterdir()}
    return {stage: what for stage, what in _STAGES.items() if f"{stage}.py" in present}


def recipe(stage: str) -> ModuleType:
    """A stage's file, imported."""
    return import_module(f"recbayes.pipelines.{stage}")
