"""Who plays in the replay: the config's world and policies as the library's own."""

from __future__ import annotations

import json
from typing import Any

from recbayes.config import Config, Policy
from recbayes.run_folder import RunFolder
from recbayes.types import UserError


def needs_model(config: Config) -> bool:
    """Whether the world, or a policy's learner, starts from the trained network."""
    return config.simulate is not None and (config.simulate.world.of_model or _over_model(config))


def _over_model(config: Config) -> bool:
    """Whether a policy's learner starts from the trained network."""
    return config.simulate is not None and any(policy.learner and policy.learner.of_model for policy in config.simulate.policies)


def alone(config: Config) -> bool:
    """Whether the config's world is a test bed, which needs no log."""
    return config.simulate is not None and not config.simulate.world.of_log


def world(config: Config, log: Any, model: Any = None, **changed: Any) -> Any:
    """The world of a log, settings changed; arms are distinct where an item-side feature differs."""
    assert config.simulate is not None
    if config.simulate.world.of_model:
        return config.simulate.world.build(log, model, **changed)
    distinct = [feature.name for feature in config.features if feature.side == "item"] or None
    return config.simulate.world.build(log, distinct=distinct, **changed)


def player(config: Config, policy: Policy, train: Any, model: Any) -> Any:
    """A policy over its learner."""
    if policy.learner is None:
        return policy.build(name=policy.name)
    if policy.learner.of_model:
        return policy.build(policy.learner.build(model, seed=config.seed), name=policy.name)
    learner = policy.learner.build(train) if policy.learner.of_log else policy.learner.build()
    return policy.build(learner, name=policy.name)


def best(config: Config, figures: dict[str, Any]) -> str:
    """The policy with the most clicks among those that an export can serve: uniform, and those over the model."""
    return max(served(config) or figures, key=lambda name: figures[name]["expected_clicks"])


def controls(config: Config, choice: Any, chosen: str) -> Any:
    """Whose uncertainty is shuffled on the test groups: the chosen policy's, or of those that look at it the one that did best."""
    assert config.simulate is not None
    uncertain = [name for name in choice.policies if name in choice.uncertain]
    if config.simulate.controls == "all" or not uncertain:
        return uncertain
    return [chosen if chosen in uncertain else max(uncertain, key=lambda name: choice.over_uniform(name).lift)]


def served(config: Config) -> list[str]:
    """Names of the simulated policies that an export can serve; none where no policy is over the model, for uniform alone is no choice."""
    policies = config.simulate.policies if config.simulate and _over_model(config) else ()
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
