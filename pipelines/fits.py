"""The config's model, fitted: as the train stage does, again to a log that has grown, or briefly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Advance, Console
from recbayes.pipelines.engines import trainers
from recbayes.pipelines.inputs import features


def fit(config: Config, train: Any, checkpoint: Path | None, console: Console, **changed: Any) -> Any:
    """The config's model on some training rows; `changed` takes the place of settings of `train`."""
    with console.progress("training") as progress:
        return fit_here(config, checkpoint, progress, train, **changed)


def fit_here(config: Config, checkpoint: Path | None, progress: Advance, train: Any, **changed: Any) -> Any:
    """The same, told to a bar that is there."""
    how = config.train.model_dump() | {"seed": config.seed, "checkpoint": checkpoint, "progress": progress} | changed
    return rb.fit(train, **chosen(config), **how, engine=trainers(config))


def fit_alone(config: Config, train: Any, **changed: Any) -> Any:
    """The same in one process that keeps nothing: for work that is spread itself."""
    return rb.fit(train, **chosen(config), **config.train.model_dump() | {"seed": config.seed, "workers": 1} | changed)


def chosen(config: Config) -> dict[str, Any]:
    """What `rb.fit` takes of the config beside how it trains."""
    built = {name: getattr(config, name).build() for name in ("density", "posterior", "model")}
    return built | {"features": features(config), "group_effect": config.density.group_effect}


def fit_again(config: Config, epochs: int, log: Any, seed: int) -> Any:
    """The config's model on a log that has grown, for as many epochs as its own training found best; nothing is held out."""
    return fit_alone(config, log, epochs=epochs, held_out=0.0, recalibrate=False, seed=seed)


def fit_briefly(config: Config, train: Any, *, console: Console) -> Any:
    """The same for a few epochs, nothing held out: to compare with one another, not to be used."""
    return fit(config, train, None, console, epochs=config.findings.epochs, held_out=0.0, recalibrate=False)
