"""Requests that have no answer are refused with the reason: the caller gets an invalid-argument status, never a NaN.

A check is an operation of the graph with a side effect, so every server runs it; `after` makes all else wait for it, or the caller
might hear of an operation that failed deep inside instead of the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from recbayes.export.schema import Input
from recbayes.types import Tensor


def after(checks: Sequence[Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, once the checks have passed."""
    with tf.control_dependencies([check for check in checks if check is not None]):
        return {name: tf.identity(value) for name, value in inputs.items()}


def refuse(bad: Tensor, message: str) -> Any:
    """Fails if `bad` is True anywhere, with the message and the first places, row-major."""
    places = tf.where(tf.reshape(bad, [-1]))[:, 0]
    return tf.debugging.Assert(tf.equal(tf.size(places), 0), [message, "at (row-major)", places[:5]], summarize=5)


def shapes(signature: str, declared: Sequence[Input], given: Mapping[str, Tensor], like: str) -> Any:
    """Fails unless the inputs agree on their axes with the input `like`."""
    axes = tf.shape(given[like])
    length = {axis: axes[i] for i, axis in enumerate(next(i for i in declared if i.name == like).shape)}
    bad = []
    for entry in declared:
        wanted = [length.get(axis, axis) for axis in entry.shape]
        bad.append(tf.reduce_any(tf.not_equal(tf.shape(given[entry.name]), tf.stack(wanted))) if wanted else tf.constant(False))
    names = tf.boolean_mask(tf.constant([entry.name for entry in declared]), tf.stack(bad))
    message = f"{signature}: these inputs' lengths do not fit those of {like}:"
    return tf.debugging.Assert(tf.equal(tf.size(names), 0), [message, names, like, axes], summarize=100)


def counts(signature: str, clicks: Tensor, impressions: Tensor) -> Any:
    """Fails on negative counts and on more clicks than impressions."""
    return refuse((clicks < 0) | (clicks > impressions), f"{signature}: clicks must be between 0 and impressions")


def decision(candidates: Tensor, remaining: Tensor, batch: Tensor, exploration: Tensor) -> list[Any]:
    """Fails on a decision without a candidate, and on settings that are no positive numbers."""
    return [
        refuse(~tf.reduce_any(candidates, -1), "decide: a decision has no candidate; leave it out or offer one"),
        refuse(~(tf.math.is_finite(remaining) & (remaining > 0)), "decide: remaining must be a number above 0"),
        refuse(~(tf.math.is_finite(batch) & (batch > 0)), "decide: batch must be a number above 0"),
        refuse(~(tf.math.is_finite(exploration) & (exploration >= 0)), "decide: exploration must be a number of 0 or more"),
    ]


def finite(outputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The outputs; fails if one holds a NaN or an infinity."""
    return {
        name: tf.debugging.check_numerics(value, f"{name}: not a number") if value.dtype.is_floating else value
        for name, value in outputs.items()
    }
