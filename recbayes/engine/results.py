"""All results of a study: those that are kept from before, then the others as an engine finishes them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from recbayes.engine.kept import Kept

Task: TypeAlias = Callable[[Any, int], Any]
"""(what all tasks share, a task's number) -> its result. Pure: the same wherever it runs, and whatever ran before it."""


class Work(NamedTuple):
    """Tasks that know nothing of each other, and how they like to be done.

    Attributes:
      function: the task.
      shared: what all tasks share; it goes to each process once.
      alike: number -> label, equal for tasks that are cheaper in a process that has done one of them: those of one compiled program.
      once: called with `shared` in each process before its first task.
      at_once: tasks that one process may work on at a time, on threads.
      whole: a task computes on all threads that TensorFlow has, and how it rounds depends on their number: other processes then have as
        many as this one, in place of one. None: it does not compute with TensorFlow, and takes the processes that are there.
    """

    function: Task
    shared: Any = None
    alike: Callable[[int], Hashable] | None = None
    once: Callable[[Any], object] | None = None
    at_once: int = 1
    whole: bool | None = False


class Engine(Protocol):
    """Where tasks run.

    name: what it is asked for by; apart: tasks run in other processes, on CPUs, and what they share must pickle.
    """

    name: str
    apart: bool

    def run(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """(number, result) of these tasks as they finish, every number once."""

    def close(self) -> None:
        """Ends what the engine started, and nothing else; used again, it starts anew."""


def results(engine: Engine, work: Work, tasks: int, *, kept: Kept | None = None) -> Iterator[tuple[int, Any]]:
    """(number, result) of tasks 0 ... tasks - 1, each once: kept ones first, the others as they finish, each then kept.

    Args:
      engine: where they run.
      work: what they are.
      tasks: how many there are.
      kept: where results are kept; None: nowhere.

    >>> from recbayes.engine.local import Local
    >>> dict(results(Local(), Work(lambda shared, number: shared * number, 10), 3))
    {0: 0, 1: 10, 2: 20}
    """
    there = [number for number in range(tasks) if kept is not None and kept.has(number)]
    for number in there:
        assert kept is not None
        yield number, kept.get(number)
    left = sorted(set(range(tasks)) - set(there))
    if not left:
        return
    for number, result in engine.run(work, left):
        if kept is not None:
            kept.put(number, result)
        yield number, result
