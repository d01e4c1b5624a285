"""TensorFlow, started for a command: without its start-up chatter, on the device asked for, with the same result each time."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from recbayes.types import UserError

_OPTIMIZER = "disable_meta_optimizer"
_LOCK, _INSIDE, _BEFORE = threading.Lock(), list[None](), list[bool]()
"""Of `as_traced`: who is inside, and what was so before the first came; the last one out restores it."""


def start(device: Literal["auto", "cpu", "gpu"] = "auto", *, threads: int | None = None, calls: int | None = None) -> None:
    """Imports TensorFlow; call it once, before anything else uses it.

    Args:
      device: auto takes a GPU if there is one, cpu hides it, gpu asks for it.
      threads: that an operation computes on; None: as many as there are cores.
      calls: operations at once; None: as many as threads. In a process that has begun to compute both stay as they are.

    Raises: UserError if a GPU is asked for and there is none.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with silent():
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not found:
        raise UserError("runtime.device: gpu, but TensorFlow finds none. Install recbayes[gpu] and its driver, or say runtime.device=auto.")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tf.config.experimental.enable_op_determinism()
    skip_optimizer()
    if threads is not None:
        with suppress(RuntimeError):  # which says that it has
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(calls or threads)


def optimizer_skipped() -> bool:
    """Whether graphs run as they were traced, in place of as TensorFlow's optimizer (Grappler) rewrites them."""
    import tensorflow as tf

    return bool(tf.config.optimizer.get_experimental_options().get(_OPTIMIZER, False))


def skip_optimizer(skip: bool = True) -> None:
    """Runs graphs as they were traced from here on.

    Rewriting them takes a third to a half of a program's first call. Steps, predictions and replays of the size of the headline tests run
    no quicker for it, steps over many large tables some 4% (docs/scale.md). Rounding differs.

    >>> before = optimizer_skipped()
    >>> skip_optimizer()
    >>> optimizer_skipped()
    True
    >>> skip_optimizer(before)
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({_OPTIMIZER: skip})


@contextmanager
def as_traced() -> Iterator[None]:
    """`skip_optimizer` for a while, in all threads: for functions that users call from programs of their own."""
    with _LOCK:
        if not _INSIDE:
            _BEFORE[:] = [optimizer_skipped()]
            skip_optimizer()
        _INSIDE.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.pop()
            if not _INSIDE:
                skip_optimizer(*_BEFORE)


@contextmanager
def silent() -> Iterator[None]:
    """Keeps what native code writes to stderr away: it logs before any log level applies."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
