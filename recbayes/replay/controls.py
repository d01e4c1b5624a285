"""What is always worth having beside a policy: uniform, greedy over the same learner, and the policy with its uncertainty shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from recbayes.policies import Policy, greedy, uniform
from recbayes.policies.control import shuffled
from recbayes.replay.learner import nothing
from recbayes.types import UserError


def guarded(policies: Sequence[Policy], controls: Literal["all"] | Sequence[str]) -> list[Policy]:
    """The policies and what is missing to judge them by.

    Args:
      policies: with learners that have an identity.
      controls: names of the policies to shuffle the uncertainty of, or all of those that look at it; none adds nothing at all.

    Raises: UserError for a name that is not there, or whose policy looks at means alone.
    """
    named = {policy.name: policy for policy in policies}
    if unknown := [name for name in controls if controls != "all" and name not in named]:
        raise UserError(f"replay: controls names {unknown[0]!r}, which is not replayed. Replayed are {', '.join(named)}")
    wanted = [p.name for p in policies if p.uncertain and not p.is_control] if controls == "all" else list(controls)
    if controls != "all" and not wanted:
        return list(policies)
    made = [shuffled(named[name]) for name in wanted]
    return [*policies, *baselines(policies), *(control for control in made if control.name not in named)]


def baselines(policies: Sequence[Policy]) -> list[Policy]:
    """Uniform, and greedy over each learner, where they are missing."""
    found = [] if any(policy.kind == "uniform" for policy in policies) else [uniform()._replace(learner=nothing())]
    there = {policy.learner.identity for policy in policies if policy.kind == "greedy"}
    names = {policy.name for policy in policies}
    for policy in policies:
        if policy.kind != "uniform" and policy.learner.identity not in there:
            there.add(policy.learner.identity)
            best = greedy(policy.learner)
            found.append(best if best.name not in names else best._replace(name=f"{policy.name}~greedy"))
            names.add(found[-1].name)
    return found
