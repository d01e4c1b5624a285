"""Evaluate: what policies would have earned by the log's propensities, and whether to believe it."""

from __future__ import annotations

import json
from typing import Any

from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.inputs import judged_log
from recbayes.pipelines.judged import evaluated, judge, needs_fit, of_run, policy, reward_model, test_only
from recbayes.pipelines.served import check_named
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

READS = ("log", "features", "calibration", "model", "density", "posterior", "train", "simulate", "evaluate", "export", "seed")


def wanted(config: Config) -> bool:
    """Where the config has the section."""
    return config.evaluate is not None


def needs(config: Config) -> tuple[str, ...]:
    """The audit; the trained model for its policies; the replay where it chose one."""
    trained = ("train",) if of_run(config) else ()
    return ("audit", *trained, *(("simulate",) if any(target.policy == "chosen" for target in of_run(config)) else ()))


def check(config: Config) -> None:
    """All that can go wrong: where nothing is trained the evaluation is made here, and kept for `run`."""
    if config.evaluate is None:
        raise UserError("evaluate: the config has no such section. Add evaluate: {policies: [{kind: table, path: policy.parquet}]}")
    for target in of_run(config):
        assert target.policy is not None
        check_named(config, target.policy, "evaluate.policies")
    if not needs_fit(config):
        evaluated(config.model_dump_json())
        return
    log = judged_log(config, test_only(config))
    for target in config.evaluate.policies:
        if target.policy is None:
            target.build(name=target.name).choices(log)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes evaluation.json."""
    assert config.evaluate is not None
    if needs_fit(config):
        policies = [policy(config, target, folder) for target in config.evaluate.policies]
        with console.progress("evaluating") as progress:
            found = judge(config, policies, reward_model(config, folder, progress), progress)
    else:
        found = evaluated(config.model_dump_json())
    folder.output("evaluation.json").write_text(json.dumps(found.to_json(), indent=2, allow_nan=False), encoding="utf-8")
    lines = [f"  {e.policy}, {e.estimator}: {e.value:.5g}, {e.verdict.replace('_', ' ')}. {e.reason}" for e in found.estimates]
    trusted = sum(e.verdict == "trust" for e in found.estimates)
    says = "\n".join([f"{trusted} of {len(found.estimates)} estimates can be trusted", *lines])
    return {"says": says, "estimates": len(found.estimates), "trusted": trusted}
