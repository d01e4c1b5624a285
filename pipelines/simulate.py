"""Simulate: choose a policy by replay on the newest training groups (a test bed: in other replicas), then replay all on the test groups."""

from __future__ import annotations

import json
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.audit import check_passed
from recbayes.pipelines.choosing import choose, newest, replay
from recbayes.pipelines.costing import check_plan, costs
from recbayes.pipelines.inputs import logs
from recbayes.pipelines.players import alone, check_refits, check_schedules, controls, needs_model, world
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
        check_schedules(config, world(config, None).steps)
        check_plan(config, None)
        return
    check_passed(config)
    check_refits(config)
    train, test = logs(config)
    check_plan(config, test)
    for part in () if config.simulate.world.of_model else (newest(config, train)[1], test):
        check_schedules(config, world(config, part).steps)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes simulation.parquet and simulation.json; `chosen` is the policy that was best on the newest training groups."""
    assert config.simulate is not None
    train, test = (None, None) if alone(config) else logs(config)
    model = rb.load(folder.path / "model") if needs_model(config) else None
    chosen, choice, record = choose(config, train, model, folder, console)
    held, played = controls(config, choice, chosen), choice.policies
    given = {"policies": played, "controls": held, "checkpoint": folder.checkpoints / "test"}
    result = replay(config, train, test, model, console.progress("replaying"), seeds=config.simulate.seeds, **given)
    result.rows.to_parquet(folder.output("simulation.parquet"))
    plan = costs(config, result, train, test, model, chosen, console)
    figures = result.to_json() | {"chosen": chosen, "choice": record, "plan": plan}
    folder.output("simulation.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    found = figures["policies"][chosen]
    told = [
        f"{chosen} chosen; {earned(config, found)}",
        *(c["says"] for c in figures["controls"].values()),
        *([plan["says"]] if plan else []),
    ]
    known = {key: found[key] for key in ("lift_over_uniform", "regret_over_uniform") if key in found}
    return {"says": "\n".join(told), "chosen": chosen, **known}


def earned(config: Config, found: dict[str, Any]) -> str:
    """The chosen policy's figures in words."""
    regret, lift = found.get("regret_over_uniform"), found["lift_over_uniform"]
    if alone(config) and regret is not None:
        return f"{regret:.2%} of uniform's regret"
    doubt = f" ({found['verdict']}: {found['reason']})" if found.get("reason") else ""
    return ("uniform earns nothing to be held against" if lift is None else f"{lift:+.1%} clicks over uniform on the test groups") + doubt
