"""Which task a worker gets next: one like those it has done, so that each program is compiled by few workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable


class Waiting:
    """Tasks that wait, by label.

    A worker goes on with a label that it has begun; else it begins one that no worker has; else it helps where most tasks wait.

    >>> waiting = Waiting(range(6), lambda number: "ab"[number % 2])
    >>> mine, others = set(), set()
    >>> waiting.next(mine), waiting.next(others), waiting.next(mine), waiting.next(mine), waiting.next(mine)
    (0, 1, 2, 4, 3)
    """

    def __init__(self, numbers: Iterable[int], alike: Callable[[int], Hashable] | None) -> None:
        self._label: Callable[[int], Hashable] = alike or (lambda number: None)
        self._queues: dict[Hashable, deque[int]] = {}
        self._begun: set[Hashable] = set()
        for number in numbers:
            self._queues.setdefault(self._label(number), deque()).append(number)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def next(self, known: set[Hashable]) -> int | None:
        """The next task for a worker that has begun the labels `known`, to which its label is added; None where none waits."""
        there = [label for label, queue in self._queues.items() if queue]
        if not there:
            return None
        label = max(there, key=lambda label: (label in known, label not in self._begun, len(self._queues[label])))
        known.add(label)
        self._begun.add(label)
        return self._queues[label].popleft()

    def back(self, number: int) -> None:
        """A task whose worker was lost waits again, before all others of its label."""
        self._queues[self._label(number)].appendleft(number)
