"""The figures of calibration.json, from a frame of predictions and the points of the predicted laws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recbayes.calibration.columns import parts
from recbayes.calibration.counts import Floats
from recbayes.calibration.coverage import LEVELS, coverage, coverage_by, covered, deciles, share_interval
from recbayes.calibration.novelty import plain
from recbayes.calibration.pit import histogram
from recbayes.calibration.reliability import reliability, sharpness
from recbayes.calibration.scores import crps, mean_interval
from recbayes.calibration.surprise import expected_log_likelihood
from recbayes.densities import baselines
from recbayes.log import Log
from recbayes.types import Array

FEWER = 40
"""Points of a baseline's law: one smooth law for all rows needs fewer."""


def figures(
    fitted: Any, train: Log, test: Log, frame: pd.DataFrame, points: Floats, *, by: Sequence[str], before: Floats, seed: int
) -> dict[str, Any]:
    """What calibration.json holds.

    Args:
      fitted: has `log_likelihood`, `predict` and perhaps a `recalibration`.
      train: counts; the baselines are fitted to it.
      test: counts.
      frame: of predictions, a row a test row.
      points: of each row's law, recalibrated if the model is, [n, N].
      by: columns in whose parts coverage is counted.
      before: PIT values before recalibration, [N].
      seed: of the clicks that the model is asked to expect.
    """
    segments, groups = test.segments
    fits = baselines.fits(train)
    likelihoods = {name: np.asarray(values, np.float64) for name, values in baselines.by_group(fits, test).items()}
    own = np.asarray(fitted.log_likelihood(test), np.float64)
    recalibration = getattr(fitted, "recalibration", None)
    found = {
        "rows": len(frame),
        "share_without_clicks": float((frame.clicks == 0).mean()),
        "groups": int(groups),
        "log_likelihood_per_row": float(own.sum()) / len(frame),
        "baselines": {name: float(values.sum()) / len(frame) for name, values in likelihoods.items()},
        "log_likelihood_gain": {name: _gain(own, values, len(frame)) for name, values in likelihoods.items()},
        "log_likelihood_expected": expected_log_likelihood(fitted, test, seed=seed),
        **_coverage(frame, segments),
        "coverage_by": {name: _by_column(frame, train, test, name) for name in by},
        "pit": histogram(frame.pit.to_numpy()).tolist(),
        "reliability": reliability(*_columns(frame, "clicks", "impressions", "mean"), clusters=segments),
        "sharpness": sharpness(*_columns(frame, "mean", "data_stddev", "model_stddev", "lower", "upper")),
        "crps": _crps(frame, points, fits, segments),
        "recalibration": None if recalibration is None else recalibration.record() | {"coverage_before": coverage(before)},
    }
    return {name: _no_nan(value) for name, value in found.items()}


def _coverage(frame: pd.DataFrame, segments: Array) -> dict[str, Any]:
    values, tenths = frame.pit.to_numpy(), deciles(frame.impressions.to_numpy())
    by_decile = {str(level): coverage_by(values, tenths, level=level, clusters=segments) for level in LEVELS}
    return {
        "coverage": coverage(values),
        "coverage_interval": {str(level): share_interval(covered(values, level), segments) for level in LEVELS},
        "coverage_by_decile": {level: part.coverage.tolist() for level, part in by_decile.items()},
        "coverage_by_decile_interval": {level: part[["lower", "upper"]].to_numpy().tolist() for level, part in by_decile.items()},
        "decile_impressions": frame.impressions.groupby(tenths).median().tolist(),
    }


def _by_column(frame: pd.DataFrame, train: Log, test: Log, name: str) -> list[dict[str, Any]]:
    """Coverage at 90% in the parts of a column: {part, rows, coverage, lower, upper} each."""
    names = parts(plain(train.column(name)), plain(test.column(name)))
    found = coverage_by(frame.pit.to_numpy(), names, clusters=test.segments[0]).to_dict("records")
    return [{str(key): value for key, value in record.items()} for record in found]


def _gain(own: Floats, other: Floats, rows: int) -> dict[str, Any]:
    """By how many nats a row the model is ahead, with its interval over groups where both were scored by the same groups."""
    value = float(own.sum() - other.sum()) / rows
    if len(own) != len(other):
        return {"value": value, "interval": None}
    low, high = mean_interval((own - other) * len(own) / rows)
    return {"value": value, "interval": [low, high]}


def _crps(frame: pd.DataFrame, points: Floats, fits: Mapping[str, tuple[float, ...]], segments: Array) -> dict[str, Any]:
    """Mean score of the count in clicks, the baselines' beside it, and the share by which it is below the best of theirs."""
    clicks, impressions = _columns(frame, "clicks", "impressions")
    scores = crps(clicks, impressions, points)
    laws = {name: baselines.points(fit, FEWER) for name, fit in fits.items()}
    others = {name: float(crps(clicks, impressions, np.repeat(law, len(frame), axis=1)).mean()) for name, law in laws.items()}
    best = min(others.values())
    return {
        "clicks": float(scores.mean()),
        "interval": mean_interval(scores, segments),
        "baselines": others,
        "skill": 1.0 - float(scores.mean()) / best if best > 0 else None,
    }


def _columns(frame: pd.DataFrame, *names: str) -> list[Floats]:
    return [frame[name].to_numpy(np.float64) for name in names]


def _no_nan(value: Any) -> Any:
    """JSON has no NaN: None in its place."""
    if isinstance(value, dict):
        return {key: _no_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_no_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
