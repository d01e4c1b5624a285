"""Clicks and impressions so far, summed from served rows: what the next requests send, so that decisions sharpen between model pushes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from recbayes.types import Array


class Counts:
    """Of each item on each page.

    >>> counts = Counts()
    >>> counts.add(pa.table({"group": ["p", "p"], "item": ["a", "a"], "clicks": [1, 0]}))
    >>> [found.tolist() for found in counts.of(["p"], [["a", "b"]])]
    [[[1, 0]], [[2, 0]]]
    """

    def __init__(self) -> None:
        self._clicks: Counter[Any] = Counter()
        self._impressions: Counter[Any] = Counter()

    def add(self, rows: pa.Table) -> None:
        """Adds served rows; those whose clicks are not known yet (null) are left out."""
        known = rows.filter(rows["clicks"].is_valid())
        keys = zip(known["group"].to_pylist(), known["item"].to_pylist(), known["clicks"].to_pylist(), strict=True)
        for group, item, clicks in keys:
            self._clicks[group, item] += clicks
            self._impressions[group, item] += 1

    def of(self, groups: Array, items: Array) -> tuple[Array, Array]:
        """Clicks and impressions int64 [B, A] of items [B, A] on pages [B]; 0 where nothing was shown."""
        keys = [[(group, item) for item in row] for group, row in zip(np.asarray(groups).tolist(), np.asarray(items).tolist(), strict=True)]
        return tuple(np.array([[total[key] for key in row] for row in keys], np.int64) for total in (self._clicks, self._impressions))  # type: ignore[return-value]
