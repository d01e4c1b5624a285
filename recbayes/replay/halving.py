"""Successive halving: many policies in few replicas, the better half of them in twice as many, until few are left in all replicas.

Each round plays the policies that are left over the same world on common random numbers, in more replicas than the round before, and
keeps the better half by expected clicks. It spends about as much on every round. The lifts of those that are left flatter them: they
were picked for being high. Take what is said of the winner from groups (on a test bed, from replicas) that had no part in this, as the
simulate stage does.

Source: Karnin, Koren and Somekh 2013; Jamieson and Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from recbayes.policies import Policy, greedy, knowledge_gradient, thompson, ucb, uniform
from recbayes.replay.replay import replay
from recbayes.replay.result import Result, undefined
from recbayes.replay.world import World
from recbayes.types import UserError


class Halving(NamedTuple):
    """rounds: replicas, and each policy's lift over uniform in them; kept: names left after each round, best first; result: of the last.

    Where uniform earns nothing, or less, a lift is None.
    """

    rounds: list[tuple[int, dict[str, float | None]]]
    kept: list[list[str]]
    result: Result

    @property
    def best(self) -> str:
        """The policy that did best in the last round."""
        return self.kept[-1][0]

    def to_json(self) -> dict[str, Any]:
        """Rounds as they went."""
        return {
            "tried": len(self.rounds[0][1]),
            "best": self.best,
            "rounds": [{"seeds": seeds, "lifts": lifts, "kept": kept} for (seeds, lifts), kept in zip(self.rounds, self.kept, strict=True)],
        }


def halve(
    world: World,
    policies: Sequence[Policy],
    *,
    seeds: Sequence[int] = (2, 4, 8),
    keep: int = 3,
    stay: Sequence[str] = ("uniform", "greedy"),
    **settings: Any,
) -> Halving:
    """Find the best of many policies.

    Args:
      world: of groups that are there to choose on.
      policies: with their learners; grids count as many.
      seeds: replicas of each round, rising.
      keep: policies that are left at least, if there were as many.
      stay: kinds that are played to the end whatever they earn: what the others are judged by.
      **settings: as for `replay`.

    Returns: the rounds, and the last one's result.
    Raises: UserError if seeds do not rise or keep is below 1.

    >>> halve(None, [], seeds=(4, 2))
    Traceback (most recent call last):
    recbayes.types.UserError: halve: seeds are 4, 2: each round needs more replicas than the one before
    """
    if not seeds or any(later <= earlier for earlier, later in itertools.pairwise(seeds)):
        raise UserError(f"halve: seeds are {', '.join(map(str, seeds)) or 'none'}: each round needs more replicas than the one before")
    if keep < 1:
        raise UserError(f"halve: keep is {keep}, must be at least 1")
    left = [one for policy in policies for one in policy.members]
    rounds, kept = [], []
    for number in seeds:
        result = replay(world, left, seeds=number, **settings)
        lifts = {name: None if undefined(lift := result.over_uniform(name).lift) else lift for name in result.policies}
        order = sorted(lifts, key=lambda name: -result.earned(name))
        better = order[: max(keep, -(-len(order) // 2))]
        left = [policy for policy in left if policy.name in better or policy.kind in stay]
        names = {policy.name for policy in left}
        kept.append([name for name in order if name in names])
        rounds.append((number, lifts))
    return Halving(rounds, kept, result)


def policy_family(learner: Any) -> list[Policy]:
    """Policies worth trying over a learner: greedy, and UCB, Thompson and knowledge gradient from timid to bold.

    Args:
      learner: a fitted model, `counts()` or `density(fitted)`; over `linear` and the like, those that take any reward.

    >>> [policy.kind for policy in policy_family("counts")]
    ['uniform', 'greedy', 'ucb', 'thompson', 'knowledge_gradient']
    """
    family = [
        uniform(),
        greedy(learner),
        ucb(learner, exploration=[0.25, 0.5, 1.0, 2.0]),
        thompson(learner, exploration=[0.1, 0.25, 0.5, 1.0]),
        knowledge_gradient(learner, exploration=[0.5, 1.0]),
    ]
    return [policy for policy in family if not policy.of_rates or getattr(learner, "of_rates", True)]
