"""A trained model held against a test log: the calibration figures and a frame of predictions.

Everything here is out of sample: a row's prediction comes from its features only, never from its own counts or its group's. A recalibrated
model's intervals, counts and PIT are those of the recalibrated law; mean, data_stddev, model_stddev and stddev are the model's own moments,
which policies act on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbayes.calibration.counts import Floats, count_quantile
from recbayes.calibration.figures import figures
from recbayes.calibration.novelty import describe, plain
from recbayes.calibration.pit import pit
from recbayes.calibration.points import few_of, rate_points
from recbayes.calibration.recalibration import Recalibration
from recbayes.features import Feature
from recbayes.log import Log
from recbayes.predictive import Predictive
from recbayes.types import UserError

CHUNK = 2048


def calibrate(
    fitted: Any, train: Log, test: Log, *, draws: int = 512, seed: int = 0, by: Sequence[str] | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Calibration figures and predictions of a test log.

    Args:
      fitted: a `Fitted`.
      train: the log it was fitted on; the baselines are fitted to it.
      test: the log to judge it by; events are summed to counts first.
      draws: of each row's click rate, at least; spread evenly over the page effect and the weight draws (`thin`).
      seed: of the draws and of the ties.
      by: columns in whose parts coverage is counted too; None takes the categorical features.

    Returns: what design.md's calibration.json holds, and the frame of predictions.parquet (a row a test row, in the log's order): item,
      group, clicks, impressions, mean, data_stddev, model_stddev, stddev, lower and upper (90% of the click rate), clicks_lower and
      clicks_upper (90% of the count), pit, new (what training never showed of the row), and the features that are short enough to read.
    Raises: UserError if the model predicts no number for some row, or a column is not in the log.
    """
    train, test = (log.counts() if log.is_events else log for log in (train, test))
    recalibration = getattr(fitted, "recalibration", None)
    parts = [_rates(fitted.predict(test.take(rows)), recalibration, draws, seed + int(rows[0])) for rows in _chunks(len(test))]
    columns = pd.concat([frame for frame, _ in parts], ignore_index=True)
    _must_be_numbers(columns["stddev"].to_numpy())
    points = np.concatenate([of_rows for _, of_rows in parts], axis=1)
    clicks, impressions = np.asarray(test.clicks, np.float64), np.asarray(test.impressions, np.float64)
    before = pit(clicks, impressions, points, seed=seed)
    points = points if recalibration is None else recalibration.points(points)
    columns["clicks_lower"], columns["clicks_upper"] = count_quantile([0.05, 0.95], impressions, points).astype(np.int64)
    columns["pit"] = before if recalibration is None else pit(clicks, impressions, points, seed=seed)
    frame = pd.concat([_identity(test), columns], axis=1)
    frame["new"] = describe(fitted.encoder.features, train, test)
    frame = pd.concat([frame, _readable(fitted.encoder.features, test, frame.columns)], axis=1)
    by = [feature.name for feature in fitted.encoder.features if feature.kind == "categorical"] if by is None else by
    found = figures(fitted, train, test, frame, points, by=by, before=before, seed=seed)
    told = {"draws": draws, "warnings": fitted.warnings, "diagnostics": fitted.record.get("diagnostics", {})}
    return found | told, frame


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


def _rates(predictive: Predictive, recalibration: Recalibration | None, draws: int, seed: int) -> tuple[pd.DataFrame, Floats]:
    """Moments and 90% interval of each row's click rate, and points of its own law, [POINTS, N]; without moments no law is searched."""
    data_stddev, model_stddev = (np.asarray(part, np.float64)[:, 0] for part in predictive.split())
    few = few_of(predictive)
    frame = pd.DataFrame({"mean": np.asarray(predictive.mean, np.float64)[:, 0], "data_stddev": data_stddev, "model_stddev": model_stddev})
    frame["stddev"] = np.sqrt(data_stddev**2 + model_stddev**2)
    if not np.isfinite(frame["stddev"]).all():
        return frame, np.empty((0, len(frame)))
    for name, level in (("lower", 0.05), ("upper", 0.95)):
        level = level if recalibration is None else recalibration.level(level)
        frame[name] = np.asarray(few.quantile(level), np.float64)[:, 0]
    return frame, rate_points(few, draws=draws, seed=seed)


def _identity(test: Log) -> pd.DataFrame:
    roles = {role: getattr(test, role) for role in ("item", "group", "clicks", "impressions")}
    return pd.DataFrame({role: values for role, values in roles.items() if values is not None})


def _readable(features: Iterable[Feature], test: Log, taken: Any) -> pd.DataFrame:
    """The features themselves, so that a reader knows which row is meant; lists and vectors stay out."""
    names = [f.name for f in features if f.kind in ("text", "categorical", "numeric", "time") and f.name not in taken]
    return pd.DataFrame({name: pd.Series(plain(test.column(name))) for name in names})
