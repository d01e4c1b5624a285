"""What a learner is in replay: prior beliefs of the world's arms, a state that takes feedback, and what policies see of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from recbayes.replay.world import World
from recbayes.types import Tensor


class Bound(NamedTuple):
    """A learner on the arms of one world. All functions are pure, of one replica, and compile under XLA.

    arms: NumPy arrays [N, ...] of prior beliefs, in any structure; the functions get them laid out as [..., A, G]. start: () -> state
    [A, G]'s zeros given (arms, present). update: (state, shown, clicks [A, G]) -> state. predictive: (state, arms, present) -> what the
    policy sees, [G, A]. together: groups share a state and must stay in one block. program: equal for bound learners that differ in
    `arms` alone, which then share compiled programs.
    """

    arms: Any
    start: Callable[[Any, Tensor], Any]
    update: Callable[[Any, Tensor, Tensor], Any]
    predictive: Callable[[Any, Any, Tensor], Any]
    together: bool
    program: Hashable


class Learner(NamedTuple):
    """What takes feedback in replay. Built by `counts` and `density`.

    kind: the function that built it; settings and source (a fitted model, a training log or None): to build it again; bind: its beliefs
    about the arms of a world.
    """

    kind: str
    settings: Mapping[str, Any]
    source: Any
    bind: Callable[[World], Bound]

    @property
    def identity(self) -> Hashable:
        """Equal for learners that learn the same."""
        return self.kind, tuple(sorted(self.settings.items())), id(self.source)
