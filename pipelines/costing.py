"""What exploring costs: the plan of the chosen policy, and how it moves with horizon and delay."""

from __future__ import annotations

import math
from typing import Any

import recbayes as rb
from recbayes import plugins
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.engines import runtime
from recbayes.pipelines.players import player, world
from recbayes.types import UserError


def check_plan(config: Config, test: Any) -> None:
    """Horizons and delays that the world takes; a world of the model, which is not there yet, says so itself.

    Raises: UserError if it takes none, or one of them is out of its range.
    """
    assert config.simulate is not None
    kind = config.simulate.world
    for change in changes(config):
        (name,) = change
        if name not in plugins.settings(kind.room, kind.kind):
            raise UserError(f"simulate.plan.{name}s: the world {kind.kind} has no {name}. Leave it out")
        if not kind.of_model:
            world(config, test, **change)


def changes(config: Config) -> list[dict[str, Any]]:
    """The other horizons and delays, one changed at a time."""
    assert config.simulate is not None
    section = config.simulate.plan
    return [*({"horizon": h} for h in section.horizons), *({"delay": d} for d in section.delays)]


def costs(config: Config, result: Any, train: Any, test: Any, model: Any, chosen: str, console: Console) -> dict[str, Any] | None:
    """The plan's figures for the chosen policy, or where greedy was chosen, for the one that was held against its control."""
    assert config.simulate is not None
    wanted = [name for name in (chosen, *result.controls) if result.baselines.get(name, name) != name]
    if not wanted:
        return None
    plan = result.plan(wanted[0])
    figures = plan.to_json(steps_a_day=config.simulate.plan.updates_a_day, steps=result.about["steps"])
    return figures | {"sensitivity": sensitivity(config, train, test, model, (plan.policy, plan.greedy), console)}


def sensitivity(config: Config, train: Any, test: Any, model: Any, names: tuple[str, str], console: Console) -> list[dict[str, Any]]:
    """The policy against greedy over other horizons and delays, one changed at a time; no lift over a greedy that earns nothing."""
    assert config.simulate is not None
    section, found = config.simulate.plan, []
    players = [player(config, policy, train, model) for policy in config.simulate.policies if policy.name in names]
    for change in changes(config):
        changed = world(config, test, model, **change)
        with console.progress(f"planning, {' '.join(f'{key} {value}' for key, value in change.items())}") as progress:
            given = {"seeds": section.seeds, "seed": config.seed, "progress": progress, **runtime(config)}
            result = rb.replay(changed, players, **given)
        lift, plan = result.compare(*names), result.plan(names[0])
        known = (None, None) if math.isnan(lift.lift) else (lift.lift, lift.interval)
        figures = {"lift_over_greedy": known[0], "interval": known[1], "worst": plan.worst, "paid_back": plan.paid_back}
        found.append({"horizon": None, "delay": None, **change, **figures})
    return found
