"""Simulate: choose a policy by replay on the newest training groups, then replay all policies on the test groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines import testbed
from recbayes.pipelines.audit import check_passed
from recbayes.pipelines.inputs import logs
from recbayes.pipelines.players import alone, best, needs_model, player, world
from recbayes.pipelines.train import fit
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
    for part in (newest(config, train)[1], test):
        world(config, part)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes simulation.parquet and simulation.json; `chosen` is the policy that was best on the newest training groups."""
    assert config.simulate is not None
    if alone(config):
        return testbed.run(config, folder, console)
    train, test = logs(config)
    older, recent = newest(config, train)
    model = fit(config, older, folder.checkpoints, console) if needs_model(config) else None
    choose_seeds = min(config.simulate.choose_seeds, config.simulate.seeds)
    choice = replay(config, older, recent, model, choose_seeds, folder.checkpoints / "choice", "choosing", console)
    chosen = best(config, choice.to_json()["policies"])
    model = rb.load(folder.path / "model") if needs_model(config) else None
    result = replay(config, train, test, model, config.simulate.seeds, folder.checkpoints / "test", "replaying", console)
    result.rows.to_parquet(folder.output("simulation.parquet"))
    figures = result.to_json() | {"chosen": chosen, "choice": choice.to_json()}
    folder.output("simulation.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    record = figures["policies"][chosen]
    lift, doubt = record["lift_over_uniform"], f" ({record['verdict']}: {record['reason']})" if record.get("reason") else ""
    gain = "uniform earns nothing to be held against" if lift is None else f"{lift:+.1%} clicks over uniform on the test groups"
    return {"says": f"{chosen} chosen; {gain}{doubt}", "chosen": chosen, "lift_over_uniform": lift}


def newest(config: Config, train: Any) -> tuple[Any, Any]:
    """The training log in two: to fit on, and to choose a policy on. By name it must not be the split that made it: another seed."""
    assert config.simulate is not None
    split = config.log.split
    return train.split(by=split.by, test_fraction=config.simulate.choose_fraction, follow=split.follow, seed=config.seed + 1)


def replay(config: Config, train: Any, test: Any, model: Any, seeds: int, checkpoint: Path, label: str, console: Console) -> Any:
    """All policies over one log's world."""
    section = config.simulate
    assert section is not None
    policies = [player(config, policy, train, model) for policy in section.policies]
    with console.progress(label) as progress:
        given = {"seeds": seeds, "seed": config.seed, "progress": progress, "checkpoint": checkpoint}
        return rb.replay(world(config, test), policies, **given, **config.runtime.model_dump())
