"""Ray: tasks spread over workers, a process a core. A lost worker is replaced and its tasks are done again, so each result comes once.

The process that asks hands out every task and takes every result; workers write nothing. So a task whose worker dies before its result has
come counts as not done, and one whose result has come is never handed out again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from recbayes.engine import cluster
from recbayes.engine.cluster import own
from recbayes.engine.results import Work
from recbayes.engine.team import Team
from recbayes.engine.waiting import Waiting
from recbayes.engine.worker import Worker, started_by, threads_here
from recbayes.types import Interrupted

AHEAD = 2
"""Tasks that a worker is given at a time while many wait, so that it need not idle until the next comes."""
LOSSES = 5
"""So many workers lost over one task, or one after the other while they start, are no accident."""


@dataclass(eq=False)
class Hand:
    """A worker. given: numbers of its tasks (None: something to get ready) and Ray's promises of the results, oldest first."""

    actor: Any
    given: deque[tuple[int | None, Any]] = field(default_factory=deque)
    known: set[Hashable] = field(default_factory=set)

    @property
    def ready(self) -> bool:
        """Whether it takes tasks."""
        return not self.given or self.given[0][0] is not None


class Spread:
    """Workers of a Ray cluster. Built by `engine("ray")`; nothing is started before the first task.

    Attributes:
      address: of the cluster's head; None: a cluster of this machine alone, ended with the engine.
      workers: how many; None: a worker each of the cluster's CPUs.
    """

    name = "ray"
    apart = True

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        cluster.check(address)
        self.address, self.workers = address, workers
        self._leave: Callable[[], None] | None = None
        self._hands: list[Hand] = []
        self._threads = 1

    def run(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """See `Engine.run`; a worker does one task at a time.

        Raises: what a task raises; Interrupted where workers can't start; RuntimeError where a task ends every worker that takes it.
        """
        self._open()  # before Ray is imported: it reads then how it shall behave
        import ray

        study, waiting = ray.put((work.function, work.once, work.shared)), Waiting(numbers, work.alike)
        threads = self._threads if work.whole is None else threads_here() if work.whole else 1
        self._staff(min(self._places(), len(numbers)), study, threads)
        left, losses = len(numbers), Counter[int | None]()
        try:
            while left:
                self._hand_out(waiting)
                for hand in self._heard():
                    number = hand.given[0][0]
                    try:
                        result = ray.get(hand.given[0][1])
                    except ray.exceptions.RayTaskError as failed:
                        raise own(failed) from None
                    except ray.exceptions.RayError as lost:  # not the task's own failure: the worker, its machine, or the result is gone
                        losses[number] += 1
                        _check(losses, number, lost)
                        self._replace(hand, waiting, study)
                        continue
                    hand.given.popleft()
                    if number is None:
                        losses[None] = 0
                    else:
                        left -= 1
                        yield number, result
        finally:
            for hand in self._hands:  # where it ended early: workers finish what they are at, and nobody waits for it
                hand.given.clear()

    @contextmanager
    def team(self, size: int) -> Iterator[Team]:
        """Processes that work in step for as long as the block lasts; those that wait for tasks are ended, they hold CPUs.

        Raises: Interrupted where the cluster has too few CPUs.
        """
        self._open()
        self._dismiss()
        made = Team(size, cluster.cpus_each(size))
        try:
            yield made
        finally:
            made.close()

    def close(self) -> None:
        """Ends the workers, and the cluster if it was started here."""
        self._dismiss()
        if self._leave is not None:
            self._leave()
            self._leave = None

    def _open(self) -> None:
        if self._leave is None:
            self._leave = cluster.joined(self.address, self.workers)

    def _places(self) -> int:
        """Workers at most."""
        import ray

        return self.workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def _staff(self, number: int, study: Any, threads: int) -> None:
        """So many workers at least, all on so many threads and with the study at hand; TensorFlow's threads are set once a process."""
        if self._threads != threads:
            self._dismiss()
            self._threads = threads
        self._hands += [_new(threads) for _ in range(number - len(self._hands))]
        for hand in self._hands:
            hand.known.clear()
            hand.given.append((None, hand.actor.hold.remote(study)))

    def _hand_out(self, waiting: Waiting) -> None:
        """A task to each worker that has none; a second one while more wait than there are workers."""
        for ahead in range(AHEAD):
            for hand in self._hands:
                if hand.ready and len(hand.given) == ahead and (ahead == 0 or len(waiting) > len(self._hands)):
                    number = waiting.next(hand.known)
                    if number is not None:
                        hand.given.append((number, hand.actor.work.remote(number)))

    def _heard(self) -> list[Hand]:
        """Workers whose oldest task has come to an end; waits for one."""
        import ray

        oldest = {hand.given[0][1]: hand for hand in self._hands if hand.given}
        done, _ = ray.wait(list(oldest), num_returns=1)
        return [oldest[promise] for promise in done]

    def _replace(self, hand: Hand, waiting: Waiting, study: Any) -> None:
        """A new worker for one that was lost; tasks that the old one had wait again."""
        import ray

        for number, _ in reversed(hand.given):
            if number is not None:
                waiting.back(number)
        ray.kill(hand.actor)
        new = _new(self._threads)
        new.given.append((None, new.actor.hold.remote(study)))
        self._hands[self._hands.index(hand)] = new

    def _dismiss(self) -> None:
        """Ends all workers."""
        if self._hands:
            import ray

            for hand in self._hands:
                ray.kill(hand.actor)
            self._hands = []


def _new(threads: int) -> Hand:
    """A worker that is about to start."""
    import ray

    actor = ray.remote(num_cpus=1, max_restarts=0)(Worker).remote()
    return Hand(actor, deque([(None, actor.start.remote(*started_by(threads)))]))


def _check(losses: Counter[int | None], number: int | None, lost: Exception) -> None:
    """Raises where workers are lost for a reason."""
    if losses[number] < LOSSES:
        return
    if number is None:
        mend = "Is recbayes installed there, and is there memory for a process a core?"
        raise Interrupted(f"engine: {LOSSES} workers of Ray ended while they started. {mend} Ray says: {lost}")
    raise RuntimeError(f"engine: {LOSSES} workers of Ray ended over task {number}; it may need more memory than is there. Ray says: {lost}")
