"""What a check has to say."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

import numpy as np

from recbayes.types import Array

Severity: TypeAlias = Literal["ok", "info", "warn", "fail"]
SHOWN = 20
"""So many row numbers are kept."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of an audit. rows: how many rows it is about; first: the numbers of the first ones in the log, counted from 0."""

    check: str
    severity: Severity
    message: str
    rows: int = 0
    first: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As audit.json has it."""
        return {"check": self.check, "severity": self.severity, "rows": self.rows, "first": list(self.first), "message": self.message}


def about(check: str, severity: Severity, message: str, is_row: Array) -> Finding:
    """A finding about the rows where the mask [N] is True.

    >>> about("time", "warn", "backwards", np.array([False, True, True]))
    Finding(check='time', severity='warn', message='backwards', rows=2, first=(1, 2))
    """
    rows = np.flatnonzero(is_row)
    return Finding(check, severity, message, len(rows), tuple(rows[:SHOWN].tolist()))


def counted(number: int, thing: str) -> str:
    """A number with its noun.

    >>> counted(1, "row"), counted(3200, "row")
    ('1 row', '3,200 rows')
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"
