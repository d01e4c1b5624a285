"""A trained model held against a test log: the calibration figures and a frame of predictions.

Everything here is out of sample: a row's prediction comes from its features only, never from its own counts or its group's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from recbayes.calibration.counts import Floats, condense, count_quantile
from recbayes.calibration.coverage import LEVELS, coverage, coverage_by, covered, deciles, share_interval
from recbayes.calibration.novelty import describe, plain
from recbayes.calibration.pit import histogram, pit
from recbayes.calibration.reliability import reliability, sharpness
from recbayes.calibration.thin import thin
from recbayes.densities import baselines
from recbayes.features import Feature
from recbayes.log import Log
from recbayes.predictive import Predictive
from recbayes.types import UserError

if TYPE_CHECKING:
    from recbayes.fitted import Fitted

POINTS = 100
PAIRS = 256
CHUNK = 2048


def calibrate(fitted: Fitted, train: Log, test: Log, *, draws: int = 512, seed: int = 0) -> tuple[dict[str, Any], pd.DataFrame]:
    """Calibration figures and predictions of a test log.

    Args:
      fitted: a `Fitted`.
      train: the log it was fitted on; the baselines are fitted to it.
      test: the log to judge it by; events are summed to counts first.
      draws: of each row's click rate, at least; spread evenly over the page effect and the weight draws (`thin`).
      seed: of the draws and of the ties.

    Returns: what design.md's calibration.json holds, and the frame of predictions.parquet (a row a test row, in the log's order): item,
      group, clicks, impressions, mean, data_stddev, model_stddev, stddev, lower and upper (90% of the click rate), clicks_lower and
      clicks_upper (90% of the count), pit, new (what training never showed of the row), and the features that are short enough to read.
    Raises: UserError if the model predicts no number for some row.
    """
    train, test = (log.counts() if log.is_events else log for log in (train, test))
    parts = [_rates(fitted.predict(test.take(rows)), draws=draws, seed=seed + int(rows[0])) for rows in _chunks(len(test))]
    columns, points = pd.concat([frame for frame, _ in parts], ignore_index=True), np.concatenate([p for _, p in parts], axis=1)
    _must_be_numbers(columns["stddev"].to_numpy())
    clicks, impressions = np.asarray(test.clicks, np.float64), np.asarray(test.impressions, np.float64)
    columns["clicks_lower"], columns["clicks_upper"] = count_quantile([0.05, 0.95], impressions, points).astype(np.int64)
    columns["pit"] = pit(clicks, impressions, points, seed=seed)
    frame = pd.concat([_identity(test), columns], axis=1)
    frame["new"] = describe(fitted.encoder.features, train, test)
    frame = pd.concat([frame, _readable(fitted.encoder.features, test, frame.columns)], axis=1)
    told = {"draws": draws, "warnings": fitted.warnings, "diagnostics": fitted.record.get("diagnostics", {})}
    return _figures(fitted, train, test, frame) | told, frame


def _must_be_numbers(stddev: Floats) -> None:
    bad = np.flatnonzero(~np.isfinite(stddev))
    if len(bad):
        raise UserError(
            f"calibration: the model predicts no number for {len(bad):,} of {len(stddev):,} test rows (first: row {bad[0]}). "
            "Its training went wrong: try a smaller train.learning_rate."
        )


def _chunks(rows: int) -> Iterator[NDArray[np.int64]]:
    """A predictive holds page nodes x weight draws x components a row: rows go through a few at a time."""
    for start in range(0, rows, CHUNK):
        yield np.arange(start, min(start + CHUNK, rows))


def _rates(predictive: Predictive, *, draws: int, seed: int) -> tuple[pd.DataFrame, Floats]:
    """Moments and 90% interval of each row's click rate, and its draws condensed to [POINTS, N]."""
    data_stddev, model_stddev = (np.asarray(part, np.float64)[:, 0] for part in predictive.split())
    few = thin(predictive, PAIRS)
    density = tf.nest.map_structure(lambda leaf: leaf[:, 0, :, 0], few.density)  # [PAIRS, N, K]
    drawn = np.asarray(density.sample(tf.constant([seed, 0]), (-(-draws // PAIRS),)), np.float64)
    points = condense(drawn.reshape(-1, drawn.shape[-1]), POINTS)
    frame = pd.DataFrame({"mean": np.asarray(predictive.mean, np.float64)[:, 0], "data_stddev": data_stddev, "model_stddev": model_stddev})
    frame["stddev"] = np.sqrt(data_stddev**2 + model_stddev**2)
    for name, level in (("lower", 0.05), ("upper", 0.95)):
        frame[name] = np.asarray(few.quantile(level), np.float64)[:, 0]
    return frame, points


def _identity(test: Log) -> pd.DataFrame:
    roles = {role: getattr(test, role) for role in ("item", "group", "clicks", "impressions")}
    return pd.DataFrame({role: values for role, values in roles.items() if values is not None})


def _readable(features: Iterable[Feature], test: Log, taken: Any) -> pd.DataFrame:
    """The features themselves, so that a reader knows which row is meant; lists and vectors stay out."""
    names = [f.name for f in features if f.kind in ("text", "categorical", "numeric", "time") and f.name not in taken]
    return pd.DataFrame({name: pd.Series(plain(test.column(name))) for name in names})


def _figures(fitted: Fitted, train: Log, test: Log, frame: pd.DataFrame) -> dict[str, Any]:
    segments, groups = test.segments
    values, tenths = frame.pit.to_numpy(), deciles(frame.impressions.to_numpy())
    log_likelihood = np.asarray(fitted.log_likelihood(test), np.float64)
    by_decile = {str(level): coverage_by(values, tenths, level=level, clusters=segments) for level in LEVELS}
    return {
        "rows": len(frame),
        "groups": int(groups),
        "log_likelihood_per_row": float(log_likelihood.sum()) / len(frame),
        "baselines": baselines.held_out(train, test),
        "coverage": coverage(values),
        "coverage_interval": {str(level): share_interval(covered(values, level), segments) for level in LEVELS},
        "coverage_by_decile": {level: parts.coverage.tolist() for level, parts in by_decile.items()},
        "coverage_by_decile_interval": {level: parts[["lower", "upper"]].to_numpy().tolist() for level, parts in by_decile.items()},
        "decile_impressions": frame.impressions.groupby(tenths).median().tolist(),
        "pit": histogram(values).tolist(),
        "reliability": reliability(*(frame[name].to_numpy(np.float64) for name in ("clicks", "impressions", "mean")), clusters=segments),
        "sharpness": sharpness(*(frame[name].to_numpy(np.float64) for name in ("mean", "data_stddev", "model_stddev", "lower", "upper"))),
    }
