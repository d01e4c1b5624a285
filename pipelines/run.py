"""Run: the stages that a config asks for, in order, each only if its inputs have changed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from recbayes import __version__
from recbayes.config import Config
from recbayes.console import Console
from recbayes.log.source import fingerprint
from recbayes.pipelines import recipe, stages
from recbayes.run_folder import RunFolder, digest_of
from recbayes.runtime import start


def run_stages(config: Config, out: Path, until: str, console: Console) -> dict[str, Any]:
    """Brings a run folder up to date with a config, up to a stage; what is right already stays.

    The user's mistakes are looked for in all stages that will run before anything is written.

    Raises: UserError for those.
    """
    data = {name: fingerprint(path) for name, path in {"log": config.log.path, "test": config.log.test_path}.items() if path}
    plan = planned(config, until)
    known = RunFolder.read(out) if out.exists() else None
    todo = stale(plan, config, data, known)
    if not {"audit", "report"}.issuperset(todo):
        start(config.runtime.device)
    for stage in todo:
        recipe(stage).check(config)
    summaries: dict[str, Any] = {}
    with RunFolder.open(out) as folder:
        for stage in plan:
            depends = inputs(stage, config, data, folder)
            fresh = folder.is_fresh(stage, depends)
            if not fresh:
                with folder.stage(stage, depends, also={"config.yaml": resolved(config, data)}) as summary:
                    summary |= recipe(stage).run(config, folder, console)
            record = folder.stages[stage]
            console.say(f"{stage:<9}" + ("up to date" if fresh else f"{record['summary']['says']} ({record['seconds']:.1f} s)"))
            summaries[stage] = {"skipped": fresh, "seconds": record["seconds"], **record["summary"]}
    return {"out": str(out), "stages": summaries}


def planned(config: Config, until: str) -> list[str]:
    """The stages to have, in order: all that the config asks for if the report is wanted, else one and those it needs."""
    plan = {stage for stage in stages() if recipe(stage).wanted(config)} if until == "report" else {until}
    while missing := {need for stage in plan for need in recipe(stage).needs(config)} - plan:
        plan |= missing
    return [stage for stage in stages() if stage in plan]


def stale(plan: list[str], config: Config, data: Mapping[str, str], folder: RunFolder | None) -> list[str]:
    """The planned stages that will run: those not up to date, and those that need one of them."""
    found: list[str] = []
    for stage in plan:
        waits = set(recipe(stage).needs(config)) & set(found)
        if folder is None or waits or not folder.is_fresh(stage, inputs(stage, config, data, folder)):
            found.append(stage)
    return found


def inputs(stage: str, config: Config, data: Mapping[str, str], folder: RunFolder) -> dict[str, str]:
    """What a stage's files depend on: this version, the data, sections of the config, what earlier stages wrote."""
    dumped = config.model_dump(mode="json")
    sections = {f"config.{name}": digest_of(dumped[name]) for name in recipe(stage).READS}
    earlier = {need: folder.outputs_digest(need) for need in recipe(stage).needs(config) if need in folder.stages}
    return {"recbayes": __version__, **data, **sections, **earlier}


def resolved(config: Config, data: Mapping[str, str]) -> str:
    """The text of config.yaml: every setting, and under `resolved` the versions and the data's fingerprints."""
    versions = {name: version(name) for name in ("recbayes", "tensorflow", "keras", "tensorflow-probability", "numpy", "pyarrow")}
    about = {"versions": {"python": platform.python_version(), **versions}, "data": dict(data)}
    return yaml.safe_dump({**config.model_dump(mode="json"), "resolved": about}, sort_keys=False, allow_unicode=True, width=140)
