"""What a run's records say: which inputs a stage's files depend on, and the config as it was resolved."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import yaml

from recbayes import __version__
from recbayes.config import Config
from recbayes.pipelines import recipe
from recbayes.run_folder import RunFolder, digest_of


def inputs(stage: str, config: Config, data: Mapping[str, str], folder: RunFolder) -> dict[str, str]:
    """What a stage's files depend on: this version, the data, sections of the config, what earlier stages wrote."""
    dumped = config.model_dump(mode="json")
    sections = {f"config.{name}": digest_of(dumped[name]) for name in recipe(stage).READS}
    earlier = {need: folder.outputs_digest(need) for need in recipe(stage).needs(config) if need in folder.stages}
    return {"recbayes": __version__, **data, **sections, **earlier}


def resolved(config: Config, data: Mapping[str, str]) -> str:
    """The text of config.yaml: every setting, and under `resolved` the versions and the data's fingerprints."""
    versions = {name: version(name) for name in ("recbayes", "tensorflow", "keras", "tensorflow-probability", "numpy", "pyarrow")}
    about = {"versions": {"python": platform.python_version(), **versions}, "data": dict(data)}
    return yaml.safe_dump({**config.model_dump(mode="json"), "resolved": about}, sort_keys=False, allow_unicode=True, width=140)
