"""Train: the click model, fitted on the training rows (in memory, or in a stream) and held against the test rows."""

from __future__ import annotations

import json
from functools import partial
from importlib import import_module
from typing import Any

import pandas as pd

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.audit import check_passed
from recbayes.pipelines.engines import trainers
from recbayes.pipelines.fits import fit, fit_briefly
from recbayes.pipelines.inputs import features, logs, must_be_whole, of_rows, training_rows
from recbayes.run_folder import RunFolder

READS = ("log", "features", "model", "density", "posterior", "train", "calibration", "findings", "seed")


def wanted(config: Config) -> bool:
    """A model needs features."""
    return bool(config.features)


def needs(config: Config) -> tuple[str, ...]:
    """The log as the audit saw it."""
    return ("audit",)


def check(config: Config) -> None:
    """Features, settings that make a model, and a log that is fit to learn from."""
    features(config)
    config.density.build(), config.posterior.build(), config.model.build()
    trainers(config)
    if config.train.recalibrate:
        must_be_whole(config, "train.recalibrate")
    if config.posterior.kind in import_module("recbayes.fitted").IN_MEMORY:
        must_be_whole(config, f"posterior {config.posterior.kind}")
    check_passed(config)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes model/, training.csv, predictions.parquet, calibration.json and findings.json."""
    train, test = logs(config)
    if config.log.stream:
        console.say(f"note     baselines and findings look at {len(train):,} rows{of_rows(config)}; the model is trained on all")
    fitted = fit(config, training_rows(config), folder.checkpoints, console)
    for warning in fitted.warnings:
        console.say(f"warning  {warning}")
    fitted.save(folder.output("model"))
    pd.DataFrame(fitted.history).to_csv(folder.output("training.csv"), index=False)
    calibration, predictions = rb.calibrate(fitted, train, test, seed=config.seed, by=config.calibration.by)
    predictions.to_parquet(folder.output("predictions.parquet"))
    folder.output("calibration.json").write_text(json.dumps(calibration, indent=2), encoding="utf-8")
    asked = config.findings
    refit = partial(fit_briefly, config, console=console) if asked.leave_out else None
    found = rb.findings(fitted, train, test, predictions, refit=refit, rare=asked.rare, seed=config.seed)
    folder.output("findings.json").write_text(json.dumps(found, indent=2, ensure_ascii=False), encoding="utf-8")
    held_out, coverage = calibration["log_likelihood_per_row"], calibration["coverage"]["0.9"]
    says = f"log-likelihood {held_out:.3f} a test row; 90% intervals hold {coverage:.1%} of test counts"
    figures = {"log_likelihood_per_row": held_out, "coverage": calibration["coverage"], "epochs": len(fitted.history)}
    return {"says": says, **figures, "warnings": fitted.warnings}
