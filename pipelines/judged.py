"""Who is judged in `evaluate`, on which rows, by which reward model: the config's as the library's own."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import recbayes as rb
from recbayes.config import Config, Target
from recbayes.console import Advance
from recbayes.pipelines import export
from recbayes.pipelines.engines import engine, fitters
from recbayes.pipelines.fits import fit_alone, fit_here
from recbayes.pipelines.inputs import judged_log
from recbayes.pipelines.served import named_policy
from recbayes.run_folder import RunFolder


def of_run(config: Config) -> list[Target]:
    """The policies that this run trains."""
    return [target for target in config.evaluate.policies if target.kind == "exported"] if config.evaluate else []


def needs_fit(config: Config) -> bool:
    """Whether something is trained for it: a policy, or the reward model."""
    return bool(of_run(config)) or (config.evaluate is not None and config.evaluate.reward_model == "fitted")


def test_only(config: Config) -> bool:
    """Whether the test rows alone are judged on."""
    assert config.evaluate is not None
    return config.evaluate.rows == "test" or (config.evaluate.rows == "auto" and bool(of_run(config)))


def policy(config: Config, target: Target, folder: RunFolder) -> Any:
    """A policy to judge; one of the run is exported first, and its export judged."""
    if target.policy is None:
        return target.build(name=target.name)
    place = folder.checkpoints / f"export-{target.name.replace('/', '-')}"
    export.write(config, folder, named_policy(config, folder, target.policy), place)
    return target.build(place, name=target.name)


@cache
def evaluated(dumped: str) -> Any:
    """The evaluation of a config for which nothing is trained, made once a process."""
    config = Config.model_validate_json(dumped)
    assert config.evaluate is not None
    model = partial(rb.rates, folds=config.evaluate.folds)
    return judge(config, [target.build(name=target.name) for target in config.evaluate.policies], model)


def reward_model(config: Config, folder: RunFolder, progress: Advance) -> Any:
    """The direct method's: shrunk rates, or the config's click model without each fold, a task each if the engine has other processes."""
    assert config.evaluate is not None
    if config.evaluate.reward_model == "rates":
        return partial(rb.rates, folds=config.evaluate.folds)
    where = fitters(config)
    apart = where != "local" and where.apart
    fit = partial(fit_alone, config) if apart else partial(fit_here, config, folder.checkpoints, progress)
    return rb.modelled(fit, folds=config.evaluate.folds, engine=where, progress=progress)


def judge(config: Config, policies: list[Any], model: Any, progress: Advance | None = None) -> Any:
    """All policies on the config's log."""
    section = config.evaluate
    assert section is not None
    return rb.evaluate(
        judged_log(config, test_only(config)),
        policies,
        estimators=[estimator.build() for estimator in section.estimators],
        reward_model=model,
        level=section.level,
        interval=section.interval,
        propensities=section.propensities,
        given=section.given,
        reward_range=config.log.reward_range,
        decision=section.decision,
        engine=engine(config),
        progress=progress,
    )
