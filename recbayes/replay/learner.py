"""What a learner is in replay: prior beliefs of the world's arms, a state that takes feedback, and what policies see of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from recbayes.replay.world import Feedback, Offer, World
from recbayes.types import Array, Tensor


class Prior(NamedTuple):
    """What a learner starts from in a part of a world. arms: beliefs of its arms, laid out; settings: as bound; present: bool [A, G]."""

    arms: Any
    settings: Any
    present: Tensor


def itself(state: Any, prior: Prior, offer: Offer) -> Any:
    """The state as it is: a learner that has no way of its own to look at all replicas at once."""
    return state


class Again(NamedTuple):
    """A learner that is made anew on a schedule, on the host, of one replica.

    every: steps between; made: (state, place of each arm's row, present, seed) -> the learner from then on, whose state goes on; token:
    what it depends on beside the arms it starts from.
    """

    every: int
    made: Callable[[Any, Array, Array, int], Bound]
    token: str


class Bound(NamedTuple):
    """A learner on the arms of one world. All functions are pure and compile under XLA.

    arms: NumPy arrays [N, ...] of prior beliefs, in any structure; the functions get them as the world's parts lay them out; settings:
    numbers that programs share, as tensors. start: (prior, replicas) -> state of all replicas, in any layout. look: (state, prior, offer)
    -> what is known of what is offered, R in front. predictive: (known, prior, offer), of one replica -> what the policy sees, [B, A].
    update: (state, prior, feedback) -> state of all replicas. together: groups share a state and must stay in one part. program: equal
    for bound learners that differ in `arms` and `settings` alone, which then share compiled programs. numbers: in a replica's state, where
    they may be many. again: how it is made anew, for learners that are.
    """

    arms: Any
    start: Callable[[Prior, int], Any]
    update: Callable[[Any, Prior, Feedback], Any]
    predictive: Callable[[Any, Prior, Offer], Any]
    together: bool
    program: Hashable
    look: Callable[[Any, Prior, Offer], Any] = itself
    settings: Any = ()
    numbers: int = 0
    again: Again | None = None


class Learner(NamedTuple):
    """What takes feedback in replay. Built by `counts` and `density`.

    kind: the function that built it; settings and source (a fitted model, a training log or None): to build it again; bind: its beliefs
    about the arms of a world; of_rates: they are of click rates in (0, 1), not of any reward; beside: what else tells it from another.
    """

    kind: str
    settings: Mapping[str, Any]
    source: Any
    bind: Callable[[World], Bound]
    of_rates: bool = True
    beside: Hashable = ()

    @property
    def identity(self) -> Hashable:
        """Equal for learners that learn the same."""
        return self.kind, tuple(sorted(self.settings.items())), id(self.source), self.beside


def nothing() -> Learner:
    """What uniform learns."""
    bound = Bound(None, lambda prior, replicas: (), lambda state, prior, feedback: (), lambda known, prior, offer: None, False, "nothing")
    return Learner("nothing", {}, None, lambda world: bound)
