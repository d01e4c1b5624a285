"""Which column of a log plays which role, and what a misnamed one was probably meant to be."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable

from recbayes.types import UserError

ROLES = ("clicks", "impressions", "reward", "item", "group", "cluster", "time", "propensity", "position", "candidates")


@dataclasses.dataclass(frozen=True)
class Columns:
    """The roles of a log's columns; each value is a column's name, None where the log has no such column.

    clicks, impressions: counts of one row (without `impressions` a row is one impression). reward: a number instead of clicks.
    item: what is shown. group: rows that compete. cluster: rows that stay together in splits and bootstraps. time: order of rows.
    propensity: probability in (0, 1] with which the shown item was shown. position: slot. candidates: list of what could be shown.
    features: columns that a model may use; a role's column may be one of them.
    """

    clicks: str | None = None
    impressions: str | None = None
    reward: str | None = None
    item: str | None = None
    group: str | None = None
    cluster: str | None = None
    time: str | None = None
    propensity: str | None = None
    position: str | None = None
    candidates: str | None = None
    features: tuple[str, ...] = ()

    @property
    def roles(self) -> dict[str, str]:
        """Role -> column name, of the roles that the log has."""
        return {role: name for role in ROLES if (name := getattr(self, role)) is not None}

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that has a role or is a feature, once."""
        return tuple(dict.fromkeys((*self.roles.values(), *self.features)))

    def user_of(self, name: str) -> str:
        """What a column is used for, in words: "clicks", "feature", "time and feature"."""
        uses = [role for role, column in self.roles.items() if column == name]
        return " and ".join(uses + ["feature"] * (name in self.features))


def check_roles(columns: Columns) -> None:
    """Raise UserError where the roles contradict each other."""
    if (columns.clicks is None) == (columns.reward is None):
        raise UserError("log: name the column of clicks, or that of a reward instead of it: exactly one of them is needed.")
    if columns.reward is not None and columns.impressions is not None:
        raise UserError("log: a reward is one number of one decision and has no impressions: leave `impressions` out.")
    outcome = {columns.clicks, columns.impressions, columns.reward} - {None}
    if leaked := [name for name in columns.features if name in outcome]:
        raise UserError(f"log: {listed(leaked)} cannot be a feature: it is the outcome (or its number of trials) that the model predicts.")


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known name, or nothing.

    >>> nearest("click", ["clicks", "impressions"])
    " Did you mean 'clicks'?"
    """
    known = list(known)
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    return f" Did you mean {lower[close[0]]!r}?" if close else ""


def listed(names: Iterable[object], most: int = 12) -> str:
    """Names in one line: the first few, then how many more.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = [str(name) for name in names]
    more = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {more:,} more" if more > 0 else "")
