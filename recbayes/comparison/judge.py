"""One posterior on one problem: what it says of held-out rows, what that costs, and its draws for the comparison with a reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from recbayes.calibration import calibrate
from recbayes.comparison.cost import at_most, inference_seconds
from recbayes.comparison.distances import Floats
from recbayes.fitted import Fitted, fit
from recbayes.log import Log
from recbayes.posteriors import Posterior

DRAWS = 256
"""Weight draws that distances are measured with, where the method has so many; more where it was built with more."""
ROWS = 256
"""Held-out rows that distances are measured on, evenly spaced over the test log."""


class Problem(NamedTuple):
    """A training log, a test log, and what `fit` takes besides them and the posterior."""

    train: Log
    test: Log
    settings: Mapping[str, Any]


class Judged(NamedTuple):
    """A posterior's row of figures, and its expected click rates under each weight draw, [S, N], None where it has none."""

    row: dict[str, Any]
    draws: Floats | None


def judge(
    posterior: Posterior, problem: Problem, small: Problem | None = None, *, replay: Callable[[Fitted], Mapping[str, float]] | None = None
) -> Judged:
    """Fits and measures a posterior.

    Args:
      posterior: the method.
      problem: what held-out figures and costs are of.
      small: what the draws are of; None: the same problem.
      replay: a fitted model -> lift of each policy; None: no replay.

    Returns: the row and the draws. A problem that the method cannot take leaves its reason in the row (`reason`, `small_reason`).
    """
    row: dict[str, Any] = {"kind": posterior.kind, "settings": dict(posterior.settings), "reason": None, "small_reason": None}
    fitted = attempted(row, "reason", lambda: figures(row, posterior, problem, replay))
    if small is None:
        return Judged(row, attempted(row, "small_reason", lambda: rates(fitted, problem.test)) if fitted is not None else None)

    def on_small() -> Floats:
        found = fit(small.train, posterior=posterior, **small.settings)
        row["small_warnings"] = found.warnings
        return rates(found, small.test)

    return Judged(row, attempted(row, "small_reason", on_small))


def attempted(row: dict[str, Any], reason: str, work: Callable[[], Any]) -> Any:
    """What the work gives; None and the reason in the row where the method cannot do it."""
    try:
        return work()
    except ValueError as fault:  # UserError is one
        row[reason] = str(fault)
        return None


def figures(row: dict[str, Any], posterior: Posterior, problem: Problem, replay: Callable[[Fitted], Mapping[str, float]] | None) -> Fitted:
    """Writes held-out figures and costs into the row."""
    begin = time.perf_counter()
    fitted = fit(problem.train, posterior=posterior, **problem.settings)
    row["train_seconds"] = time.perf_counter() - begin
    row["epochs"] = fitted.record["epochs"]
    row["epoch_seconds"] = float(np.median([record["seconds"] for record in fitted.history[1:] or fitted.history]))
    row["warnings"] = fitted.warnings
    held_out, predictions = calibrate(fitted, problem.train, problem.test)
    row["log_likelihood_per_row"] = held_out["log_likelihood_per_row"]
    row["coverage"], row["coverage_interval"] = held_out["coverage"]["0.9"], held_out["coverage_interval"]["0.9"]
    row["crps"] = held_out.get("crps", {}).get("clicks")
    for part in ("data_stddev", "model_stddev"):
        row[part] = float((predictions[part] / predictions["mean"]).median())
    row["inference_seconds"], row["inference_draws"] = inference_seconds(fitted, problem.test)
    row["lift"] = dict(replay(fitted)) if replay is not None else {}
    return fitted


def rates(fitted: Fitted, test: Log) -> Floats:
    """Expected click rates of evenly spaced test rows under each weight draw, the page effect integrated out, [S, N]."""
    rows = test.take(np.unique(np.linspace(0, len(test) - 1, min(ROWS, len(test))).astype(np.int64)))
    predictive = at_most(lambda draws: fitted.predict(rows, draws=draws), max(DRAWS, fitted.posterior.draws))
    return np.asarray(predictive.draw_means(), np.float64)[:, :, 0]
