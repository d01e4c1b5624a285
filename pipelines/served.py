"""Which simulated policies an export can serve, and which of them it does."""

from __future__ import annotations

import json
from typing import Any

from recbayes.config import Config, Policy
from recbayes.pipelines.players import over_model
from recbayes.run_folder import RunFolder
from recbayes.types import UserError


def best(config: Config, figures: dict[str, Any]) -> str:
    """The policy with the most clicks among those that an export can serve (uniform, and those over the model) and that were played.

    Halving leaves figures of those that were left in its last round, uniform and greedy always among them.
    """
    return max([name for name in served(config) if name in figures] or figures, key=lambda name: figures[name]["expected_clicks"])


def served(config: Config) -> list[str]:
    """Names of the simulated policies that an export can serve; none where no policy is over the model, for uniform alone is no choice."""
    policies = config.simulate.policies if config.simulate and over_model(config) else ()
    return [policy.name for policy in policies if policy.learner is None or policy.learner.of_model]


def served_clock(folder: RunFolder) -> dict[str, Any]:
    """The clock that a caller of the export gets by default: a batch and the horizon of the mean replayed group."""
    file = folder.path / "simulation.json"
    if not file.is_file():
        return {}
    replayed = json.loads(file.read_text(encoding="utf-8"))
    horizon = replayed["decisions"] / replayed["groups"]
    return {"defaults": {"remaining": round(horizon), "batch": max(round(horizon / replayed["steps"]), 1)}}


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


def simulated(config: Config, name: str, key: str = "export.policy") -> Policy:
    """The simulated policy of that name."""
    policies = {policy.name: policy for policy in config.simulate.policies} if config.simulate else {}
    if name not in policies:
        known = f"chosen, {', '.join(policies)}" if policies else "a mapping such as {kind: ucb}"
        raise UserError(f"{key}: no policy is named {name!r}. It may be: {known}")
    return policies[name]
