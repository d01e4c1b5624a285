"""What is wrong with the settings of a world or a learner, told all at once."""

from __future__ import annotations

from collections.abc import Iterable

from recbayes.types import UserError


def check(kind: str, faults: Iterable[tuple[bool, str]]) -> None:
    """Nothing if no fault is there.

    Args:
      kind: of world or learner.
      faults: whether each is there, and what it is.

    Raises: UserError naming all that are.

    >>> check("wheel", [(True, "delta is 2, must be in (0, 1)"), (False, "")])
    Traceback (most recent call last):
    recbayes.types.UserError: wheel: delta is 2, must be in (0, 1)
    """
    if found := [message for wrong, message in faults if wrong]:
        raise UserError(f"{kind}: {'; '.join(found)}")
