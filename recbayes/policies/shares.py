"""Scores into probabilities: one tie rule everywhere, the mask, the floor."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from recbayes.types import Tensor

TIE = 1e-5
"""Scores within this share of the best one tie: float32's rounding must not decide between equals."""


def best_share(scores: Tensor, candidates: Tensor) -> Tensor:
    """All probability on the best candidate; ties share equally.

    Args:
      scores: finite numbers, [..., B, A].
      candidates: bool, broadcasts to [..., B, A].

    Returns: [..., B, A], sum 1 (0 where a decision has no candidate), exactly 0 where nothing may be shown.

    >>> best_share(tf.constant([[0.2, 0.5, 0.5, 0.9]]), tf.constant([[True, True, True, False]])).numpy().tolist()
    [[0.0, 0.5, 0.5, 0.0]]
    """
    masked = tf.where(candidates, scores, scores.dtype.min)
    best = tf.reduce_max(masked, -1, keepdims=True)
    return even_share(candidates & (masked >= best - TIE * tf.abs(best)), scores.dtype)


def even_share(chosen: Tensor, dtype: tf.DType = tf.float32) -> Tensor:
    """Equal probability for all that are True, bool [..., A] -> [..., A]."""
    ones = tf.cast(chosen, dtype)
    return ones / tf.maximum(tf.reduce_sum(ones, -1, keepdims=True), 1.0)


def with_floor(probabilities: Tensor, candidates: Tensor, floor: float | Tensor) -> Tensor:
    """Mix with uniform over the candidates: (1 - floor) p + floor / A.

    >>> with_floor(tf.constant([[1.0, 0.0, 0.0]]), tf.constant([[True, True, False]]), 0.5).numpy().tolist()
    [[0.75, 0.25, 0.0]]
    """
    if isinstance(floor, float | int) and floor == 0:
        return probabilities
    return (1.0 - floor) * probabilities + floor * even_share(candidates, probabilities.dtype)


def checked(candidates: Tensor) -> Tensor:
    """The candidates as bool.

    Raises: ValueError naming the first decisions that have none (outside compiled code, where nothing can be raised).
    """
    candidates = tf.convert_to_tensor(candidates, tf.bool)
    if tf.executing_eagerly():
        empty = np.argwhere(~candidates.numpy().any(-1))
        if len(empty):
            places = ", ".join(str([int(i) for i in place]) for place in empty[:3])
            of = int(np.prod(candidates.shape[:-1]))
            raise ValueError(
                f"candidates: decision {places} has no candidate ({len(empty)} of {of} decisions have none)."
                " Leave such decisions out, or add a candidate."
            )
    return candidates


def gaps(scores: Tensor, candidates: Tensor) -> Tensor:
    """How far each candidate is below the best, float64 [..., B, A]; exactly 0 for all that tie with it.

    >>> gaps(tf.constant([[0.5, 0.25, 0.5 + 1e-7]]), tf.constant([[True, True, True]])).numpy().round(6).tolist()
    [[0.0, 0.25, 0.0]]
    """
    masked = tf.where(candidates, scores, scores.dtype.min)
    best = tf.reduce_max(masked, -1, keepdims=True)
    gap = tf.where(candidates, tf.cast(best, tf.float64) - tf.cast(scores, tf.float64), 0.0)
    return tf.where(masked >= best - TIE * tf.abs(best), tf.zeros_like(gap), gap)
