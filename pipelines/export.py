"""Export: the policy as a SavedModel that decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.config import Config, Export, Policy
from recbayes.console import Console
from recbayes.pipelines.inputs import logs
from recbayes.pipelines.served import check_named, named_policy, served_clock
from recbayes.run_folder import RunFolder

READS = ("log", "features", "calibration", "simulate", "export", "seed")


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
    for told in caveats(policy):
        console.say(f"warning  {told}")
    return {"says": f"{policy.name} in export/1, described in export/metadata.json", "policy": policy.name, "warnings": caveats(policy)}


def caveats(policy: Policy) -> list[str]:
    """What the export does not do that the replay did: it holds one model, whatever it was simulated over."""
    if policy.learner is None or policy.learner.kind != "refit":
        return []
    every = policy.learner.settings.get("every", rb.refit.__kwdefaults__["every"])
    return [
        f"{policy.name} was simulated with its model fitted again every {every} updates; the export serves the model as it was trained"
        " once. Train and export again on that schedule: without it the simulated figures are not those of what is served."
    ]


def write(config: Config, folder: RunFolder, policy: Policy, target: Path) -> None:
    """Exports a policy over the trained model."""
    test = logs(config)[1]
    some = test.take(range(min(15, len(test))))
    about = {"held_out": folder.stages["train"]["summary"], "config": config.model_dump(mode="json")}
    rb.export(
        rb.load(folder.path / "model"),
        policy.build(name=policy.name),
        target,
        metadata=about | ({"caveats": told} if (told := caveats(policy)) else {}),
        rows={feature.name: some.column(feature.name) for feature in config.features},
        seed=config.seed,
        floor=(config.export or Export()).floor,
        slate=(config.export or Export()).slate,
        **(served_clock(folder) if "simulate" in needs(config) else {}),
    )


def policy_named(config: Config) -> str | Policy:
    """What export.policy says."""
    return config.export.policy if config.export is not None else "chosen"
