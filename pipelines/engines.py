"""Where a run's tasks run: the config's engine, one a process, however many stages and replays use it."""

from __future__ import annotations

from functools import cache
from typing import Any

import recbayes as rb
from recbayes.config import Config


def engine(config: Config) -> Any:
    """The config's engine; it starts nothing before its first task, and once closed it starts anew.

    Raises: UserError if it is not installed, or nobody answers at its address.
    """
    return _engine(config.runtime.engine, config.runtime.address)


def runtime(config: Config) -> dict[str, Any]:
    """What `rb.replay` takes of the config's `runtime`."""
    return {"device": config.runtime.device, "replica_chunk": config.runtime.replica_chunk, "engine": engine(config)}


@cache
def _engine(kind: str, address: str | None) -> Any:
    return rb.engine(kind, address=address)
