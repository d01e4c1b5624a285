"""Tasks for the tests of this room; a worker imports this file by its name."""

import os
import time


def squared(shared, number):
    """A number of the shared list, squared."""
    return shared[number] ** 2


def process(shared, number):
    """Who did it, slowly enough for every worker to get one."""
    time.sleep(shared)
    return os.getpid()


def slow(shared, number):
    """Marks that it began, then takes its time."""
    (shared / f"{number}-{os.getpid()}").touch()
    time.sleep(0.3)
    return number, os.getpid()
