"""Replays of the config's policies over a log, and the choice among them on the newest training groups."""

from __future__ import annotations

from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.engines import runtime
from recbayes.pipelines.fits import fit
from recbayes.pipelines.players import alone, player, world
from recbayes.pipelines.served import best
from recbayes.run_folder import RunFolder


def choose(config: Config, train: Any, trained: Any, folder: RunFolder, console: Console) -> tuple[str, Any, dict[str, Any]]:
    """The policy that does best on the newest training groups, the replay that says so, and how it came about.

    The model that plays there has not seen those groups; it is trained for as many epochs as the run's own, `trained`, found best
    (None where no policy needs one). A test bed has no groups to set aside: it is other replicas that say so.
    """
    assert config.simulate is not None
    older, recent = (None, None) if alone(config) else newest(config, train)
    model = None if trained is None else fit(config, older, folder.checkpoints, console, **as_long_as(config, trained))
    most = min(config.simulate.choose_seeds, config.simulate.seeds)
    given = {"checkpoint": folder.checkpoints / "choice", "seed": config.seed + alone(config)}
    if config.simulate.choose == "all":
        choice = replay(config, older, recent, model, console.progress("choosing"), seeds=most, **given)
        return best(config, choice.to_json()["policies"]), choice, choice.to_json()
    halving = halved(config, older, recent, model, console, rounds(most), **given)
    return best(config, halving.result.to_json()["policies"]), halving.result, halving.result.to_json() | {"halving": halving.to_json()}


def as_long_as(config: Config, trained: Any) -> dict[str, Any]:
    """Settings that train as long as a model that was.

    A recalibrated one needs groups held out, one of a log that stays on disk saw more rows in an epoch: both find their own number.
    """
    return {} if config.train.recalibrate or config.log.stream else {"epochs": trained.record["epochs"], "held_out": 0.0}


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
        given = {"seed": config.seed, "progress": progress, **given, **runtime(config)}
        return rb.replay(world(config, test, model), players, **given)


def halved(config: Config, train: Any, test: Any, model: Any, console: Console, seeds: list[int], **given: Any) -> Any:
    """All policies by successive halving; uniform, and greedy over each learner, stay to the end."""
    assert config.simulate is not None
    players = [player(config, policy, train, model) for policy in config.simulate.policies]
    with console.progress("choosing") as progress:
        given |= {"seeds": seeds, "progress": progress, "stay": ("uniform", "greedy")}
        return rb.halve(world(config, test, model), players, **given, **runtime(config))
