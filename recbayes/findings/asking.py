"""What several findings ask of a model: predictions of encoded rows, and evenly chosen rows that a question can afford."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from recbayes.predictive import Predictive
from recbayes.types import Array

ROWS = 500
"""Rows that a question is asked of: medians over them are within a few percent of those over all."""


def some(count: int, most: int = ROWS) -> Array:
    """At most so many row numbers, evenly spaced.

    >>> some(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64)) if count else np.zeros(0, np.int64)


def predict(fitted: Any, encoded: Mapping[str, Any]) -> Predictive:
    """`Fitted.predict` of rows that are encoded already."""
    density = fitted.family.density(fitted.outputs({name: tf.constant(value) for name, value in encoded.items()}, fitted.draw()))
    alone = tf.nest.map_structure(lambda leaf: leaf[:, :, None, :], density)  # [S, N, 1, K]
    return Predictive.from_draws(alone, group_effect=fitted.group_effect)


def parts(predictive: Predictive) -> dict[str, Array]:
    """mean, and data and model standard deviations relative to it, each [N]."""
    mean = np.asarray(predictive.mean, np.float64)[:, 0]
    data, model = (np.asarray(part, np.float64)[:, 0] / mean for part in predictive.split())
    return {"mean": mean, "data": data, "model": model}


def percent(share: float) -> str:
    """A share in a sentence.

    >>> percent(0.123), percent(0.0042)
    ('12%', '0.4%')
    """
    return f"{share:.0%}" if abs(share) >= 0.095 else f"{share:.1%}"
