"""The reward model with features: a click model of this library, fitted anew without each fold.

A prediction is made once for each pair of context and item, not for each row: rows of equal context share theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recbayes.engine import Engine, Kind, Work, opened, results
from recbayes.evaluation.catalog import Catalog
from recbayes.evaluation.decisions import decisions_of
from recbayes.evaluation.resampling import Tell
from recbayes.evaluation.reward_model import RewardModel
from recbayes.log import Log
from recbayes.log.counts import equal_rows
from recbayes.log.stream import Stream
from recbayes.types import Array, UserError

DRAWS = 8
"""Of the posterior, for a mean."""


class Study(NamedTuple):
    """A log, the fold of each of its rows [n], and what fits a model to a log."""

    log: Log
    fold: Array
    fit: Callable[[Log], Any]


def modelled(
    fit: Callable[[Log], Any], *, folds: int = 5, engine: Kind | Engine = "local", progress: Tell | None = None
) -> Callable[[Stream], RewardModel]:
    """For `evaluate(reward_model=...)`: fits a click model without each fold.

    Args:
      fit: (training log) -> fitted model, such as `lambda log: rb.fit(log, features=[...])`.
      folds: how many models.
      engine: where they are fitted, as for `compare`, each a task; they are the same, and come back here for their predictions.
      progress: called with (done, of, "click models") after each.

    Raises: UserError, when it meets the log, for one that is not in memory or has no clicks, or an engine that is none.

    >>> modelled(lambda log: None, folds=3).__name__
    'make'
    """

    def make(stream: Stream) -> RewardModel:
        log = stream.opened
        if not isinstance(log, Log):
            raise UserError("evaluate: a click model is fitted to a log in memory: give a log that read_log made, or reward_model=rates")
        fold = decisions_of(log, 0, folds).fold
        models = _fitted(Study(log, fold, fit), folds, engine, progress or (lambda *_: None))
        features = models[0].encoder.features
        items = [f.name for f in features if f.side == "item"]
        shared = [f.name for f in features if f.side != "item"]
        catalog = Catalog.of(log, items)

        def means(part: Any, rows: Array, wanted: Array) -> Array:
            places = catalog.rows(wanted, "the click model")
            same = equal_rows(part.table, shared)[0] if shared else np.zeros(len(part), np.int64)
            keys = same[rows].astype(np.int64) * len(catalog.items) + places
            _, first, inverse = np.unique(keys.ravel(), return_index=True, return_inverse=True)
            context = {name: part.column(name).take(pa.array(rows.ravel()[first])) for name in shared}
            columns = {**context, **catalog.columns(places.ravel()[first])}
            means = np.stack([np.asarray(model.predict(columns, draws=DRAWS).mean, np.float64)[:, 0] for model in models])
            return means[:, inverse].reshape(len(models), *np.shape(wanted))

        return RewardModel("fitted", folds, means)

    return make


def without(study: Study, fold: int) -> Any:
    """The model of all rows but a fold's: what an engine does."""
    return study.fit(study.log.take(study.fold != fold))


def _fitted(study: Study, folds: int, engine: Kind | Engine, tell: Tell) -> list[Any]:
    """The model without each fold."""
    found: dict[int, Any] = {}
    with opened(engine) as runner:
        for fold, model in results(runner, Work(without, study, whole=True), folds):
            found[fold] = model
            tell(len(found), folds, "click models")
    return [found[fold] for fold in range(folds)]
