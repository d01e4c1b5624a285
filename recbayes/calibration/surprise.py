"""The log-likelihood that the model itself expects on the test rows, against the one it got.

Clicks are drawn from the model's own joint law (a weight draw and a page effect for all rows of a group, a rate and a count for each row)
and scored by the model as the observed ones were. A right model gets what it expects, within the draws' spread; got much less: it is
surer than it should be; got more: it is less sure than it could be. Unlike coverage this weighs every outcome by its probability, and that
of a group's rows jointly.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recbayes.log import Log
from recbayes.predictive import Predictive
from recbayes.types import Array

SCORED = 400
"""Rows that are scored, about: whole groups, chosen evenly."""


def simulate(predictive: Predictive, segments: Array, impressions: Array, *, seed: int) -> Array:
    """Clicks of rows from their joint law, int64 [N].

    Args:
      predictive: of N decisions of one candidate, from features alone: its page effect's weights are the same in every row.
      segments: the rows' groups, counted from 0, [N].
      impressions: [N].
      seed: of the draws.

    >>> from recbayes.densities import BetaMixture
    >>> one = BetaMixture(tf.zeros([1, 2, 1, 1]), tf.fill([1, 2, 1, 1], 0.5), tf.fill([1, 2, 1, 1], 9.0))
    >>> simulate(Predictive.from_draws(one), np.array([0, 0]), np.array([0, 0]), seed=0)
    array([0, 0])
    """
    generator = np.random.default_rng(seed)
    nodes = np.asarray(predictive.node_log_weights, np.float64)
    joint = np.exp(nodes.reshape(*nodes.shape[:2], -1)[:, :, 0] + np.asarray(predictive.draw_log_weights, np.float64))  # [Q, S]
    pairs = generator.choice(joint.size, int(np.max(segments)) + 1, p=joint.ravel() / joint.sum())
    node, draw = (index[segments] for index in np.unravel_index(pairs, joint.shape))  # [N]

    def take(leaf: Any) -> Any:
        rows = np.arange(leaf.shape[2])
        where = np.stack([np.minimum(node, leaf.shape[0] - 1), np.minimum(draw, leaf.shape[1] - 1), rows], axis=1)
        return tf.gather_nd(leaf, where)[:, 0]  # [N, K]

    rates = np.asarray(tf.nest.map_structure(take, predictive.density).sample(tf.constant([seed, 2], tf.int32)), np.float64)
    return np.asarray(generator.binomial(np.asarray(impressions, np.int64), np.clip(rates, 0.0, 1.0)), np.int64)


def expected_log_likelihood(fitted: Any, test: Log, *, seed: int = 0) -> dict[str, float]:
    """What the model expects on some of the test groups, and what it got there.

    Args:
      fitted: has `predict` and `log_likelihood`.
      test: counts.
      seed: of the drawn clicks.

    Returns: rows; expected and observed, nats a row; stderr of their difference under the model's own law (both sums' spread over groups).
    """
    segments, groups = test.segments
    step = max(len(test) // SCORED, 1)
    some = test.take(np.isin(segments, np.arange(0, groups, step)))
    clicks = simulate(fitted.predict(some), some.segments[0], some.impressions, seed=seed)
    expected, observed = (np.asarray(fitted.log_likelihood(log), np.float64) for log in (with_clicks(some, clicks), some))
    spread = len(expected) * np.var(expected, ddof=1) if len(expected) > 1 else float("nan")
    return {
        "rows": len(some),
        "expected": float(expected.sum()) / len(some),
        "observed": float(observed.sum()) / len(some),
        "stderr": float(np.sqrt(2.0 * spread)) / len(some),
    }


def with_clicks(log: Log, clicks: Array) -> Log:
    """The log with other clicks."""
    name = log.columns.clicks
    where = log.table.column_names.index(name)
    return dataclasses.replace(log, table=log.table.set_column(where, name, pa.array(clicks)), fingerprint=f"{log.fingerprint}+simulated")
