"""Export: the policy as a SavedModel that decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.config import Config, Export, Policy
from recbayes.console import Console
from recbayes.pipelines.inputs import logs
from recbayes.pipelines.players import served, served_clock
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

READS = ("log", "features", "simulate", "export", "seed")


def wanted(config: Config) -> bool:
    """Where the config has the section."""
    return config.export is not None


def needs(config: Config) -> tuple[str, ...]:
    """The trained model; the replay where it chooses."""
    return ("train", "simulate") if policy_named(config) == "chosen" else ("train",)


def check(config: Config) -> None:
    """A policy that can be served."""
    check_named(config, policy_named(config))


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes export/."""
    policy = named_policy(config, folder, policy_named(config))
    write(config, folder, policy, folder.output("export"))
    return {"says": f"{policy.name} in export/1, described in export/metadata.json", "policy": policy.name}


def write(config: Config, folder: RunFolder, policy: Policy, target: Path) -> None:
    """Exports a policy over the trained model."""
    test = logs(config)[1]
    some = test.take(range(min(15, len(test))))
    rb.export(
        rb.load(folder.path / "model"),
        policy.build(name=policy.name),
        target,
        metadata={"held_out": folder.stages["train"]["summary"], "config": config.model_dump(mode="json")},
        rows={feature.name: some.column(feature.name) for feature in config.features},
        seed=config.seed,
        floor=(config.export or Export()).floor,
        **(served_clock(folder) if "simulate" in needs(config) else {}),
    )


def named_policy(config: Config, folder: RunFolder, named: str | Policy) -> Policy:
    """A policy by what the config calls it; `chosen` is the replay's."""
    if named == "chosen":
        named = json.loads((folder.path / "simulation.json").read_text(encoding="utf-8"))["chosen"]
    return named if isinstance(named, Policy) else simulated(config, named)


def check_named(config: Config, named: str | Policy, key: str = "export.policy") -> None:
    """Raises UserError unless a policy can be served."""
    if named == "chosen":
        if not served(config):
            raise UserError(f"{key}: chosen, but no simulated policy is over the model. Add one, or name one here: {{kind: ucb}}")
        return
    policy = named if isinstance(named, Policy) else simulated(config, named, key)
    if policy.learner is not None and not policy.learner.of_model:
        raise UserError(f"{key}: {policy.name} learns from counts alone, and the export serves the model. Name a policy over density.")


def policy_named(config: Config) -> str | Policy:
    """What export.policy says."""
    return config.export.policy if config.export is not None else "chosen"


def simulated(config: Config, name: str, key: str = "export.policy") -> Policy:
    """The simulated policy of that name."""
    policies = {policy.name: policy for policy in config.simulate.policies} if config.simulate else {}
    if name not in policies:
        known = f"chosen, {', '.join(policies)}" if policies else "a mapping such as {kind: ucb}"
        raise UserError(f"{key}: no policy is named {name!r}. It may be: {known}")
    return policies[name]
