"""Random numbers laid out as they are used: one Threefry block an element.

`recbayes.random` fills a shape from the two halves of its blocks; under XLA that layout, joined with per-arm numbers, costs five times the
numbers themselves. Here an element's counter is its place, and its block's two words are two numbers.
"""

from __future__ import annotations

import math

import tensorflow as tf

from recbayes.random import threefry
from recbayes.types import Tensor


def uniforms(seed: Tensor, shape: list[int]) -> tuple[Tensor, Tensor]:
    """Two uniform numbers an element, strictly between 0 and 1, float32 of the shape.

    >>> u, v = uniforms(tf.constant([0, 1]), [2, 3])
    >>> u.shape == v.shape == (2, 3)
    True
    """
    words = tf.bitcast(tf.convert_to_tensor(seed, tf.int32), tf.uint32)
    place = tf.zeros([1] * len(shape), tf.int32)
    for axis, size in enumerate(shape):
        place += tf.reshape(tf.range(size) * math.prod(shape[axis + 1 :]), [size, *[1] * (len(shape) - axis - 1)])
    counter = tf.cast(place, tf.uint32)
    first, second = threefry((words[0], words[1]), (counter, tf.fill(shape, tf.constant(3, tf.uint32))))
    return _real(first), _real(second)


def _real(words: Tensor) -> Tensor:
    """23 bits of each word as a number in (0, 1)."""
    bits = tf.bitwise.right_shift(words, tf.constant(9, tf.uint32))
    return (tf.cast(tf.bitcast(bits, tf.int32), tf.float32) + 0.5) * 2.0**-23
