"""What `compare` starts from: the config's problem and its small one, and the replay of a fitted posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import recbayes as rb
from recbayes.config import Compare, Config
from recbayes.pipelines.inputs import features, logs, must_be_whole
from recbayes.pipelines.players import player, world
from recbayes.types import UserError


def section_of(config: Config) -> Compare:
    """The config's section; a config without one is compared by its defaults."""
    return config.compare or Compare()


def check_section(config: Config) -> None:
    """Posteriors and models that can be built, small features that are read, policies that are simulated over the model.

    Raises: UserError for what is none of these.
    """
    section = section_of(config)
    for contender in section.contenders():
        contender.build()
    problems(config)
    unread = {f.name for f in section.small.features} - {f.name for f in config.features} if section.small else ()
    if unread:
        raise UserError(f"compare.small.features: {', '.join(sorted(unread))}: only columns that `features` names are read. Add them there")
    policies = config.simulate.policies if config.simulate else ()
    known = [policy.name for policy in policies if policy.learner is not None and policy.learner.of_model]
    strange = [name for name in section.policies if name not in known]
    if strange:
        there = ", ".join(known) or "none is simulated"
        raise UserError(f"compare.policies: {', '.join(strange)}: no simulated policy over the model. There are: {there}")


def problems(config: Config) -> tuple[Any, Any]:
    """The config's problem, and the small one on the newest training groups or None."""
    must_be_whole(config, "compare")
    train, test = logs(config)
    whole, section = rb.Problem(train, test, _settings(config, features(config), config)), section_of(config).small
    if section is None:
        return whole, None
    segments, groups = train.segments
    newest = train.take(segments >= groups - section.groups)
    return whole, rb.Problem(newest, test, _settings(config, [feature.build() for feature in section.features], section))


def replay(config: Config) -> Callable[[Any], dict[str, float]] | None:
    """A fitted model -> lift over uniform of each policy that the section names; None where it names none."""
    names = section_of(config).policies
    if config.simulate is None or not names:
        return None
    train, test = logs(config)
    policies = [policy for policy in config.simulate.policies if policy.name in names]
    here = config.runtime.model_dump(include={"device", "replica_chunk"})

    def lifts(fitted: Any) -> dict[str, float]:
        players = [player(config, policy, train, fitted) for policy in policies]
        seeds = section_of(config).seeds
        result = rb.replay(world(config, test, fitted), players, seeds=seeds, seed=config.seed, **here)  # where the posterior was fitted
        return {name: result.over_uniform(name).lift for name in result.policies}

    return lifts


def _settings(config: Config, seen: list[Any], of: Any) -> dict[str, Any]:
    """What `fit` takes besides the log and the posterior; `of` has model, density and train. A posterior is fitted in one process."""
    parts = {"density": of.density.build(), "group_effect": of.density.group_effect, "model": of.model.build()}
    return {"features": seen, **parts, **of.train.model_dump(), "workers": 1, "seed": config.seed}
