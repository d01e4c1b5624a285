"""The reward model without features: an item's mean reward at a position, shrunk to the position's.

    q = (sum + k m) / (n + k),   k = variance of a reward / variance of true means between items

m is the position's mean; k is estimated from the log by moments, so that 38 clicks on 80 items hardly move from the mean, and a
million rows move all the way. Its sums come from one pass.

Source: DerSimonian and Laird 1986, Meta-analysis in clinical trials, for the variance between; Efron and Morris 1975 for shrinking.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from recbayes.evaluation.decisions import decisions_of
from recbayes.evaluation.reward_model import RewardModel
from recbayes.types import Array


def rates(stream: Iterable[tuple[int, Any]], *, folds: int = 10) -> RewardModel:
    """Fitted in one pass over (first row, log) pieces.

    >>> from recbayes.log.stream import stream_log
    >>> log = stream_log("example:open_bandit", clicks="click", item="item_id")
    >>> q = rates(log).means(next(iter(log))[1], np.array([[0, 0]]), np.array([[1, 2]]))
    >>> q.shape, bool(((q > 0.002) & (q < 0.006)).all())
    ((10, 1, 2), True)
    """
    cells = pd.concat([_sums(log, first, folds) for first, log in stream])
    cells = cells.groupby(level=[0, 1, 2], sort=True).sum()
    index = cells.index
    assert isinstance(index, pd.MultiIndex)
    places, items = index.levels[1], index.levels[2]
    size = (folds, len(places), len(items) + 1)  # one more: an item that was never seen
    sums = np.zeros((3, *size))
    codes = tuple(np.asarray(code) for code in index.codes)
    sums[(slice(None), np.asarray(index.get_level_values(0)), codes[1], codes[2])] = cells.to_numpy().T
    q = np.stack([shrunk(*(sums.sum(1) - sums[:, k])) for k in range(folds)])  # [folds, P, A + 1]

    def means(log: Any, rows: Array, wanted: Array) -> Array:
        place = places.get_indexer(_places(log))[rows]
        item = items.get_indexer(pd.Index(np.asarray(wanted).ravel())).reshape(np.shape(wanted))
        return q[:, place, item]  # -1, what was never seen, is the last one

    return RewardModel("rates", folds, means)


def shrunk(n: Array, total: Array, square: Array) -> Array:
    """Shrunk means of cells [P, A] from their count, sum and sum of squares; a cell without rows gets its position's mean."""
    size = n.sum()
    place = (total.sum(1, keepdims=True) + total.sum() / size) / (n.sum(1, keepdims=True) + 1.0)
    filled = n > 0
    mean = np.divide(total, n, out=np.broadcast_to(place, n.shape).copy(), where=filled)
    within = max(float((square - n * mean**2).sum()) / max(size - filled.sum(), 1.0), 1e-300)
    spread = float((n * (mean - total.sum(1, keepdims=True) / np.maximum(n.sum(1, keepdims=True), 1.0)) ** 2).sum())
    freedom = float(filled.sum() - (n.sum(1) > 0).sum())
    scale = float((n.sum(1) - (n**2).sum(1) / np.maximum(n.sum(1), 1.0)).sum())
    between = (spread - freedom * within) / scale if scale > 0 else 0.0
    if between <= 0:
        return np.broadcast_to(place, n.shape).copy()
    k = within / between
    return (total + k * place) / (n + k)


def _sums(log: Any, first: int, folds: int) -> pd.DataFrame:
    """Count, sum and sum of squares of rewards by fold, position and item."""
    made = decisions_of(log, first, folds)
    count = np.ones(len(made.row)) if made.times is None else made.times
    frame = pd.DataFrame(
        {
            "fold": made.fold[made.row],
            "place": np.asarray(_places(log))[made.row],
            "item": np.asarray(log.item)[made.row],
            "n": count,
            "sum": count * made.reward,
            "square": count * made.reward**2,
        }
    )
    return frame.groupby(["fold", "place", "item"], sort=True)[["n", "sum", "square"]].sum()


def _places(log: Any) -> pd.Index:
    """Each row's position, [n]; one for all where the log has none."""
    name = log.columns.position
    return pd.Index(np.zeros(len(log), np.int64) if name is None else log.column(name).to_numpy())
