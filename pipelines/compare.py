"""Compare: every posterior on the same rows and the same network; what each is worth, how right it is, what it costs."""

from __future__ import annotations

import json
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.audit import check_passed
from recbayes.pipelines.contest import check_section, problems, replay, section_of
from recbayes.pipelines.engines import engine
from recbayes.pipelines.inputs import features
from recbayes.run_folder import RunFolder

READS = ("log", "features", "model", "density", "train", "compare", "simulate", "seed")


def wanted(config: Config) -> bool:
    """Where the config has the section."""
    return config.compare is not None


def needs(config: Config) -> tuple[str, ...]:
    """The log as the audit saw it."""
    return ("audit",)


def check(config: Config) -> None:
    """Features, a log that is fit to learn from, and what the section names."""
    features(config)
    check_passed(config)
    check_section(config)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes comparison.json and comparison.parquet."""
    problem, small = problems(config)
    methods = {contender.name: contender.build() for contender in section_of(config).contenders()}
    with console.progress("comparing") as progress:
        given = {"replay": replay(config), "checkpoint": folder.checkpoints, "progress": progress, "engine": engine(config)}
        found = rb.compare(problem, methods, small=small, **given)
    found.frame().to_parquet(folder.output("comparison.parquet"))
    folder.output("comparison.json").write_text(json.dumps(found.to_json(), indent=2), encoding="utf-8")
    return {"says": found.finding(), "best": found.best}
