"""q, the reward model of the direct method: what a row's item, or another one, earns on average; cross-fitted.

Clusters are dealt to folds by a hash of their name. A row's q comes from the other folds' rows, so that its own reward is not in it.
A model is asked for the mean reward of every item of every context under each fold's fit, [folds, C, A].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from recbayes.evaluation.target import Choices
from recbayes.types import Array


class RewardModel(NamedTuple):
    """A cross-fitted reward model.

    name: in results. folds: how many. means: (rows of a log, their items [n] or other items of representative rows) -> see `Means`.
    """

    name: str
    folds: int
    means: Callable[[Any, Array, Array], Array]


class Predictions(NamedTuple):
    """Of rows [n]: of the item shown, and expected under the policy; `by_fold` [folds], sums over rows of each fold's expectation."""

    predicted: Array
    expected: Array
    by_fold: Array


def predict(model: RewardModel, log: Any, choices: Choices, folds: Array, count: Array) -> Predictions:
    """What a model says of rows under a policy.

    Args:
      model: the cross-fitted model.
      log: the rows, n of them.
      choices: the policy's.
      folds: each row's fold, [n].
      count: decisions that each row stands for, [n].
    """
    rows = np.arange(len(log))
    own = model.means(log, rows[:, None], np.asarray(log.item)[:, None])[:, :, 0]  # [folds, n]
    predicted = own[folds, rows]
    if choices.context is None or choices.probability is None:
        return Predictions(predicted, predicted, own @ count)
    items = np.broadcast_to(np.asarray(choices.items), choices.probability.shape)
    q = model.means(log, np.broadcast_to(np.asarray(choices.row)[:, None], items.shape), items)  # [folds, C, A]
    expected = np.einsum("kca,ca->kc", q, choices.probability)
    weights = np.bincount(choices.context, count, expected.shape[1])
    return Predictions(predicted, expected[folds, choices.context], expected @ weights)
