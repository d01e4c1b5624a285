"""Simulate on a test bed: a world that needs no log, and so no part of it to choose a policy on."""

from __future__ import annotations

import json
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.players import player
from recbayes.run_folder import RunFolder


def check(config: Config) -> None:
    """A world that can be built."""
    assert config.simulate is not None
    config.simulate.world.build()


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes simulation.parquet and simulation.json; `chosen` is the policy that earned the most in these replicas."""
    section = config.simulate
    assert section is not None
    policies = [player(config, policy, None, None) for policy in section.policies]
    with console.progress("replaying") as progress:
        given = {"seeds": section.seeds, "seed": config.seed, "progress": progress, "checkpoint": folder.checkpoints / "test"}
        result = rb.replay(section.world.build(), policies, **given, **config.runtime.model_dump())
    result.rows.to_parquet(folder.output("simulation.parquet"))
    figures = result.to_json()
    folder.output("simulation.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    regret = figures["policies"][result.best].get("regret_over_uniform")
    how = "" if regret is None else f"; {regret:.2%} of uniform's regret"
    return {"says": f"{result.best} earned the most{how}", "chosen": result.best, "regret_over_uniform": regret}
