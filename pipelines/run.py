"""Run: the stages that a config asks for, in order, each only if its inputs have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from recbayes.config import Config
from recbayes.console import Console
from recbayes.log.source import fingerprint
from recbayes.pipelines import recipe, stages
from recbayes.pipelines.engines import engine
from recbayes.pipelines.records import inputs, resolved
from recbayes.run_folder import RunFolder
from recbayes.runtime import start


def run_stages(config: Config, out: Path, until: str, console: Console) -> dict[str, Any]:
    """Brings a run folder up to date with a config, up to a stage; what is right already stays.

    The user's mistakes are looked for in all stages that will run before anything is written.

    Raises: UserError for those.
    """
    table = config.simulate.world.settings.get("table") if config.simulate else None
    data = {
        name: fingerprint(path) for name, path in {"log": config.log.path, "test": config.log.test_path, "table": table}.items() if path
    }
    plan = planned(config, until)
    known = RunFolder.read(out) if out.exists() else None
    todo = stale(plan, config, data, known)
    if not {"audit", "report"}.issuperset(todo):
        start(config.runtime.device)
    summaries: dict[str, Any] = {}
    with ExitStack() as left:
        left.enter_context(closing(engine(config)))
        checked = {stage: seconds(recipe(stage).check, config) for stage in todo}
        folder = left.enter_context(RunFolder.open(out))
        for stage in plan:
            depends = inputs(stage, config, data, folder)
            fresh = folder.is_fresh(stage, depends)
            if not fresh:
                also = {"config.yaml": resolved(config, data)}
                with folder.stage(stage, depends, also=also, spent=checked.get(stage, 0.0)) as summary:
                    summary |= recipe(stage).run(config, folder, console)
            record = folder.stages[stage]
            console.say(f"{stage:<9}" + ("up to date" if fresh else f"{record['summary']['says']} ({record['seconds']:.1f} s)"))
            summaries[stage] = {"skipped": fresh, "seconds": record["seconds"], **record["summary"]}
    return {"out": str(out), "stages": summaries}


def seconds(work: Callable[[Config], None], config: Config) -> float:
    """How long some work takes."""
    begin = time.monotonic()
    work(config)
    return time.monotonic() - begin


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
