"""Requests that have no answer are refused with the reason: the caller gets an invalid-argument status, never a NaN.

A check is an operation of the graph with a side effect, so every server runs it; `checked` makes all else wait for it, or the caller
might hear of an operation that failed deep inside instead of the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from recbayes.export.schema import Input
from recbayes.types import Tensor

LARGEST = 1e9
"""Impressions beyond which float32 no longer tells what clicks say."""


def checked(signature: str, declared: Sequence[Input], given: Mapping[str, Tensor], like: str) -> dict[str, Tensor]:
    """The inputs, once all is as it must be: axes that fit those of `like`, possible counts, and for `decide` candidates and settings.

    What is looked at in every call is few operations; which input is wrong, and where, is found out only when one is.
    """
    have, wanted = sizes(declared, given, like)
    bad = have != wanted
    with tf.control_dependencies([_told(tf.reduce_any(bad), lambda: lengths_differ(signature, declared, bad, given[like], like))]):
        given = {name: tf.identity(value) for name, value in given.items()}
    found = values(signature, given)
    all_good = tf.reduce_all(tf.concat([tf.reshape(good, [-1]) for good, _ in found], 0))
    with tf.control_dependencies([_told(~all_good, lambda: tf.group(*(refuse(~good, message) for good, message in found)))]):
        return {name: tf.identity(value) for name, value in given.items()}


def values(signature: str, given: Mapping[str, Tensor]) -> list[tuple[Tensor, str]]:
    """Where values have an answer, and what to say where they have none."""
    clicks, impressions = given["clicks"], given["impressions"]
    found = [
        ((clicks >= 0) & (clicks <= impressions), f"{signature}: clicks must be between 0 and impressions"),
        (impressions <= int(LARGEST), f"{signature}: impressions must be at most {LARGEST:.0e}"),
    ]
    if "candidates" not in given:
        return found
    settings = [(given[name], name) for name in ("remaining", "batch")]
    positive = [((value > 0.0) & (value <= tf.float32.max), f"{signature}: {name} must be a number above 0") for value, name in settings]
    knob = given["exploration"]
    return [
        *found,
        (tf.reduce_any(given["candidates"], -1), f"{signature}: a decision has no candidate; leave it out or offer one"),
        *positive,
        ((knob >= 0.0) & (knob <= tf.float32.max), f"{signature}: exploration must be a number of 0 or more"),
    ]


def refuse(bad: Tensor, message: str) -> Any:
    """Fails if `bad` is True anywhere, with the message and the first places, row-major."""
    places = tf.where(tf.reshape(bad, [-1]))[:, 0]
    return tf.debugging.Assert(tf.equal(tf.size(places), 0), [message, "at (row-major)", places[:5]], summarize=5)


def sizes(declared: Sequence[Input], given: Mapping[str, Tensor], like: str) -> tuple[Tensor, Tensor]:
    """The lengths of all inputs' axes in a row, and what they must be to agree with those of the input `like`, each [D].

    An input of another rank than declared, which the C API lets pass, moves those after it out of their places.
    """
    axes = next(entry.shape for entry in declared if entry.name == like)
    fixed = sorted({axis for entry in declared for axis in entry.shape if isinstance(axis, int)})
    lengths = [axis for entry in declared for axis in entry.shape]
    known = tf.concat([tf.shape(given[like])[: len(axes)], tf.constant(fixed, tf.int32)], 0)
    place = {axis: i for i, axis in enumerate((*axes, *fixed))}
    have = tf.concat([*(tf.shape(given[entry.name]) for entry in declared if entry.shape), tf.fill([len(lengths)], -1)], 0)
    return have[: len(lengths)], tf.gather(known, [place[axis] for axis in lengths])


def lengths_differ(signature: str, declared: Sequence[Input], bad: Tensor, first: Tensor, like: str) -> Any:
    """Fails with the names of the inputs that do not fit; bad: of each of their axes, bool [D]."""
    names = tf.unique(tf.boolean_mask(tf.constant([entry.name for entry in declared for _ in entry.shape]), bad))[0]
    message = f"{signature}: these inputs' lengths do not fit those of {like}:"
    return tf.debugging.Assert(tf.equal(tf.size(names), 0), [message, names, like, tf.shape(first)], summarize=100)


def _told(bad: Tensor, tell: Callable[[], Any]) -> Any:
    """Runs what fails with the reason, where something is bad."""

    def fail() -> Tensor:
        with tf.control_dependencies([tell()]):
            return tf.constant(True)

    return tf.cond(bad, fail, lambda: tf.constant(True))


def finite(outputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The outputs; fails if one holds a NaN or an infinity."""
    return {
        name: tf.debugging.check_numerics(value, f"{name}: not a number") if value.dtype.is_floating else value
        for name, value in outputs.items()
    }
