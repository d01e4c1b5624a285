"""Who plays in the replay: the config's world and policies as the library's own."""

from __future__ import annotations

from functools import partial
from typing import Any

from recbayes.config import Config, Policy
from recbayes.pipelines.fits import fit_again
from recbayes.pipelines.inputs import must_be_whole
from recbayes.types import UserError


def needs_model(config: Config) -> bool:
    """Whether the world, or a policy's learner, starts from the trained network."""
    return config.simulate is not None and (config.simulate.world.of_model or over_model(config))


def over_model(config: Config) -> bool:
    """Whether a policy's learner starts from the trained network."""
    return config.simulate is not None and any(policy.learner and policy.learner.of_model for policy in config.simulate.policies)


def alone(config: Config) -> bool:
    """Whether the config's world is a test bed, which needs no log."""
    return config.simulate is not None and not config.simulate.world.of_log


def world(config: Config, log: Any, model: Any = None, **changed: Any) -> Any:
    """The world of a log (of none, a test bed), settings changed; arms are distinct where an item-side feature differs."""
    assert config.simulate is not None
    if alone(config):
        return config.simulate.world.build(**changed)
    if config.simulate.world.of_model:
        return config.simulate.world.build(log, model, **changed)
    distinct = [feature.name for feature in config.features if feature.side == "item"] or None
    return config.simulate.world.build(log, distinct=distinct, **changed)


def check_schedules(config: Config, steps: int) -> None:
    """Raises UserError for a learner whose schedule never comes round in so few updates: it would say so itself, but after the training."""
    assert config.simulate is not None
    asked = [(policy.name, policy.learner.settings) for policy in config.simulate.policies if policy.learner]
    long = [f"{name}: {key} is {given[key]}" for name, given in asked for key in ("every", "window") if (given.get(key) or 0) >= steps]
    if long:
        raise UserError(f"simulate.policies: {'; '.join(long)}, and the world has {steps} updates, so it would change nothing. Set less")


def check_refits(config: Config) -> None:
    """UserError for a learner that trains the network again where the training rows stay on disk."""
    assert config.simulate is not None
    for policy in config.simulate.policies:
        if policy.learner and policy.learner.of_fit:
            must_be_whole(config, f"simulate.policies: {policy.name} trains the network again, and")


def player(config: Config, policy: Policy, train: Any, model: Any) -> Any:
    """A policy over its learner."""
    if policy.learner is None:
        return policy.build(name=policy.name)
    given = [*([model] if policy.learner.of_model else []), *([train] if policy.learner.of_log else [])]
    if policy.learner.of_fit:
        given.append(partial(fit_again, config, model.record["epochs"]))
    learner = policy.learner.build(*given, **({"seed": config.seed} if policy.learner.of_seed else {}))
    return policy.build(learner, name=policy.name)


def controls(config: Config, choice: Any, chosen: str) -> Any:
    """Whose uncertainty is shuffled on the test groups: the chosen policy's, or of those that look at it the one that did best."""
    assert config.simulate is not None
    uncertain = [name for name in choice.policies if name in choice.uncertain]
    if config.simulate.controls == "all" or not uncertain:
        return uncertain
    return [chosen if chosen in uncertain else max(uncertain, key=choice.earned)]
