"""Files that are there whole or not at all, and why one could not be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recbayes.types import Interrupted

UNWRITABLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EFBIG: "a file would be larger than is allowed",
}


def unwritable(failure: BaseException) -> str | None:
    """Why a file could not be written, if that is what went wrong; TensorFlow says it in words only.

    >>> unwritable(OSError(errno.ENOSPC, "No space left on device"))
    'the disk is full'
    """
    if isinstance(failure, OSError) and failure.errno in UNWRITABLE:
        return UNWRITABLE[failure.errno]
    said = str(failure)
    return next((cause for number, cause in UNWRITABLE.items() if os.strerror(number) in said), None)


@contextmanager
def written(path: Path, beside: Path) -> Iterator[Any]:
    """A file to write in the block that takes its place when the block ends, after it is on the disk; its folder is made if need be.

    Where the block fails nothing is left of it, and what was there before stays.

    Args:
      path: its place.
      beside: where it is until then, in the same folder.

    Raises: Interrupted where the disk is full or the folder not to be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home, written(Path(home) / "a", Path(home) / "a.part") as file:
    ...     file.write(b"12")
    2
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as failure:
        with suppress(OSError):
            beside.unlink()
        cause = unwritable(failure)
        if cause is None:
            raise
        mend = "Make room or get permission, then the same call goes on from what is there. That is as it was"
        raise Interrupted(f"{path.parent}: cannot write {path.name}: {cause} ({failure}). {mend}") from failure
