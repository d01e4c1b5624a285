"""Results of tasks in a folder, a file each under its task's key, so that a study that was killed goes on from those that are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbayes.files import written
from recbayes.types import Array


class Kept(NamedTuple):
    """A folder of results.

    folder: made when the first result is put there; key: number of a task -> name of its file, equal in another process and different for
    tasks that differ in anything; packed: a result -> arrays by name; unpacked: the same back.

    >>> import tempfile
    >>> arrays = (lambda result: {"value": result}), (lambda saved: saved["value"])
    >>> kept = Kept(Path(tempfile.mkdtemp()), lambda number: f"task{number}", *arrays)
    >>> kept.put(3, np.arange(2)), kept.has(3), kept.has(4)
    (None, True, False)
    >>> kept.get(3)
    array([0, 1])
    """

    folder: Path
    key: Callable[[int], str]
    packed: Callable[[Any], Mapping[str, Array]]
    unpacked: Callable[[Mapping[str, Array]], Any]

    def has(self, number: int) -> bool:
        """Whether a task's result is there."""
        return self.folder.is_dir() and self._path(number).is_file()

    def get(self, number: int) -> Any:
        """A task's result."""
        with np.load(self._path(number), allow_pickle=False) as saved:
            return self.unpacked(saved)

    def put(self, number: int, result: Any) -> None:
        """Writes a result beside, then in its place.

        Raises: Interrupted where it can't be written.
        """
        path = self._path(number)
        with written(path, path.with_name(f"{path.stem}.{os.getpid()}.tmp")) as file:
            np.savez(file, **self.packed(result))

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.key(number)}.npz"
