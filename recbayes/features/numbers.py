"""Numbers and vectors of numbers: (x - mean) / stddev of the training rows, x held to the training range.

A network's answer beyond what it has seen is arbitrary, so x is clipped. A missing number is the mean; where training rows had
missing numbers one more column is 1 for them (where none had, its weight would never be trained).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recbayes.features import columns
from recbayes.features.coding import Encoded
from recbayes.features.feature import Feature
from recbayes.types import Tensor, UserError

_SMALL = 1 << 14
"""Counts below this are coded by a table."""


class Numbers(tf.Module):
    """A fitted numeric (size 1) or vector feature."""

    def __init__(
        self, feature: Feature, low: Sequence[float], high: Sequence[float], mean: Sequence[float], stddev: Sequence[float], indicator: bool
    ) -> None:
        super().__init__()
        self.feature, self.indicator = feature, indicator
        self.low, self.high, self.mean, self.stddev = (np.asarray(v, np.float64) for v in (low, high, mean, stddev))

    @classmethod
    def fit(cls, feature: Feature, column: pa.Array) -> Numbers:
        """Range, mean and stddev of the finite numbers of the training rows, after the logarithm if asked for."""
        return cls.fit_parts(feature, [column])

    @classmethod
    def fit_parts(cls, feature: Feature, parts: Iterable[pa.Array]) -> Numbers:
        """The same of a column in parts: means and stddevs to rounding, all else exactly (Chan, Golub, LeVeque 1979)."""
        whole: Moments | None = None
        for part in parts:
            own = _moments(part, feature)
            whole = own if whole is None else _both(whole, own, feature.name)
        seen = whole or _moments(pa.array([], pa.float64()), feature)
        some = seen.rows > 0
        mean = np.where(some, seen.mean, 0.0)
        stddev = np.where(some, np.sqrt(seen.squares / np.maximum(seen.rows, 1)), 1.0)
        stddev = np.where(stddev > 1e-12 * (1.0 + np.abs(mean)), stddev, 1.0)
        low, high = np.where(some, seen.low, 0.0), np.where(some, seen.high, 0.0)
        return cls(feature, low.tolist(), high.tolist(), mean.tolist(), stddev.tolist(), seen.missing)

    @property
    def signature(self) -> Any:
        """float32 [N], or [N, D] of a vector."""
        shape = [None] if self.feature.kind == "numeric" else [None, len(self.mean)]
        return tf.TensorSpec(shape, tf.float32, name=self.feature.name)

    @property
    def encoded(self) -> Encoded:
        """D numbers, and one more where training rows had missing ones."""
        return Encoded("dense", len(self.mean) + self.indicator, self.feature.side, self.feature.name, self.feature.kind)

    def raw(self, column: pa.Array) -> np.ndarray:
        """Numbers [N] or [N, D], missing as NaN."""
        values = _matrix(column, self.feature)
        if not len(values):
            return np.zeros((0, *([] if self.feature.kind == "numeric" else [len(self.mean)])), np.float32)
        if values.shape[1] != len(self.mean):
            raise UserError(f"features: column {self.feature.name!r} has {values.shape[1]} numbers a row, {len(self.mean)} in training")
        return values[:, 0] if self.feature.kind == "numeric" else values

    def __call__(self, raw: Tensor) -> Tensor:
        """float32 [N, size]."""
        values = tf.reshape(raw, [-1, len(self.mean)])
        missing = tf.math.is_nan(values)
        coded = tf.sign(values) * tf.math.log1p(tf.abs(values)) if self.feature.settings.get("log1p") else values
        held = tf.clip_by_value(coded, tf.constant(self.low, tf.float32), tf.constant(self.high, tf.float32))
        scaled = (held - tf.constant(self.mean, tf.float32)) * tf.constant(1.0 / self.stddev, tf.float32)
        scaled = tf.where(missing, tf.zeros_like(scaled), scaled)
        if not self.indicator:
            return scaled
        return tf.concat([scaled, tf.cast(tf.reduce_any(missing, 1, keepdims=True), tf.float32)], 1)

    def codes(self, column: pa.Array) -> np.ndarray:
        """float32 [N, size]; to float32's rounding where a logarithm is taken, else exactly."""
        column = columns.plain(column, self.feature.name)
        codes = np.empty((len(column), len(self.mean) + self.indicator), np.float32)
        if self.feature.kind == "numeric" and column.type == pa.int32() and self._counts(*columns.primitive(column), codes):
            return codes
        values = self.raw(column).reshape(-1, len(self.mean))
        self._code(values, codes)
        return codes

    def _counts(self, values: np.ndarray, there: np.ndarray | None, codes: np.ndarray) -> bool:
        """Codes of integers [N], most of them small: read from a table. False, and nothing written, where most are not."""
        others = np.flatnonzero(values.view(np.uint32) >= _SMALL)  # negative ones too
        if len(others) > len(values) // 8:
            return False
        scaled = self._small.take(values, mode="clip")
        if len(others):
            self._code(values[others].astype(np.float32)[:, None], few := np.empty((len(others), codes.shape[1]), np.float32))
            scaled[others] = few[:, 0]
        if there is not None:
            bits = scaled.view(np.int32)
            bits &= -there.astype(np.int32)  # 0 where there is none
        codes[:, 0] = scaled
        if self.indicator:
            codes[:, 1] = 0.0 if there is None else 1 - there
        return True

    @cached_property
    def _small(self) -> np.ndarray:
        """Codes of 0, 1, 2, ..., float32 [_SMALL]."""
        codes = np.empty((_SMALL, 1 + self.indicator), np.float32)
        self._code(np.arange(_SMALL, dtype=np.float32)[:, None], codes)
        return np.ascontiguousarray(codes[:, 0])

    def _code(self, values: np.ndarray, codes: np.ndarray) -> None:
        """Codes of rows [N, D], written into their place."""
        missing = np.isnan(values)
        coded = _log1p_quick(values) if self.feature.settings.get("log1p") else values
        scaled = np.clip(coded, self.low.astype(np.float32), self.high.astype(np.float32))
        scaled -= self.mean.astype(np.float32)
        scaled *= (1.0 / self.stddev).astype(np.float32)
        bits = scaled.view(np.int32)
        bits &= missing.astype(np.int32) - 1  # 0 where a number is missing, a fifth of the time of scaled[missing] = 0
        codes[:, : len(self.mean)] = scaled
        if self.indicator:
            codes[:, -1] = missing[:, 0] if missing.shape[1] == 1 else missing.any(1)

    def example(self, rows: int) -> np.ndarray:
        """From the least to the largest, and far beyond it last."""
        steps = np.append(np.linspace(0.0, 1.0, max(rows - 1, 1))[: rows - 1], 1.5)[:, None]  # [N, 1]
        coded = self.low + steps * (self.high - self.low)
        values = (np.sign(coded) * np.expm1(np.abs(coded)) if self.feature.settings.get("log1p") else coded).astype(np.float32)
        return values[:, 0] if self.feature.kind == "numeric" else values

    def state(self) -> dict[str, Any]:
        """Range, mean, stddev, and whether missing numbers are marked."""
        return {
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "mean": self.mean.tolist(),
            "stddev": self.stddev.tolist(),
            "indicator": self.indicator,
        }


