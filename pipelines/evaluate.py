"""Evaluate: what policies would have earned by the log's propensities, and whether to believe it."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import recbayes as rb
from recbayes.config import Config, Target
from recbayes.console import Console
from recbayes.pipelines import export
from recbayes.pipelines.inputs import judged_log
from recbayes.pipelines.train import fit
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

READS = ("log", "features", "model", "density", "posterior", "train", "simulate", "evaluate", "export", "seed")


def wanted(config: Config) -> bool:
    """Where the config has the section."""
    return config.evaluate is not None


def needs(config: Config) -> tuple[str, ...]:
    """The audit; the trained model for its policies; the replay where it chose one."""
    trained = ("train",) if of_run(config) else ()
    return ("audit", *trained, *(("simulate",) if any(target.policy == "chosen" for target in of_run(config)) else ()))


def of_run(config: Config) -> list[Target]:
    """The policies that this run trains."""
    return [target for target in config.evaluate.policies if target.kind == "exported"] if config.evaluate else []


def check(config: Config) -> None:
    """All that can go wrong: where no model is needed the evaluation is made, and kept for `run`."""
    if config.evaluate is None:
        raise UserError("evaluate: the config has no such section. Add evaluate: {policies: [{kind: table, path: policy.parquet}]}")
    for target in of_run(config):
        assert target.policy is not None
        export.check_named(config, target.policy, "evaluate.policies")
    if of_run(config) or config.evaluate.reward_model == "fitted":
        log = judged_log(config, test_only(config))
        for target in config.evaluate.policies:
            if target.kind != "exported":
                target.build(name=target.name).choices(log)
    else:
        evaluated(config.model_dump_json())


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes evaluation.json."""
    if of_run(config) or (config.evaluate and config.evaluate.reward_model == "fitted"):
        found = judge(config, [built(config, target, folder) for target in config.evaluate.policies], folder, console)  # type: ignore[union-attr]
    else:
        found = evaluated(config.model_dump_json())
    folder.output("evaluation.json").write_text(json.dumps(found.to_json(), indent=2, allow_nan=False), encoding="utf-8")
    lines = [f"  {e.policy}, {e.estimator}: {e.value:.5g}, {e.verdict.replace('_', ' ')}. {e.reason}" for e in found.estimates]
    trusted = sum(e.verdict == "trust" for e in found.estimates)
    says = "\n".join([f"{trusted} of {len(found.estimates)} estimates can be trusted", *lines])
    return {"says": says, "estimates": len(found.estimates), "trusted": trusted}


@cache
def evaluated(dumped: str) -> Any:
    """The evaluation of a config that needs no model, made once a process."""
    config = Config.model_validate_json(dumped)
    assert config.evaluate is not None
    return judge(config, [target.build(name=target.name) for target in config.evaluate.policies])


def built(config: Config, target: Target, folder: RunFolder) -> Any:
    """A policy to judge; one of the run is exported first, and its export judged."""
    if target.kind != "exported":
        return target.build(name=target.name)
    place = folder.checkpoints / f"export-{target.name.replace('/', '-')}"
    assert target.policy is not None
    export.write(config, folder, export.named_policy(config, folder, target.policy), place)
    return target.build(place, name=target.name)


def test_only(config: Config) -> bool:
    """Whether the test rows alone are judged on."""
    assert config.evaluate is not None
    return config.evaluate.rows == "test" or (config.evaluate.rows == "auto" and bool(of_run(config)))


def judge(config: Config, policies: list[Any], folder: RunFolder | None = None, console: Console | None = None) -> Any:
    """All policies on the config's log."""
    section = config.evaluate
    assert section is not None
    model = partial(rb.rates, folds=section.folds)
    if section.reward_model == "fitted" and folder is not None and console is not None:
        model = rb.modelled(lambda log: fit(config, log, folder.checkpoints, console), folds=section.folds)
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
    )
