"""What runs at the other end: a process that holds what a study's tasks share, and does one task after the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from recbayes.engine.results import Task
from recbayes.runtime import optimizer_skipped, skip_optimizer, start
from recbayes.types import Interrupted

ALIKE = ("recbayes", "tensorflow", "tensorflow-probability", "keras", "numpy", "scipy")
"""What decides a task's numbers, and so must be the same at both ends."""


class Worker:
    """One process. Ray makes it an actor: its methods are called from afar, one at a time, in the order of the calls."""

    def __init__(self) -> None:
        self._started = False
        self._function: Task | None = None
        self._shared: Any = None

    def start(self, versions: Mapping[str, str], settings: Mapping[str, str], path: Sequence[str], threads: int, skip: bool) -> None:
        """Imports TensorFlow.

        Args:
          versions: those of the process that hands out tasks.
          settings: its environment, as far as it decides how TensorFlow and XLA compute.
          path: where it finds modules, so that the user's own are found if they are there.
          threads: that TensorFlow computes on; there is a worker a core.
          skip: whether that process skips TensorFlow's graph optimizer: where one does and the other does not, rounding differs.

        Raises: Interrupted where a version differs.
        """
        mine = versions_here()
        strange = [f"{name} {mine[name]} (here {there})" for name, there in versions.items() if mine[name] != there]
        if strange:
            mend = "Results would differ from those of --engine local. Install the same versions on all machines."
            raise Interrupted(f"engine: {os.uname().nodename} has {', '.join(strange)}. {mend}")
        os.environ.update(settings)
        sys.path += [place for place in path if place not in sys.path]
        start("cpu", threads=threads)
        skip_optimizer(skip)
        self._started = True

    def hold(self, study: tuple[Task, Callable[[Any], object] | None, Any]) -> None:
        """Takes a study: its task, what to do before the first one, and what all share. The one before is let go."""
        if not self._started:
            raise RuntimeError(f"engine: this worker of {os.uname().nodename} could not be started")
        self._function, once, self._shared = study
        if once is not None:
            once(self._shared)

    def work(self, number: int) -> Any:
        """Does a task of the study that is held."""
        assert self._function is not None
        return self._function(self._shared, number)


def started_by(threads: int) -> tuple[dict[str, str], dict[str, str], list[str], int, bool]:
    """What `Worker.start` is to be told by this process, for a worker on so many threads."""
    return versions_here(), settings_here(), sys.path, threads, optimizer_skipped()


def versions_here() -> dict[str, str]:
    """Versions of what decides the numbers.

    >>> sorted(versions_here()) == sorted(ALIKE)
    True
    """
    return {name: version(name) for name in ALIKE}


def settings_here() -> dict[str, str]:
    """What this process's environment says of how TensorFlow and XLA compute.

    >>> all(name.startswith(("TF_", "XLA_")) for name in settings_here())
    True
    """
    return {name: value for name, value in os.environ.items() if name.startswith(("TF_", "XLA_"))}


def threads_here() -> int:
    """Threads that TensorFlow computes on in this process."""
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or cpus()


def cpus() -> int:
    """Cores that this process may use.

    >>> cpus() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