class Moments(NamedTuple):
    """Of the finite numbers of rows, each [D]: how many, their mean, squared distances from it, range. missing: whether a number is."""

    rows: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    missing: bool


def _moments(column: pa.Array, feature: Feature) -> Moments:
    """The moments of rows that memory holds."""
    values = _matrix(column, feature).astype(np.float64)  # [N, D]
    coded = np.ma.MaskedArray(_log1p_numpy(values) if feature.settings.get("log1p") else values, ~np.isfinite(values))
    rows = np.asarray(coded.count(0))
    mean, squares = coded.mean(0).filled(0.0), coded.var(0).filled(0.0) * rows
    low, high = coded.min(0).filled(np.inf), coded.max(0).filled(-np.inf)
    return Moments(rows, mean, squares, low, high, bool(np.isnan(values).any()))


def _both(a: Moments, b: Moments, name: str) -> Moments:
    """The moments of both parts' rows together."""
    if len(a.rows) != len(b.rows):
        raise UserError(f"features: column {name!r} has rows of {len(a.rows)} and of {len(b.rows)} numbers. A vector has one length")
    rows, apart = a.rows + b.rows, b.mean - a.mean
    share = b.rows / np.maximum(rows, 1)
    squares = a.squares + b.squares + apart**2 * a.rows * share
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return Moments(rows, a.mean + apart * share, squares, low, high, a.missing or b.missing)


def _log1p_numpy(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def _log1p_quick(values: np.ndarray) -> np.ndarray:
    """sign(x) log(1 + |x|) in float32, to its rounding; NumPy's log has a vector loop, a fifth of the time of its log1p.

    log(1 + x) = log(u) + (x - (u - 1)) / u to first order in what u = 1 + x lost to rounding.
    """
    size = np.minimum(np.abs(values), np.finfo(np.float32).max)
    one_more = size + np.float32(1.0)
    lost = size - (one_more - np.float32(1.0))
    lost /= one_more
    lost += np.log(one_more)
    return np.copysign(lost, values, out=lost)


def _matrix(column: pa.Array, feature: Feature) -> np.ndarray:
    """Numbers float32 [N, D], missing as NaN."""
    if feature.kind == "numeric":
        return _floats(column, feature.name)[:, None]
    if not columns.is_list(column.type):
        raise UserError(
            f"features: column {feature.name!r} is {column.type}, vector needs lists of one length. Use numeric for one number a row"
        )
    flat, lengths = pc.list_flatten(column), pc.list_value_length(column).drop_null().unique().to_pylist()
    if len(lengths) > 1:
        raise UserError(f"features: column {feature.name!r} has rows of {min(lengths)} to {max(lengths)} numbers. A vector has one length")
    size = lengths[0] if lengths else (column.type.list_size if pa.types.is_fixed_size_list(column.type) else 1)
    values = np.full((len(column), size), np.nan, np.float32)
    values[column.is_valid().to_numpy(zero_copy_only=False)] = _floats(flat, feature.name).reshape(-1, size)
    return values


def _floats(column: pa.Array, name: str) -> np.ndarray:
    kind = column.type
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise UserError(f"features: column {name!r} is {kind}, not numbers. Use categorical, text or time")
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64(), safe=False)
    numbers = pc.cast(column, pa.float32(), safe=False)
    if not numbers.null_count or pa.types.is_null(kind):
        return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float32)
    values, there = columns.primitive(numbers)
    bits = there.astype(np.int32) - 1  # type: ignore[union-attr]  # there are nulls
    bits |= values.view(np.int32)  # all bits set is NaN; a tenth of the time of Arrow's to_numpy
    return bits.view(np.float32)
