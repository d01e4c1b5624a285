"""A policy to judge: in each row of a log, its probability of what was shown, and of all that it could have shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from recbayes.types import Array


class Choices(NamedTuple):
    """What a policy would show in rows [n]; rows of equal `context` share one of C vectors over A places.

    shown: probability of the item that was shown, [n]. context: [n], None for a policy that is known by `shown` alone (the log's own).
    items: [C, A], or [A] where all contexts have the same; a place with probability 0 may hold anything. probability: [C, A], rows sum to
    1. row: a row of each context, [C]: it tells the context's position and features.
    """

    shown: Array
    context: Array | None = None
    items: Array | None = None
    probability: Array | None = None
    row: Array | None = None


class Target(NamedTuple):
    """A policy to judge. Built by the functions `table`, `logged` and `exported` of this room.

    kind: the function that built it. name: in results. choices: (rows of a log) -> Choices. own: whether it is the log's own policy.
    over: (stream of a whole log) -> choices of its batches, where it takes the whole log to know what could be shown; else None.
    """

    kind: str
    name: str
    choices: Callable[[Any], Choices]
    own: bool = False
    over: Callable[[Any], Callable[[Any], Choices]] | None = None

    def meet(self, stream: Any) -> Target:
        """The policy, knowing the log whose batches it will be asked about."""
        return self if self.over is None else self._replace(choices=self.over(stream))


def contexts(codes: Array) -> tuple[Array, Array]:
    """Codes as 0, 1, ... in order, [n], and the first row of each, [C].

    >>> contexts(np.array([7, 3, 7]))
    (array([1, 0, 1]), array([1, 0]))
    """
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return inverse, first
