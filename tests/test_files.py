"""Files that are there whole or not at all."""

import errno
import os

import numpy as np
import pytest
from engine.tasks import squared

from recbayes.engine import Kept, Work, results
from recbayes.engine.local import Local
from recbayes.files import written
from recbayes.types import Interrupted


def write_half(place, beside, failure):
    """Fails in the middle of writing a file."""
    with written(place, beside) as file:
        file.write(b"new")
        raise failure


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    """Half a checkpoint in the place of a whole one, or litter at each try."""
    place, beside = tmp_path / "home" / "state", tmp_path / "home" / "state.part"
    with written(place, beside) as file:
        file.write(b"old")
    no_room = r"home: cannot write state: {}.*Make room or get permission"
    for failure, told, says in (
        (OSError(errno.EROFS, "x"), Interrupted, no_room.format("the disk is read-only")),
        (OSError(errno.EACCES, "x"), Interrupted, no_room.format("no permission to write there")),
        (KeyError("x"), KeyError, "x"),
    ):
        with pytest.raises(told, match=says):
            write_half(place, beside, failure)
        assert [path.name for path in place.parent.iterdir()] == ["state"]
        assert place.read_bytes() == b"old"


def test_results_go_on_once_there_is_room(tmp_path):
    """A sweep on a full disk (/dev/full is one): what was found before is kept, and only the rest is done again."""
    arrays = (lambda result: {"value": np.int64(result)}), (lambda saved: int(saved["value"]))
    kept, asked = Kept(tmp_path, lambda number: f"square{number}", *arrays), []
    full = tmp_path / f"square2.{os.getpid()}.tmp"
    full.symlink_to("/dev/full")
    with pytest.raises(Interrupted, match=r"cannot write square2\.npz: the disk is full"):
        dict(results(Local(), Work(squared, [0, 1, 2]), 3, kept=kept))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["square0.npz", "square1.npz"]
    found = dict(results(Local(), Work(lambda shared, n: asked.append(n) or n * n), 3, kept=kept))
    assert found == {0: 0, 1: 1, 2: 4}
    assert asked == [2]
