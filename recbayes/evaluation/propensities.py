"""Where propensities come from: the log, or, if it has none, a fit to what it shows, marked as such wherever it enters.

What such a log identifies: the log's own value, and, if nothing but the named columns made the logging policy choose, that of other
policies. That condition can't be checked from the log. What can be is: are the fitted probabilities calibrated on rows they were not fitted
to, and is there overlap?

    p(item | position) = (count + a / items) / (rows + a)
    p(item | cell) = (count + b p(item | position)) / (rows + b)

A cell is the rows equal in position and the `given` columns; in a log with groups, the group, whose items share its showings (a = b = 0).
Both strengths are those that predict held-out rows best.

Source: Rosenbaum and Rubin 1983, The central role of the propensity score; calibration: Hosmer and Lemeshow 1980.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from recbayes.evaluation.decisions import decisions_of
from recbayes.evaluation.target import Target
from recbayes.evaluation.verdict import Doubt
from recbayes.log.stream import Stream
from recbayes.types import Array, UserError

FOLDS = 5
STRENGTHS = tuple(10.0**k for k in range(9))
ALARM = 1e-3
"""Calibration is called off below this p-value."""
RARE = 1e-3
"""Propensities below it are little overlap."""
IDENTIFIED = (
    "The log has no propensities; they were fitted to what it shows.",
    "Identified without any assumption: the mean reward of the log's own policy, on the rows it has.",
    "Identified only if the logging policy looked at {given}: what another policy would have earned. If it also looked at "
    "something that moves the reward (a score, the user), the figures are biased by an amount that this log can't tell.",
    "Not identified at all: the value of items in places where the log never shows them.",
    "To be sure, log the probability with which each item was shown; a small share of random choices is enough.",
)
ROLES = ("clicks", "impressions", "reward", "propensity")


class Propensities(NamedTuple):
    """of: (rows of a log) -> propensity of what each shows, [n]. doubts: of all figures that use them. about: for evaluation.json."""

    of: Callable[[Any], Array]
    doubts: tuple[Doubt, ...]
    about: Mapping[str, Any]

    def doubts_of(self, target: Target) -> tuple[Doubt, ...]:
        """The doubts about a policy's figures: the log's own has weight 1 whatever they are."""
        return () if target.own else self.doubts


def propensities_of(stream: Stream, asked: str, given: Sequence[str]) -> Propensities:
    """The log's propensities, or fitted ones.

    Raises: UserError where they are asked for and are not there, or a given column tells the outcome.
    """
    if asked == "logged" and stream.columns.propensity is None:
        raise UserError(
            f"evaluate: {stream.source} has no propensities. Name their column (log.columns.propensity), or let them be fitted to the log: "
            "propensities=fitted. Fitted ones rest on an assumption that the log can't confirm."
        )
    if asked != "fitted" and stream.columns.propensity is not None:
        return Propensities(lambda log: np.asarray(log.propensity, np.float64), (), {"propensities": "logged", "identified": []})
    outcome = [name for name in given if name in {getattr(stream.columns, role) for role in ROLES}]
    if outcome:
        raise UserError(f"evaluate: given names {', '.join(outcome)}: the logging policy can't have looked at the outcome. Leave it out.")
    if stream.columns.item is None:
        return Propensities(lambda log: np.ones(len(log)), (), {"propensities": "none", "identified": list(IDENTIFIED[1:2])})
    return fitted(stream, given)


def fitted(stream: Stream, given: Sequence[str]) -> Propensities:
    """A propensity model of the log, with its checks.

    >>> from recbayes.log.stream import stream_log
    >>> log = stream_log("example:open_bandit", clicks="click", item="item_id", position="position")
    >>> made = fitted(log, [])
    >>> made.about["propensities"], made.doubts[0].severity
    ('fitted', 'caution')
    """
    cells = cell_columns(stream, given)
    counts = pd.concat([_counts(log, first, cells) for first, log in stream]).groupby(level=[0, 1, 2, 3]).sum()
    grouped = stream.columns.group is not None and not given
    strength = (0.0, 0.0) if grouped else best_strength(counts, bool(cells))
    table = shares(counts.groupby(level=[1, 2, 3]).sum(), strength)

    def of(log: Any) -> Array:
        keys = pd.MultiIndex.from_frame(_keys(log, cells))
        return table.reindex(keys).to_numpy(np.float64)

    checks = {} if grouped else calibration(counts, strength)
    own = table.to_numpy(np.float64)
    shown = counts.groupby(level=[1, 2, 3]).sum().to_numpy(np.float64)
    smallest, rare = float(own.min()), float(shown[own < RARE].sum() / shown.sum())
    names = ["the group (within one, items were shown at random)"] if grouped else cells
    names = [*names, f"the position ({stream.columns.position})"] if stream.columns.position is not None else names
    told = f"nothing but {' and '.join(names)}" if names else "nothing"
    about = {
        "propensities": "fitted",
        "identified": [line.format(given=told) for line in IDENTIFIED],
        "propensity_model": {
            "given": list(cells),
            "strength": list(strength),
            "smallest": smallest,
            "rare_share": rare,
            **checks,
        },
    }
    return Propensities(of, tuple(_doubts(told, checks, smallest, rare)), about)


def cell_columns(stream: Stream, given: Sequence[str]) -> list[str]:
    """The columns whose equal values make a cell."""
    if stream.columns.group is not None and not given:
        return [stream.columns.group]
    return list(given)


def best_strength(counts: pd.Series, celled: bool) -> tuple[float, float]:
    """The strengths that predict held-out rows best: the position's first, then the cell's."""
    place = max(STRENGTHS, key=lambda s: held_out(counts, (s, STRENGTHS[-1])))
    return place, max(STRENGTHS, key=lambda s: held_out(counts, (place, s))) if celled else STRENGTHS[-1]


def shares(counts: pd.Series, strength: tuple[float, float]) -> pd.Series:
    """Each item's share of its cell, shrunk to its share at the position, that to equal shares; by position, cell and item."""
    place = counts.groupby(level=[0, 2]).sum()
    items, rows = place.groupby(level=0).transform("size"), place.groupby(level=0).transform("sum")
    marginal = (place + strength[0] / items) / (rows + max(strength[0], 1e-12))
    prior = marginal.reindex(pd.MultiIndex.from_arrays([counts.index.get_level_values(0), counts.index.get_level_values(2)])).to_numpy()
    total = counts.groupby(level=[0, 1]).transform("sum")
    return (counts + strength[1] * prior) / (total + max(strength[1], 1e-12))


