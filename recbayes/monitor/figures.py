"""`monitor`: a served log against the model that served it.

Clicks are compared with what was expected when each decision was made. That comparison is fair though the policy chose what to see: given
what was known when an answer was given, a click is 1 with the probability that the model should have stated. Answers that were given from
the same counts rise and fall together, as nobody knew the page any better in between: with the standard deviation s that was stated,

    z = sum (click - mean) / sqrt(sum mean (1 - mean) + sum over pairs i, j answered from the same counts of s_i s_j)

has mean 0 and a variance of at most 1 for a calibrated model, whatever was shown (batches of answers are a martingale's steps; s_i s_j is
the most that two rates can covary). Doubt that all pages share (the weights') is not in it. Coverage of an item's whole count is not
fair: a bandit shows longer what began well, so intervals of the most shown items hold a little less than they say.

Drift of the features: drift.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from recbayes.monitor.drift import drift
from recbayes.monitor.layout import checked
from recbayes.types import Array

PERIODS, LARGE, SURE = 10, 0.25, 4.0
"""Parts of the log's time; a large drift; a surprising z."""


class Monitor(NamedTuple):
    """What was found; `figures` as JSON has it, `warnings` a sentence each."""

    figures: dict[str, Any]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"warnings": self.warnings, **self.figures}


def monitor(rows: pa.Table, encoder: Any, reference: Any = None, *, expected: Mapping[str, Array] | None = None) -> Monitor:
    """Figures of a served log.

    Args:
      rows: in the layout of `served`.
      encoder: of the model that served.
      reference: the log that it was trained on, for drift; None leaves it out.
      expected: `mean` and `stddev` of each row's item from its features alone, [N], for coverage; None leaves it out.

    Raises: UserError if a column of the layout is missing, holds what can't be, or no clicks are known yet.
    """
    checked(rows)
    known = np.asarray(rows["clicks"].is_valid())
    told = rows.filter(pa.array(known))
    time, clicks, mean, stddev = (np.asarray(told[name], np.float64) for name in ("time", "clicks", "mean", "stddev"))
    batch = batches(told["group"].to_pylist(), told["item"].to_pylist(), mean, time)
    figures: dict[str, Any] = {
        "decisions": len(rows),
        "unknown_outcomes": int((~known).sum()),
        "click_rate": against(clicks, mean, stddev, batch),
        "periods": periods(time, clicks, mean, stddev, batch),
        "exploration": exploration(rows),
    }
    if expected is not None:
        figures["coverage"] = coverage(told, {name: np.asarray(v)[known] for name, v in expected.items()})
    if reference is not None:
        figures["features"] = drift(encoder, rows, reference)
    return Monitor(figures, warnings(figures))


def against(clicks: Array, mean: Array, stddev: Array, batch: Array) -> dict[str, float]:
    """Observed and expected click rate, and how surprising their difference is.

    Args:
      clicks: [N].
      mean: expected when the decision was made, [N].
      stddev: its standard deviation, [N].
      batch: a whole number a row, equal for rows answered from the same counts, [N].

    >>> against(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.zeros(2), np.array([0, 1]))["z"]
    0.0
    """
    code = np.unique(batch, return_inverse=True)[1]
    together = np.bincount(code, stddev) ** 2 - np.bincount(code, stddev**2)
    spread = math.sqrt(float((mean * (1.0 - mean)).sum() + together.clip(0.0).sum()))
    return {
        "observed": float(clicks.mean()),
        "expected": float(mean.mean()),
        "z": float((clicks - mean).sum()) / spread,
    }


def batches(group: Array, item: Array, mean: Array, time: Array) -> Array:
    """Which rows were answered from the same counts: a whole number a row, [N].

    A page's next batch begins where an item comes with a mean that it never had, though it was shown in this batch with another: its counts
    have been updated. (A server that lags behind answers with means that were there before: it begins none.)

    >>> batches(["p", "p", "p", "q"], ["a", "b", "a", "a"], np.array([0.1, 0.2, 0.3, 0.1]), np.arange(4)).tolist()
    [0, 0, 1, 2]
    """
    found, pages, begun = np.empty(len(time), np.int64), {}, 0
    version = np.round(np.log(mean) * 1e5).astype(np.int64).tolist()  # equal where a mean differs by rounding alone
    for row in np.argsort(time, kind="stable").tolist():
        if group[row] not in pages:
            pages[group[row]] = _Page(begun, {}, set())
            begun += 1
        page, at, now = pages[group[row]], item[row], version[row]
        if page.shown.get(at, now) != now and (at, now) not in page.had:
            page = pages[group[row]] = _Page(begun, {}, page.had)
            begun += 1
        page.shown[at] = now
        page.had.add((at, now))
        found[row] = page.batch
    return found


