"""An engine by its name; and one for as long as a call lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Literal

from recbayes.engine.local import Local
from recbayes.engine.results import Engine
from recbayes.engine.spread import Spread
from recbayes.types import UserError

Kind = Literal["local", "ray"]
KINDS = ("local", "ray")


def engine(kind: Kind = "local", *, address: str | None = None, workers: int | None = None) -> Engine:
    """Where the tasks of replays, comparisons and evaluations run; close it when it is no longer needed.

    Args:
      kind: local, this process; ray, workers on this machine or on a cluster, which give the same results.
      address: of a Ray cluster's head, HOST:PORT, or auto for the one that this machine belongs to; None: a cluster of this machine alone,
        started with the first task and ended by `close`.
      workers: processes (of local: threads) at most; None: a core each.

    Raises: UserError for an engine that is none or not installed, an address that is none or does not answer.

    >>> engine("local").name
    'local'
    >>> engine("spark")
    Traceback (most recent call last):
    recbayes.types.UserError: engine is 'spark', must be one of local, ray
    """
    if kind not in KINDS:
        raise UserError(f"engine is {kind!r}, must be one of {', '.join(KINDS)}")
    if workers is not None and workers < 1:
        raise UserError(f"engine: workers is {workers}, must be at least 1")
    if kind == "local":
        if address is not None:
            raise UserError(f"engine: an address ({address}) is for ray, and the engine is local. Say --engine ray, or leave it out.")
        return Local(workers)
    return Spread(address, workers)


@contextmanager
def opened(asked: Kind | Engine) -> Iterator[Engine]:
    """An engine for a block: one that is given stays open, one asked for by name is closed at the end."""
    if not isinstance(asked, str):
        yield asked
        return
    with closing(engine(asked)) as made:
        yield made
