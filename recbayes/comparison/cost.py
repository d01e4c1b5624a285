"""What answers cost: seconds to draw weights, and to score rows under each draw."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from recbayes.fitted import Fitted
from recbayes.fitting import columns_of, encode
from recbayes.log import Log
from recbayes.types import UserError

CHUNK = 1_000
"""Rows scored at once: 64 draws of a text's embeddings are some hundred MB."""


def inference_seconds(fitted: Fitted, log: Log, *, draws: int = 64, rows: int = 10_000) -> tuple[float, int]:
    """Seconds to draw weights and to put rows, encoded already, through the network under each draw.

    Args:
      fitted: the model.
      log: where the rows come from, again and again until there are enough.
      draws: weight draws; a method that has fewer (members, kept draws) gives what it has.
      rows: in all.

    Returns: seconds, the graph's tracing left out, and the number of draws that were used.
    """
    encoded = encode(fitted.encoder, columns_of(log.take(np.arange(min(rows, len(log)))), fitted.encoder))
    repeated = {name: np.resize(value, (rows, *value.shape[1:])) for name, value in encoded.items()}
    whole = rows // CHUNK * CHUNK or rows
    parts = [{n: tf.constant(v[i : i + CHUNK]) for n, v in repeated.items()} for i in range(0, whole, CHUNK)]
    score = tf.function(fitted.outputs, reduce_retracing=True, autograph=False)
    weights = at_most(fitted.draw, draws)
    used = len(score(parts[0], weights))
    begin = time.perf_counter()
    weights = at_most(fitted.draw, draws)
    for part in parts:
        score(part, weights)
    return (time.perf_counter() - begin) * rows / whole, used


def at_most(ask: Callable[[int | None], Any], draws: int) -> Any:
    """What so many weight draws give; those the posterior was built with where it has no more (members, draws kept from a chain)."""
    try:
        return ask(draws)
    except UserError:
        return ask(None)
