"""Simulate: choose a policy by replay on the newest training groups, then replay all policies on the test groups."""

from __future__ import annotations

import json
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines import testbed
from recbayes.pipelines.audit import check_passed
from recbayes.pipelines.choosing import choose, newest, replay
from recbayes.pipelines.costing import check_plan, costs
from recbayes.pipelines.inputs import logs
from recbayes.pipelines.players import alone, controls, needs_model, world
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

READS = ("log", "features", "calibration", "model", "density", "posterior", "train", "simulate", "seed")


def wanted(config: Config) -> bool:
    """Where the config has the section."""
    return config.simulate is not None


def needs(config: Config) -> tuple[str, ...]:
    """The trained model, if a policy's learner starts from it; nothing for a test bed."""
    if alone(config):
        return ()
    return ("audit", "train") if needs_model(config) else ("audit",)


def check(config: Config) -> None:
    """Groups with two or more arms in both parts that are replayed."""
    if config.simulate is None:
        mend = "`recbayes cp quickstart FILE` writes one to start from; to export without it, name the policy: export.policy={kind: ucb}"
        raise UserError(f"simulate: the config has no such section. {mend}")
    if alone(config):
        testbed.check(config)
        return
    check_passed(config)
    train, test = logs(config)
    check_plan(config, test)
    for part in () if config.simulate.world.of_model else (newest(config, train)[1], test):
        world(config, part)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes simulation.parquet and simulation.json; `chosen` is the policy that was best on the newest training groups."""
    assert config.simulate is not None
    if alone(config):
        return testbed.run(config, folder, console)
    train, test = logs(config)
    chosen, choice, record = choose(config, train, folder, console)
    held, played = controls(config, choice, chosen), choice.policies
    model = rb.load(folder.path / "model") if needs_model(config) else None
    given = {"policies": played, "controls": held, "checkpoint": folder.checkpoints / "test"}
    result = replay(config, train, test, model, console.progress("replaying"), seeds=config.simulate.seeds, **given)
    result.rows.to_parquet(folder.output("simulation.parquet"))
    plan = costs(config, result, train, test, model, chosen, console)
    figures = result.to_json() | {"chosen": chosen, "choice": record, "plan": plan}
    folder.output("simulation.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    found = figures["policies"][chosen]
    lift, doubt = found["lift_over_uniform"], f" ({found['verdict']}: {found['reason']})" if found.get("reason") else ""
    gain = "uniform earns nothing to be held against" if lift is None else f"{lift:+.1%} clicks over uniform on the test groups"
    told = [f"{chosen} chosen; {gain}{doubt}", *(c["says"] for c in figures["controls"].values()), *([plan["says"]] if plan else [])]
    return {"says": "\n".join(told), "chosen": chosen, "lift_over_uniform": lift}
