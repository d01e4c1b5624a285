"""What runs at the other end where processes work in step: one of N that tf.distribute lets sum tensors over all of them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recbayes.engine.worker import Worker


class Lost(Exception):
    """Another member of the team is gone."""


class Member:
    """One process of a team. Ray makes it an actor; all members get the same calls in the same order."""

    def __init__(self) -> None:
        self._task: Callable[..., Any] | None = None
        self._strategy: Any = None
        self._rank = 0

    def start(self, versions: Mapping[str, str], settings: Mapping[str, str], path: Sequence[str], threads: int, skip: bool) -> str:
        """Imports TensorFlow (see `Worker.start`).

        Returns: HOST:PORT where the others will find it.
        """
        import ray

        Worker().start(versions, settings, path, threads, skip)
        here = ray.get_runtime_context().get_node_id()
        host = next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here)  # the loopback, on a cluster of one's own
        with socket.socket() as free:
            free.bind((host, 0))
            return f"{host}:{free.getsockname()[1]}"

    def meet(self, addresses: Sequence[str], rank: int) -> None:
        """Waits for all members, each of which is at one of the addresses, this one at that of its rank."""
        task = {"type": "worker", "index": rank}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
        import tensorflow as tf

        try:
            self._rank, self._strategy = rank, tf.distribute.MultiWorkerMirroredStrategy()
        except (RuntimeError, tf.errors.OpError) as failed:  # most likely another process took the port in between
            raise Lost(f"TensorFlow's server did not start: {failed}") from None

    def hold(self, study: tuple[Callable[..., Any], Any]) -> None:
        """Takes a study: (what makes a member's task of (shared, rank, strategy), what all share). The one before is let go."""
        build, shared = study
        self._task = build(shared, self._rank, self._strategy)

    def work(self, *asked: Any) -> Any:
        """Does the task that is held.

        Raises: Lost where another member did not answer.
        """
        from tensorflow import errors

        assert self._task is not None
        try:
            return self._task(*asked)
        except (errors.UnavailableError, errors.AbortedError, errors.CancelledError, errors.DeadlineExceededError) as failed:
            raise Lost(str(failed)) from None
