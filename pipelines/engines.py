"""Where a run's tasks run: the config's engine, one a process, however many stages and replays use it."""

from __future__ import annotations

from functools import cache
from typing import Any

import recbayes as rb
from recbayes.config import Config
from recbayes.types import UserError


def engine(config: Config) -> Any:
    """The config's engine; it starts nothing before its first task, and once closed it starts anew.

    Raises: UserError if it is not installed, or nobody answers at its address.
    """
    return _engine(config.runtime.engine, config.runtime.address)


def trainers(config: Config) -> Any:
    """What starts the workers of a training: the config's cluster, or one of this machine alone for as long as a training lasts.

    Raises: UserError if they can't be: Ray is not installed, nobody answers, or a GPU is asked for.
    """
    if config.train.workers > 1 and config.runtime.device == "gpu":
        mend = "Say runtime.device=auto or cpu, or train.workers=1."
        raise UserError(f"train.workers is {config.train.workers}, but workers compute on CPUs, and runtime.device is gpu. {mend}")
    if config.train.workers > 1 and config.runtime.engine == "local":
        rb.engine("ray")  # starts nothing, and says what is missing
    return engine(config) if config.runtime.engine == "ray" else "ray"


def fitters(config: Config) -> Any:
    """Where fits run that know nothing of each other: the config's engine; this process, where a fit has workers of its own or a GPU."""
    return "local" if config.train.workers > 1 or config.runtime.device == "gpu" else engine(config)


def runtime(config: Config) -> dict[str, Any]:
    """What `rb.replay` takes of the config's `runtime`."""
    return {"device": config.runtime.device, "replica_chunk": config.runtime.replica_chunk, "engine": engine(config)}


@cache
def _engine(kind: str, address: str | None) -> Any:
    return rb.engine(kind, address=address)
