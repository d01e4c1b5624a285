"""A Ray cluster: one of our own on this machine's loopback, one that is there, or the one that this process has joined already."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from recbayes.engine.worker import cpus
from recbayes.runtime import silent
from recbayes.types import Interrupted, UserError

LOOPBACK = "127.0.0.1"
REACHED_IN = 5.0
"""Seconds that a head may take to answer the door."""
CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""What Ray is told by where it runs on a desktop: with 0, on any system, its parts listen on the loopback alone."""
SKIPPED = "RAY_DEDUP_LOGS_SKIP_REGEX"
"""Lines that match it are not shown: Ray prints what its parts say of lost workers on stdout, into the summary of --json."""
STARTS = 3
"""Starts of a cluster of one's own: on a busy machine Ray gives up on its own parts after some seconds."""


def check(address: str | None) -> None:
    """What can be said before anything is started.

    Raises: UserError if Ray is not installed, an address is none, or nobody answers there.

    >>> check("ray://head:10001")
    Traceback (most recent call last):
    recbayes.types.UserError: engine: address is 'ray://head:10001', must be HOST:PORT of the cluster's head, such as 10.0.0.5:6379, or auto
    """
    host, _, port = (address or "").rpartition(":")
    named = address not in (None, "auto")
    if named and ("/" in host or not host or not port.isdigit()):
        raise UserError(f"engine: address is {address!r}, must be HOST:PORT of the cluster's head, such as 10.0.0.5:6379, or auto")
    if importlib.util.find_spec("ray") is None:
        raise UserError("engine: ray is asked for, but is not installed. Install it: pip install 'recbayes[ray]', or take --engine local.")
    if not named:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED_IN).close()
    except (OSError, OverflowError) as failure:
        raise UserError(f"engine: no Ray cluster at {address} ({failure}). {_mend()}") from None


def joined(address: str | None, workers: int | None) -> Callable[[], None]:
    """Joins a cluster, or starts one of its own with as many CPUs as workers (None: as the machine has).

    Returns: what leaves it again; what was started is ended, what was there stays.
    Raises: Interrupted where there is none to join, or none could be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(SKIPPED, ".")
    if address is None:
        os.environ.setdefault(CLUSTERS, "0")
    with silent():
        import ray

    if ray.is_initialized():  # by the user, who then also ends it
        return lambda: None
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    if address is not None:
        quiet.pop("include_dashboard")
        try:
            with silent():
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as failure:
            raise Interrupted(f"engine: could not join the Ray cluster at {address}: {failure}. {_mend()}") from None
        return ray.shutdown
    for left in reversed(range(STARTS)):
        try:
            with silent():
                ray.init(address="local", num_cpus=workers or cpus(), _node_ip_address=LOOPBACK, **quiet)
            return ray.shutdown
        except Exception as failure:
            with contextlib.suppress(Exception), silent():
                ray.shutdown()
            if not left:
                mend = "Is the machine very busy, or /tmp or /dev/shm full? --engine local needs none."
                raise Interrupted(f"engine: Ray could not be started here, {STARTS} times: {failure} {mend}") from failure
    raise AssertionError("unreachable")


def cpus_each(size: int) -> int:
    """CPUs that each of so many processes gets on the cluster that was joined, as many as fit.

    Raises: Interrupted where there are not enough.
    """
    import ray

    there = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    found = most_each(there, size)
    if not found:
        raise Interrupted(
            f"engine: {size} workers are asked for, and the Ray cluster has {sum(there)} CPUs. Ask for fewer, or add machines."
        )
    return found


def most_each(there: Sequence[int], size: int) -> int:
    """The most CPUs that each of so many processes can have on machines of so many CPUs; 0 where there are not enough.

    >>> most_each([8, 4], 3), most_each([8, 4], 2), most_each([1], 2)
    (4, 4, 0)
    """
    return next((each for each in range(max(there, default=0), 0, -1) if sum(machine // each for machine in there) >= size), 0)


def own(failed: Any) -> Exception:
    """What a worker raised, without Ray's wrapping; a study that it could not unpack is the user's to mend."""
    import ray

    if isinstance(failed.cause, ray.exceptions.RaySystemError):
        mend = "Modules of your own must be found there too: install them on all machines."
        return Interrupted(f"engine: a worker could not load what the tasks need: {str(failed.cause).splitlines()[0]}. {mend}")
    return failed.cause if isinstance(failed.cause, Exception) else failed


def _mend() -> str:
    return "Start one (ray start --head), name another --address, or leave it out for a cluster of this machine alone."
