"""`monitor`: a served log against the model that served it.

Clicks are compared with what was expected when each decision was made. That comparison is fair though the policy chose what to see: given
the past, a click is 1 with the probability that the model should have stated, so

    z = sum (click - mean) / sqrt(sum mean (1 - mean))

is about normal for a calibrated model, whatever was shown (its terms are a martingale's). Coverage of an item's whole count is not: a
bandit shows longer what began well, so intervals of the most shown items hold a little less than they say.

Drift is the population stability index, sum (p - q) log (p / q) over the values (or tenths) of a feature: below .1 small, above .25 large,
by custom.

Source: Yurdakul 2018, Statistical properties of population stability index (its expectation under no drift is about bins / rows).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from recbayes.types import Array, UserError

PERIODS, VALUES, LARGE, SURE = 10, 30, 0.25, 4.0
"""Parts of the log's time; values of a feature that are looked at by themselves; a large drift; a surprising z."""


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
      reference: columns of the training rows, for drift; None leaves it out.
      expected: `mean` and `stddev` of each row's item from its features alone, [N], for coverage; None leaves it out.

    Raises: UserError if a column of the layout is missing, or no clicks are known yet.
    """
    missing = [
        name
        for name in ("clicks", "mean", "best_mean", "policy_mean", "probabilities", "time", "item", "group")
        if name not in rows.column_names
    ]
    if missing:
        raise UserError(f"monitor: no column {', '.join(missing)}. Give a log that `served` wrote (recbayes/monitor/layout.py)")
    known = np.asarray(rows["clicks"].is_valid())
    if not known.any():
        raise UserError("monitor: no clicks are known yet. Fill the column clicks in first")
    clicks = np.asarray(rows["clicks"].fill_null(0), np.float64)
    mean = np.asarray(rows["mean"], np.float64)
    figures: dict[str, Any] = {
        "decisions": len(rows),
        "unknown_outcomes": int((~known).sum()),
        "click_rate": against(clicks[known], mean[known]),
        "periods": periods(np.asarray(rows["time"], np.float64)[known], clicks[known], mean[known]),
        "exploration": exploration(rows),
    }
    if expected is not None:
        figures["coverage"] = coverage(rows.filter(pa.array(known)), {name: np.asarray(v)[known] for name, v in expected.items()})
    if reference is not None:
        figures["features"] = drift(encoder, rows, reference)
    return Monitor(figures, warnings(figures))


def against(clicks: Array, mean: Array) -> dict[str, float]:
    """Observed and expected click rate, and how surprising their difference is.

    >>> against(np.array([1.0, 0.0]), np.array([0.5, 0.5]))["z"]
    0.0
    """
    spread = math.sqrt(float((mean * (1.0 - mean)).sum()))
    return {
        "observed": float(clicks.mean()),
        "expected": float(mean.mean()),
        "z": float((clicks - mean).sum()) / spread if spread > 0.0 else 0.0,
    }


def periods(time: Array, clicks: Array, mean: Array) -> list[dict[str, float]]:
    """The same in equal parts of the decisions, by time."""
    parts = np.array_split(np.argsort(time, kind="stable"), min(PERIODS, len(time)))
    return [{"from": float(time[part[0]]), "decisions": len(part), **against(clicks[part], mean[part])} for part in parts]


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
    found = frame.groupby(["group", "item"], sort=False).agg(
        clicks=("clicks", "sum"), shown=("clicks", "size"), mean=("mean", "first"), stddev=("stddev", "first")
    )
    m, v = found["mean"].to_numpy(np.float64), found["stddev"].to_numpy(np.float64) ** 2
    size = np.maximum(m * (1.0 - m) / np.maximum(v, 1e-18) - 1.0, 1e-3)
    law = stats.betabinom(found["shown"].to_numpy(), m * size, (1.0 - m) * size)
    below, mass, tail = law.cdf(found["clicks"] - 1), law.pmf(found["clicks"]), (1.0 - level) / 2.0
    inside = (np.minimum(below + mass, 1.0 - tail) - np.maximum(below, tail)).clip(0.0) / np.maximum(mass, 1e-300)
    return {"level": level, "share": float(inside.clip(0.0, 1.0).mean()), "items": len(found)}


def drift(encoder: Any, rows: pa.Table, reference: Any) -> dict[str, dict[str, float]]:
    """Of each feature: its stability index against the training rows, and the share of values that training never saw, there and here."""
    found = {}
    sides = [{name: np.asarray(value) for name, value in encoder(encoder.raw(table)).items()} for table in (reference, rows)]
    for name, spec in encoder.specs.items():
        before, now = (side[name] for side in sides)
        if spec.kind == "dense":
            found[name] = {"psi": max(_index(*_tenths(before[:, i], now[:, i])) for i in range(before.shape[1]))}
            continue
        unseen = 0 if spec.kind == "ids" else 1
        before, now = (side[side > 0] if spec.kind == "bag" else side for side in (before, now))
        found[name] = {"psi": _index(*_shares(before, now)), "oov": _share(now == unseen), "oov_in_training": _share(before == unseen)}
    return found


def warnings(figures: Mapping[str, Any]) -> list[str]:
    """What to look at, a sentence each."""
    rate, last, found = figures["click_rate"], figures["periods"][-1], []
    if abs(rate["z"]) > SURE:
        found.append(f"{_off(rate)}. Train again")
    elif abs(last["z"]) > SURE:
        found.append(f"the newest {last['decisions']:,} decisions: {_off(last)}. Train again")
    for name, of in figures.get("features", {}).items():
        if of["psi"] > LARGE:
            found.append(f"{name} has drifted: stability index {of['psi']:.2f} against the training rows")
        if of.get("oov", 0.0) > of.get("oov_in_training", 0.0) + 0.1:
            found.append(f"{name}: {of['oov']:.0%} of its values were never seen in training ({of['oov_in_training']:.0%} there)")
    if figures["exploration"]["not_the_likeliest"] < 1e-3 and figures["exploration"]["candidates"] > 1.5:
        found.append("nearly nothing is explored: what is not shown can't be learnt. Raise exploration or the export's floor")
    return found


def _off(of: Mapping[str, float]) -> str:
    more = "more" if of["z"] > 0 else "fewer"
    return f"{more} clicks than expected, {of['observed']:.4f} against {of['expected']:.4f} a decision (z = {of['z']:.1f})"


def _tenths(before: Array, now: Array) -> tuple[Array, Array]:
    """Shares in the reference's tenths."""
    edges = np.unique(np.quantile(before, np.linspace(0.0, 1.0, 11))[1:-1])
    return tuple(np.bincount(np.searchsorted(edges, side, "right"), minlength=len(edges) + 1) / max(len(side), 1) for side in (before, now))  # type: ignore[return-value]


def _shares(before: Array, now: Array) -> tuple[Array, Array]:
    """Shares of the most frequent values of the reference, all others together last."""
    values, counts = np.unique(before, return_counts=True)
    top = np.sort(values[np.argsort(-counts, kind="stable")[:VALUES]])

    def of(side: Array) -> Array:
        place = np.searchsorted(top, side).clip(0, max(len(top) - 1, 0))
        return np.bincount(np.where(top[place] == side, place, len(top)), minlength=len(top) + 1) / max(len(side), 1)

    return of(before), of(now)


def _index(before: Array, now: Array) -> float:
    """The stability index; empty bins count as one in ten thousand."""
    p, q = np.maximum(before, 1e-4), np.maximum(now, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def _share(where: Array) -> float:
    return float(where.mean()) if where.size else 0.0