class _Page(NamedTuple):
    """A page's batch, the items shown in it with their mean, and all means that its items had."""

    batch: int
    shown: dict[Any, int]
    had: set[tuple[Any, int]]


def periods(time: Array, clicks: Array, mean: Array, stddev: Array, batch: Array) -> list[dict[str, float]]:
    """The same in equal parts of the decisions, by time."""
    parts = np.array_split(np.argsort(time, kind="stable"), min(PERIODS, len(time)))
    columns = (clicks, mean, stddev, batch)
    return [{"from": float(time[part[0]]), "decisions": len(part), **against(*(x[part] for x in columns))} for part in parts]


def exploration(rows: pa.Table) -> dict[str, float]:
    """How much is explored, and at what price.

    The share of decisions beside the likeliest candidate; as over how many equally likely candidates the choice is spread; what it costs
    in expected clicks against greedy, as a share.
    """
    lists = rows["probabilities"].to_pylist()
    entropy = [-sum(p * math.log(p) for p in row if p > 0.0) for row in lists]
    best, policy = (np.asarray(rows[name], np.float64).sum() for name in ("best_mean", "policy_mean"))
    return {
        "not_the_likeliest": float(np.mean([1.0 - max(row) for row in lists])),
        "effective_candidates": float(np.exp(np.mean(entropy))),
        "candidates": float(np.mean([len(row) for row in lists])),
        "cost": float(1.0 - policy / best) if best > 0.0 else 0.0,
    }


def coverage(rows: pa.Table, expected: Mapping[str, Array], level: float = 0.9) -> dict[str, float]:
    """Share of items (on their page) whose count lies in the interval that their features gave it, ties randomised by their probability."""
    frame = rows.select(["group", "item", "clicks"]).to_pandas().assign(mean=expected["mean"], stddev=expected["stddev"])
    found = frame.groupby(["group", "item"], sort=False, dropna=False).agg(
        clicks=("clicks", "sum"), shown=("clicks", "size"), mean=("mean", "first"), stddev=("stddev", "first")
    )
    m, v = found["mean"].to_numpy(np.float64), found["stddev"].to_numpy(np.float64) ** 2
    size = np.maximum(m * (1.0 - m) / np.maximum(v, 1e-18) - 1.0, 1e-3)
    law = stats.betabinom(found["shown"].to_numpy(), m * size, (1.0 - m) * size)
    below, mass, tail = law.cdf(found["clicks"] - 1), law.pmf(found["clicks"]), (1.0 - level) / 2.0
    inside = (np.minimum(below + mass, 1.0 - tail) - np.maximum(below, tail)).clip(0.0) / np.maximum(mass, 1e-300)
    return {"level": level, "share": float(inside.clip(0.0, 1.0).mean()), "items": len(found)}


def warnings(figures: Mapping[str, Any]) -> list[str]:
    """What to look at, a sentence each."""
    rate, last, found = figures["click_rate"], figures["periods"][-1], []
    if abs(rate["z"]) > SURE:
        found.append(f"{_off(rate)}. Train again")
    elif abs(last["z"]) > SURE:
        found.append(f"the newest {last['decisions']:,} decisions: {_off(last)}. Train again")
    for name, of in figures.get("features", {}).items():
        if of["psi"] > max(LARGE, of["by_chance"]):
            found.append(f"{name} has drifted: stability index {of['psi']:.2f} against the training rows")
        if of.get("oov", 0.0) > of.get("oov_in_training", 0.0) + 0.1 + 1.5 / math.sqrt(of["size"]):
            found.append(f"{name}: {of['oov']:.0%} of its values were never seen in training ({of['oov_in_training']:.0%} there)")
    if figures["exploration"]["not_the_likeliest"] < 1e-3 and figures["exploration"]["candidates"] > 1.5:
        found.append("nearly nothing is explored: what is not shown can't be learnt. Raise exploration or the export's floor")
    return found


def _off(of: Mapping[str, float]) -> str:
    more = "more" if of["z"] > 0 else "fewer"
    return f"{more} clicks than expected, {of['observed']:.4f} against {of['expected']:.4f} a decision (z = {of['z']:.1f})"
