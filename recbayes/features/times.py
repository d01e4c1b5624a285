"""A moment: years since the newest training row, 0 there, and linear before and after it; or bent within the training range, flat beyond.

A trend is worth having (click rates drift), a curve beyond the data is not. Without bends there is one column, linear whatever comes
later. With bends the training rows' quantiles cut time into stretches, a column each that grows from -1 to 0 over its stretch: under a
Gaussian prior the level is a random walk with a step a stretch, and what comes later stands where the newest rows do. Day and hour are
optional, each as a point on a circle, so that Sunday is next to Monday and 23:59 next to 0:00.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recbayes.features import columns
from recbayes.features.coding import Encoded
from recbayes.features.feature import Feature
from recbayes.features.spilled import quantiles
from recbayes.types import Tensor, UserError

YEAR_SECONDS = 365.25 * 86400
_MONDAY_SECONDS = 4 * 86400  # 1970-01-05, the first Monday of Unix time


class Times(tf.Module):
    """A fitted time feature."""

    def __init__(self, feature: Feature, newest: float, knots: Sequence[float] = ()) -> None:
        super().__init__()
        self.feature, self.newest, self.knots = feature, newest, tuple(knots)

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Times:
        """Finds the newest training row, and the ends of the stretches: quantiles of the rows."""
        seconds = unix_seconds(column, feature.name)
        finite = seconds[np.isfinite(seconds)]
        bends = feature.settings["bends"]
        knots = np.unique(np.quantile(finite, np.linspace(0.0, 1.0, bends + 2))) if bends and len(finite) else np.empty(0)
        return cls(feature, float(finite.max()) if len(finite) else 0.0, knots.tolist() if len(knots) > 1 else [])

    @classmethod
    def fit_parts(cls, feature: Feature, parts: Iterable[pa.Array]) -> Times:
        """The same of a column in parts; the quantiles are exact, by DuckDB's sort, which spills what memory does not hold."""
        bends = feature.settings["bends"]
        finite = ((s := unix_seconds(part, feature.name))[np.isfinite(s)] for part in parts)
        if not bends:
            return cls(feature, max((float(seconds.max()) for seconds in finite if len(seconds)), default=0.0))
        found = quantiles(finite, np.linspace(0.0, 1.0, bends + 2))
        knots = np.unique(found)
        return cls(feature, float(found[-1]) if len(found) else 0.0, knots.tolist() if len(knots) > 1 else [])

    @property
    def signature(self) -> Any:
        """Unix seconds, float64 [N]."""
        return tf.TensorSpec([None], tf.float64, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """Years, or a number a stretch; and two numbers for each cycle."""
        return Encoded(
            "dense", max(len(self.knots) - 1, 1) + 2 * len(self._periods()), self.feature.side, self.feature.name, self.feature.kind
        )

    def raw(self, column: pa.Array) -> np.ndarray:
        """Unix seconds [N], missing as NaN."""
        return unix_seconds(column, self.feature.name)

    def __call__(self, raw: Tensor) -> Tensor:
        """float32 [N, size]; a missing time counts as the newest training row's, and as the middle of every cycle."""
        known = tf.math.is_finite(raw)
        seconds = tf.where(known, raw, tf.constant(self.newest, tf.float64))
        starts, ends = np.array(list(pairwise(self.knots)) or [(self.newest - YEAR_SECONDS, self.newest)], np.float64).T[:, :, None]
        along = (seconds - ends) / (ends - starts)  # [stretches, N]: of long rows the quicker axis
        parts = [tf.clip_by_value(along, -1.0, 0.0) if len(self.knots) > 1 else along]
        for period in self._periods():
            angle = tf.math.floormod(seconds - _MONDAY_SECONDS, tf.constant(period, tf.float64)) * (2.0 * math.pi / period)
            parts += [tf.where(known, wave(angle), tf.zeros_like(angle))[None] for wave in (tf.sin, tf.cos)]
        return tf.transpose(tf.cast(tf.concat(parts, 0), tf.float32))

    def codes(self, column: pa.Array) -> np.ndarray:
        """float32 [N, size]."""
        return np.asarray(self(tf.constant(self.raw(columns.plain(column, self.feature.name)))))

    def example(self, rows: int) -> np.ndarray:
        """The newest training row's time, then a week later each."""
        return self.newest + 7 * 86400.0 * np.arange(rows)

    def state(self) -> dict[str, Any]:
        """The newest training row's Unix seconds, and the stretches' ends."""
        return {"newest": self.newest, "knots": list(self.knots)}

    def _periods(self) -> list[float]:
        wanted = {"day_of_week": 7 * 86400.0, "hour_of_day": 86400.0}
        return [period for setting, period in wanted.items() if self.feature.settings[setting]]


def unix_seconds(column: pa.Array, name: str) -> np.ndarray:
    """Timestamps, dates, ISO strings or Unix seconds as Unix seconds, float64 [N], null as NaN.

    Raises: UserError if the column is none of these.

    >>> unix_seconds(pa.array(["1970-01-02", None]), "at").tolist()
    [86400.0, nan]
    """
    try:
        if columns.is_text(column.type):
            column = pc.cast(column, pa.timestamp("us", "UTC") if _has_zone(column) else pa.timestamp("us"))
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            micros = pc.cast(pc.cast(column, pa.timestamp("us", getattr(column.type, "tz", None)), safe=False), pa.int64())
            return np.asarray(pc.cast(micros, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64) / 1e6
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"features: column {name!r} is {column.type}, not a time ({error}). Give timestamps or Unix seconds") from error


def _has_zone(column: pa.Array) -> bool:
    values = column.drop_null()
    return len(values) > 0 and bool(pc.match_substring_regex(values[:1], r"(Z|[+-]\d\d:?\d\d)$")[0].as_py())
