"""Simulate: choose a policy by replay on the newest training groups, then replay all policies on the test groups."""

from __future__ import annotations

import json
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines import testbed
from recbayes.pipelines.audit import check_passed
from recbayes.pipelines.costing import check_plan, costs
from recbayes.pipelines.inputs import logs
from recbayes.pipelines.players import alone, best, controls, needs_model, player, world
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


def choose(config: Config, train: Any, folder: RunFolder, console: Console) -> tuple[str, Any, dict[str, Any]]:
    """The policy that does best on the newest training groups, the replay that says so, and how it came about."""
    assert config.simulate is not None
    older, recent = newest(config, train)
    model = fit(config, older, folder.checkpoints, console) if needs_model(config) else None
    most = min(config.simulate.choose_seeds, config.simulate.seeds)
    given = {"checkpoint": folder.checkpoints / "choice"}
    if config.simulate.choose == "all":
        choice = replay(config, older, recent, model, console.progress("choosing"), seeds=most, **given)
        return best(config, choice.to_json()["policies"]), choice, choice.to_json()
    halving = halved(config, older, recent, model, console, rounds(most), **given)
    return best(config, halving.result.to_json()["policies"]), halving.result, halving.result.to_json() | {"halving": halving.to_json()}


def rounds(most: int) -> list[int]:
    """Replicas of each round of a halving, at most three rounds, the last of `most`."""
    return sorted({max(1, most // 4), max(1, most // 2), most})


def newest(config: Config, train: Any) -> tuple[Any, Any]:
    """The training log in two: to fit on, and to choose a policy on. By name it must not be the split that made it: another seed."""
    assert config.simulate is not None
    split = config.log.split
    return train.split(by=split.by, test_fraction=config.simulate.choose_fraction, follow=split.follow, seed=config.seed + 1)


def replay(config: Config, train: Any, test: Any, model: Any, bar: Any, *, policies: Any = None, **given: Any) -> Any:
    """Policies (by name, all by default) over one log's world."""
    assert config.simulate is not None
    named = [policy for policy in config.simulate.policies if policies is None or policy.name in policies]
    players = [player(config, policy, train, model) for policy in named]
    with bar as progress:
        return rb.replay(world(config, test, model), players, seed=config.seed, progress=progress, **given, **config.runtime.model_dump())


def halved(config: Config, train: Any, test: Any, model: Any, console: Console, seeds: list[int], **given: Any) -> Any:
    """All policies by successive halving; uniform, and greedy over each learner, stay to the end."""
    assert config.simulate is not None
    players = [player(config, policy, train, model) for policy in config.simulate.policies]
    with console.progress("choosing") as progress:
        given |= {"seeds": seeds, "seed": config.seed, "progress": progress, "stay": ("uniform", "greedy")}
        return rb.halve(world(config, test, model), players, **given, **config.runtime.model_dump())
