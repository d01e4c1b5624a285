"""Tasks for the tests of this room; a worker imports this file by its name."""

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple


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
    time.sleep(0.8)
    return number, os.getpid()


class Deadly(NamedTuple):
    """A feed that kills a process (0: the one that goes through it) the first time that it comes to a batch. mark: is there once it has."""

    feed: Any
    epoch_batch: tuple[int, int]
    victim: int
    mark: Path

    def first(self):
        """The feed's."""
        return self.feed.first()

    def once(self, size):
        """The feed's."""
        return self.feed.once(size)

    def corrected(self, network):
        """The feed's."""
        return self.feed.corrected(network)

    def epoch(self, schedule, epoch, start):
        """The feed's, up to the batch."""
        for number, found in enumerate(self.feed.epoch(schedule, epoch, start)):
            if (epoch, number) == self.epoch_batch and not self.mark.exists():
                self.mark.touch()
                os.kill(self.victim or os.getpid(), signal.SIGKILL)
            yield found
