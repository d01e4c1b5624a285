"""The control of a policy: the same policy, which is told of each candidate another one's uncertainty.

It is no `kind` that a config may name: simulations add it by themselves.
"""

from __future__ import annotations

from recbayes.policies.base import CONTROL, Policy
from recbayes.types import UserError


def shuffled(policy: Policy) -> Policy:
    """The policy with the uncertainty of a decision's candidates exchanged among them at every step; means stay each one's own.

    It explores as much as the policy, but not where the doubt is. Where it earns as much, the uncertainty did not help: what helped
    was exploring at all.

    Args:
      policy: one that looks at uncertainty, such as `ucb` or `thompson`; a grid's control is a grid.

    Returns: the policy, named after the given one: density/ucb~shuffled.
    Raises: UserError if the policy looks at means alone.

    >>> from recbayes.policies import ucb
    >>> shuffled(ucb("counts")).name
    'counts/ucb~shuffled'
    """
    if not policy.uncertain:
        raise UserError(
            f"shuffled: {policy.name} looks at means alone, so it has no uncertainty to exchange. Give ucb, thompson or the like"
        )
    return policy._replace(name=f"{policy.name}{CONTROL}", settings={**policy.settings, "shuffled": True})
