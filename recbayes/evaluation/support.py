"""What the policy chooses and the log never shows: its share, from sums that merge."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recbayes.evaluation.target import Choices
from recbayes.types import Array


class Support(NamedTuple):
    """By position and item: decisions that the log shows it in, and decisions that the policy would (in expectation)."""

    cells: pd.DataFrame

    @classmethod
    def of(cls, log: Any, choices: Choices, count: Array) -> Support:
        """Of a log's rows, each standing for `count` [n] decisions."""
        place = np.zeros(len(log), np.int64) if log.columns.position is None else log.column(log.columns.position).to_numpy()
        shown = pd.DataFrame({"place": place, "item": np.asarray(log.item), "shown": count, "chosen": 0.0})
        parts = [shown.groupby(["place", "item"]).sum()]
        if choices.probability is not None and choices.context is not None:
            mass = choices.probability * np.bincount(choices.context, count, len(choices.probability))[:, None]  # [C, A]
            items = np.broadcast_to(np.asarray(choices.items), mass.shape)
            places = np.broadcast_to(place[choices.row][:, None], mass.shape)
            there = mass > 0
            chosen = pd.DataFrame({"place": places[there], "item": items[there], "shown": 0.0, "chosen": mass[there]})
            parts.append(chosen.groupby(["place", "item"]).sum())
        return cls(pd.concat(parts).groupby(level=[0, 1]).sum())

    def merge(self, other: Support) -> Support:
        """Of both parts' rows."""
        return Support(pd.concat([self.cells, other.cells]).groupby(level=[0, 1]).sum())

    @property
    def lacking(self) -> tuple[float, int]:
        """Share of the policy's choices that are never shown, and how many items (counted by position) they are."""
        lost = self.cells[(self.cells.shown == 0) & (self.cells.chosen > 0)]
        total = float(self.cells.chosen.sum())
        return (float(lost.chosen.sum()) / total if total else 0.0), len(lost)