def held_out(counts: pd.Series, strength: tuple[float, float]) -> float:
    """Log likelihood a decision of rows whose fold the shares were not fitted to."""
    total = 0.0
    for _, observed, predicted in _folds(counts, strength):
        total += float((observed * np.log(np.maximum(predicted, 1e-12))).sum())
    return total / float(counts.sum())


def calibration(counts: pd.Series, strength: tuple[float, float]) -> dict[str, Any]:
    """Held-out items by tenths of their fitted probability: how often they were expected and were shown, with chi-squared.

    Returns: bins, chi2, its degrees of freedom and p-value.
    """
    parts = [(cell, observed, predicted) for cell, observed, predicted in _folds(counts, strength)]
    observed, expected, predicted = (
        np.concatenate([o for _, o, _ in parts]),
        np.concatenate([c * p for c, _, p in parts]),
        np.concatenate([p for _, _, p in parts]),
    )
    order = np.argsort(predicted, kind="stable")
    tenth = np.minimum((np.cumsum(expected[order]) / max(expected.sum(), 1e-12) * 10).astype(int), 9)
    seen, due = np.bincount(tenth, observed[order], 10), np.bincount(tenth, expected[order], 10)
    there = due > 0
    chi2 = float((np.square(seen - due)[there] / due[there]).sum())
    freedom = max(int(there.sum()) - 1, 1)
    bins = [{"expected": float(d), "observed": float(s)} for d, s in zip(due[there], seen[there])]
    return {"bins": bins, "chi2": chi2, "degrees": freedom, "p_value": float(stats.chi2.sf(chi2, freedom))}


def _folds(counts: pd.Series, strength: tuple[float, float]) -> Any:
    """(held-out decisions of the cell, of the item, fitted probability) of each cell and item, fold by fold."""
    whole = counts.groupby(level=[1, 2, 3]).sum()
    for fold in range(FOLDS):
        here = counts[counts.index.get_level_values(0) == fold].droplevel(0)
        if not len(here):
            continue
        own = here.reindex(whole.index, fill_value=0.0)
        cell = own.groupby(level=[0, 1]).transform("sum")
        predicted = shares(whole - own, strength)
        there = cell.to_numpy() > 0
        yield cell.to_numpy()[there], own.to_numpy()[there], predicted.to_numpy()[there]


def _keys(log: Any, cells: Sequence[str]) -> pd.DataFrame:
    """Position, cell and item of each row, [n]."""
    position, columns = log.columns.position, [log.column(name).to_numpy() for name in cells]
    cell = pd.Series(list(zip(*columns)), dtype=object) if len(columns) > 1 else columns[0] if columns else np.zeros(len(log), np.int64)
    place = log.column(position).to_numpy() if position is not None else np.zeros(len(log), np.int64)
    return pd.DataFrame({"place": place, "cell": cell, "item": np.asarray(log.item)})


def _counts(log: Any, first: int, cells: Sequence[str]) -> pd.Series:
    """Decisions by fold, position, cell and item."""
    made = decisions_of(log, first, FOLDS)
    count = np.ones(len(log)) if made.times is None else np.bincount(made.row, made.times, len(log))
    frame = _keys(log, cells).assign(fold=made.fold, count=count)
    counts: pd.Series = frame.groupby(["fold", "place", "cell", "item"])["count"].sum()
    return counts


def _doubts(told: str, checks: Mapping[str, Any], smallest: float, rare: float) -> Any:
    """What fitted propensities do to every figure that uses them: never more than caution."""
    yield Doubt(
        "fitted_propensities", "caution", f"Propensities are fitted, not logged: right only if the logging policy looked at {told}."
    )
    if checks and checks["p_value"] < ALARM:
        odds = f"chi-squared {checks['chi2']:.0f} on {checks['degrees']}, p = {checks['p_value']:.1g}"
        yield Doubt("calibration", "do_not_trust", f"They are not calibrated on held-out rows ({odds}).")
    if rare > 0.01 or not math.isfinite(smallest):
        yield Doubt("overlap", "caution", f"{rare:.1%} of decisions have a fitted propensity below {RARE:g}: little overlap.")
