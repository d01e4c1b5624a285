"""The record of a policy, and the checks of the settings that all share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.policies.exchanged import exchange, placed, turned
from recbayes.policies.shares import checked, with_floor
from recbayes.random import fold
from recbayes.types import Clock, Tensor, UserError

Rule = Callable[..., Tensor]
"""(predictive, candidates, clock, seed, exploration, **settings) -> probabilities [..., B, A], the floor not yet in them."""


CONTROL = "~shuffled"
"""What a control's name ends in."""
EXCHANGE = 0x5EED
"""The number of the stream that a control's exchanges come from: the policy's own draws stay as they are without it."""


class Policy(NamedTuple):
    """A policy over a learner. Built by the functions of this room.

    kind: the function that built it; name: how results call it; learner: what takes feedback in replay (None for uniform and in an
    export); settings: to build it again, `exploration` and `floor` among them; rule: its mathematics; uncertain: it looks at more than the
    means, so that exchanging the uncertainty makes another policy of it; of_rates: its mathematics are of click rates in (0, 1), not of any
    reward. With several explorations it is a grid: `members` has a policy for each.
    """

    kind: str
    name: str
    learner: Any
    settings: Mapping[str, Any]
    rule: Rule
    uncertain: bool = False
    of_rates: bool = False

    @classmethod
    def of(
        cls, kind: str, rule: Rule, learner: Any, name: str, *, uncertain: bool = False, of_rates: bool = False, **settings: Any
    ) -> Policy:
        """A policy with its settings checked and its name filled in: learner and kind joined, as density/thompson.

        Raises: UserError for an exploration or floor out of range.
        """
        exploration, floor = settings.get("exploration", 0.0), settings.get("floor", 0.0)
        if not scales(exploration):
            raise UserError(f"{kind}: exploration is an empty list: give one number, or some to try each")
        if wrong := [scale for scale in scales(exploration) if not (math.isfinite(scale) and scale >= 0.0)]:
            raise UserError(f"{kind}: exploration is {wrong[0]}, must be a finite number of at least 0 (0 is greedy)")
        if isinstance(exploration, Sequence):
            settings["exploration"] = scales(exploration)
        if not 0.0 <= floor <= 1.0:
            raise UserError(f"{kind}: floor is {floor}, must be in [0, 1]: it is uniform's share of the decisions")
        return cls(kind, name or "/".join(filter(None, [learner_name(learner), kind])), learner, settings, rule, uncertain, of_rates)

    @property
    def exploration(self) -> float:
        """The knob's setting; 0 for policies without one.

        Raises: UserError for a grid, which replay plays but nobody can serve.
        """
        exploration = self.settings.get("exploration", 0.0)
        if isinstance(exploration, tuple):
            raise UserError(f"{self.name}: exploration is a grid, {list(exploration)}, and one choice needs one number")
        return float(exploration)

    @property
    def members(self) -> list[Policy]:
        """A grid's policies, one an exploration, named after it as density/ucb@0.5; of any other policy itself."""
        exploration = self.settings.get("exploration", 0.0)
        if not isinstance(exploration, tuple):
            return [self]
        stem, end = self.name.removesuffix(CONTROL), CONTROL if self.is_control else ""
        return [self._replace(name=f"{stem}@{scale:g}{end}", settings={**self.settings, "exploration": scale}) for scale in exploration]

    @property
    def is_control(self) -> bool:
        """Whether it sees exchanged uncertainty: built by `shuffled`."""
        return bool(self.settings.get("shuffled", False))

    def probabilities(
        self,
        predictive: Any,
        candidates: Tensor,
        clock: Clock,
        seed: Tensor,
        *,
        exploration: Tensor | None = None,
    ) -> Tensor:
        """Probability with which each candidate is shown, floor included.

        Args:
          predictive: a `Predictive` of B decisions and A candidates.
          candidates: True where the candidate may be shown, bool [..., B, A].
          clock: where each decision stands, each [..., B] or broadcasting to it.
          seed: int32 [2].
          exploration: [], in place of the policy's own setting.

        Returns: float32 [..., B, A], sum 1, exactly 0 where nothing may be shown.
        Raises: ValueError if a decision has no candidate (outside compiled code), with the decision's place.
        """
        candidates = checked(candidates)
        knob = tf.cast(self.exploration if exploration is None else exploration, getattr(predictive, "dtype", tf.float32))
        if self.is_control:
            here, back = turned(candidates, fold(seed, EXCHANGE))
            shares = self.rule(exchange(predictive, here), candidates, clock, seed, knob, **self.static)
            shares = placed(shares, back)
        else:
            shares = self.rule(predictive, candidates, clock, seed, knob, **self.static)
        return with_floor(shares, candidates, self.settings.get("floor", 0.0))

    @property
    def static(self) -> dict[str, Any]:
        """Settings that shape the program: all but exploration, floor and whether it is a control."""
        return {key: value for key, value in self.settings.items() if key not in ("exploration", "floor", "shuffled")}


def scales(exploration: float | Sequence[float]) -> tuple[float, ...]:
    """The explorations of a setting that is one number or several.

    >>> scales(0.5), scales([0, 1])
    ((0.5,), (0.0, 1.0))
    """
    return tuple(map(float, exploration)) if isinstance(exploration, Sequence) else (float(exploration),)


def learner_name(learner: Any) -> str:
    """How results call a learner: its kind; a fitted model is the density learner's.

    >>> learner_name(None), learner_name("counts")
    ('', 'counts')
    """
    if learner is None or isinstance(learner, str):
        return learner or ""
    return str(getattr(learner, "kind", "density"))
