"""Quiet TensorFlow, small logs on disk, and which tests run in one process."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

TOGETHER = ("export",)
"""Rooms whose files share a trained model and its export, which would take a minute in each process."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`: a file's tests in one process, as its fixtures are, and a room's where files share them."""
    for item in items:
        room = item.path.parent
        item.add_marker(pytest.mark.xdist_group(str(room if room.name in TOGETHER and "tests" in room.parts else item.path)))
