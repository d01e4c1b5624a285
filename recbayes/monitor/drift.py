"""Drift of the features: the population stability index, and the share of values that training never saw.

    psi = sum (p - q) log (p / q) over the values (or tenths) of a feature; below .1 small, above .25 large, by custom

What is compared are items for item features (an item counts once on its page, however often a policy chose to show it) and decisions for
context features. An index of few is large by chance: without drift, psi / (1/n + 1/m) is about chi^2 with bins - 1 degrees of freedom
for n and m independent values. Pages and items are what is independent, decisions on one page are not, so n counts values that differ in
page, item or value. Half a count is added to every bin, or an empty one would have an index of its own.

Source: Yurdakul 2018, Statistical properties of population stability index.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from scipy import stats

from recbayes.features.columns import take
from recbayes.log.counts import equal_rows
from recbayes.types import Array

VALUES = 30
"""Values of a feature that are looked at by themselves."""
RARE = 1e-3
"""How often chance alone may reach `by_chance`."""


class Side(NamedTuple):
    """A feature's values on one side: encoded, [M, ...]; how many rows each stands for, [M]. Their number is that of independent values."""

    encoded: Array
    weights: Array


def drift(encoder: Any, rows: pa.Table, reference: Any) -> dict[str, dict[str, float]]:
    """Of each feature but times, which always drift.

    Args:
      encoder: of the model that served.
      rows: in the layout of `served`.
      reference: the training log.

    Returns: psi; by_chance, which it reaches once in a thousand without drift; size, the number of values it rests on; of categories oov
      and oov_in_training, the shares of values that training never saw.
    """
    columns, found = reference.columns, {}
    before = reference.table, columns.group, columns.item, np.asarray(reference.impressions, np.float64)
    after = rows, "group", "item", np.ones(len(rows))
    for name, spec in encoder.specs.items():
        if spec.of != "time":
            found[name] = _compared(spec, *(values(encoder.codings[name], spec, *side) for side in (before, after)))
    return found


def values(coding: Any, spec: Any, table: pa.Table, group: str | None, item: str | None, impressions: Array) -> Side:
    """A feature's values that differ in page, in item if it is the item's, or in value."""
    keys = [name for name in (group, item if spec.side == "item" else None) if name is not None]
    alone = spec.side == "item" and item is None  # rows of counts: each an item
    code, number = (np.arange(len(table)), len(table)) if alone else equal_rows(table, dict.fromkeys([*keys, spec.feature]))
    first = np.zeros(number, np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]
    weights = np.ones(number) if spec.side == "item" else np.bincount(code, impressions, number)
    raw = coding.raw(take(table.take(pa.array(first)), spec.feature))
    return Side(np.asarray(coding(tf.convert_to_tensor(raw, coding.signature.dtype))), weights)


def _compared(spec: Any, before: Side, now: Side) -> dict[str, float]:
    sizes = len(before.weights), len(now.weights)
    size = {"size": min(sizes)}
    if spec.kind == "dense":
        pairs = [_tenths(before, now, column) for column in range(spec.size)]
        return {"psi": max(_index(*pair, *sizes) for pair in pairs), "by_chance": max(_chance(pair[0], *sizes) for pair in pairs)} | size
    unseen = 0 if spec.kind == "ids" else 1
    before, now = (_flat(side) if spec.kind == "bag" else side for side in (before, now))
    pair = _most_frequent(before, now)
    shares = {"oov": _share(now, unseen), "oov_in_training": _share(before, unseen)}
    return {"psi": _index(*pair, *sizes), "by_chance": _chance(pair[0], *sizes)} | size | shares


def _flat(side: Side) -> Side:
    """A bag's tokens, padding left out."""
    return Side(side.encoded[side.encoded > 0], np.repeat(side.weights, (side.encoded > 0).sum(1)))


def _tenths(before: Side, now: Side, column: int) -> tuple[Array, Array]:
    """Shares in the reference's tenths."""
    edges = np.unique(np.quantile(before.encoded[:, column], np.linspace(0.0, 1.0, 11))[1:-1])
    return tuple(_shares(np.searchsorted(edges, side.encoded[:, column], "right"), side.weights, len(edges) + 1) for side in (before, now))


def _most_frequent(before: Side, now: Side) -> tuple[Array, Array]:
    """Shares of the most frequent values of the reference, all others together last."""
    seen, code = np.unique(before.encoded, return_inverse=True)
    top = np.sort(seen[np.argsort(-np.bincount(code, before.weights, len(seen)), kind="stable")[:VALUES]])

    def of(side: Side) -> Array:
        place = np.searchsorted(top, side.encoded).clip(0, max(len(top) - 1, 0))
        known = top[place] == side.encoded if len(top) else np.zeros(len(side.encoded), bool)
        return _shares(np.where(known, place, len(top)), side.weights, len(top) + 1)

    return of(before), of(now)


def _shares(bins: Array, weights: Array, number: int) -> Array:
    total = np.bincount(bins, weights, number)
    return np.asarray(total / max(total.sum(), 1e-300))


def _index(before: Array, now: Array, *sizes: int) -> float:
    """The stability index, half a count added to every bin."""
    p, q = ((share * size + 0.5) / (size + 0.5 * len(share)) for share, size in zip((before, now), sizes))
    return float(((q - p) * np.log(q / p)).sum())


def _chance(shares: Array, *sizes: int) -> float:
    """What the index reaches by chance once in a thousand."""
    bins = int((shares > 0).sum())
    return float(stats.chi2.isf(RARE, bins - 1) * sum(1.0 / max(size, 1) for size in sizes)) if bins > 1 else 0.0


def _share(side: Side, unseen: int) -> float:
    return float(np.average(side.encoded == unseen, weights=side.weights)) if len(side.encoded) else 0.0
