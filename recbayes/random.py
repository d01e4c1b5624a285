"""The one random generator: Threefry-2x32, a pure function of a seed and a shape.

A seed is int32 [2]. The same seed gives the same bits uncompiled, compiled by XLA, on a GPU and in an export; numbers that go
through a transcendental function (normals, gammas, betas) agree to float32's rounding. Seeds are split or folded, never used twice.

Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (20 rounds; the tests hold their known answers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from recbayes.elementwise import elementwise
from recbayes.types import Tensor

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_BITS, _SPLIT, _FOLD = 0, 1, 2
"""The counter's second word: what a block is drawn for, so that the three never share one."""

ROUNDS = 4
"""Proposals for each gamma draw. At shape 1 none is accepted with probability 6e-6, at 8 with 3e-10: the draw is then the mode."""


def bits(seed: Tensor, shape: Sequence[Any]) -> Tensor:
    """Uniform 32-bit words, uint32 of the shape.

    >>> bits([0, 0], [2]).numpy().tolist() == [0x6B200159, 0x99BA4EFE]
    True
    """
    size = tf.reduce_prod(tf.convert_to_tensor(shape, tf.int32)) if not _static(shape) else math.prod(shape)
    counter = tf.cast(tf.range((size + 1) // 2), tf.uint32)
    first, second = threefry(_key(seed), (counter, tf.fill(tf.shape(counter), tf.constant(_BITS, tf.uint32))))
    return tf.reshape(tf.concat([first, second], 0)[:size], shape)


def uniform(seed: Tensor, shape: Sequence[Any], dtype: tf.DType = tf.float32) -> Tensor:
    """Uniform numbers strictly between 0 and 1: 23 random bits in float32, 52 in float64."""
    if dtype == tf.float32:
        return (_high_bits(bits(seed, shape), 23, dtype) + 0.5) * 2.0**-23
    low, high = (_high_bits(word, 26, dtype) for word in tf.unstack(bits(seed, [2, *shape])))
    return high * 2.0**-26 + (low + 0.5) * 2.0**-52


def normal(seed: Tensor, shape: Sequence[Any], dtype: tf.DType = tf.float32) -> Tensor:
    """Standard normal numbers; within 5.4 of 0 in float32."""
    return tf.math.ndtri(uniform(seed, shape, dtype))


def split(seed: Tensor, n: int) -> Tensor:
    """Seeds of n independent streams, int32 [n, 2]."""
    first, second = threefry(_key(seed), (tf.cast(tf.range(n), tf.uint32), tf.fill([n], tf.constant(_SPLIT, tf.uint32))))
    return tf.bitcast(tf.stack([first, second], -1), tf.int32)


def fold(seed: Tensor, number: int | Tensor) -> Tensor:
    """The seed of the stream of that number, int32 [2], or of each of many seeds [..., 2]: for steps, epochs, replicas."""
    counter = (tf.bitcast(tf.cast(number, tf.int32), tf.uint32), tf.constant(_FOLD, tf.uint32))
    return tf.bitcast(tf.stack(threefry(_key(seed), counter), -1), tf.int32)


def gamma(seed: Tensor, shape_parameter: Tensor) -> Tensor:
    """Gamma draws of scale 1, one for each shape parameter > 0."""
    return tf.exp(log_gamma(seed, shape_parameter))


def beta(seed: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Beta draws, one for each pair of the broadcast parameters > 0.

    Exact but for `ROUNDS`; below 1e-38 a draw is 0.

    >>> bool(0.0 < beta([0, 1], 2.0, 3.0) < 1.0)
    True
    """
    a = tf.convert_to_tensor(a)
    b = tf.convert_to_tensor(b, a.dtype)
    shape = tf.broadcast_dynamic_shape(tf.shape(a), tf.shape(b))
    log_odds = tf.unstack(log_gamma(seed, tf.stack([tf.broadcast_to(a, shape), tf.broadcast_to(b, shape)])))
    return tf.sigmoid(log_odds[0] - log_odds[1])


def log_gamma(seed: Tensor, shape_parameter: Tensor) -> Tensor:
    """Logs of gamma draws, one for each shape parameter: small ones stay exact where the draw itself would be 0.

    Source: Marsaglia and Tsang 2000, A simple method for generating gamma variables; shapes below 1 by way of shape + 1.
    """
    alpha = tf.convert_to_tensor(shape_parameter)
    dtype = alpha.dtype
    normals, uniforms, boosts = tf.unstack(split(seed, 3))
    small = alpha < 1.0
    d = tf.where(small, alpha + 1.0, alpha) - 1.0 / 3.0
    x = normal(normals, [ROUNDS, *_dimensions(alpha)], dtype)
    log_u = tf.math.log(uniform(uniforms, [ROUNDS, *_dimensions(alpha)], dtype))
    root = 1.0 + x * tf.math.rsqrt(9.0 * d)
    log_v = 3.0 * tf.math.log(tf.maximum(root, 1e-10))
    accepted = (root > 0.0) & (log_u < 0.5 * x * x + d * (1.0 - root**3 + log_v))
    chosen = tf.zeros_like(d)
    for proposal, good in zip(tf.unstack(log_v)[::-1], tf.unstack(accepted)[::-1], strict=True):
        chosen = tf.where(good, proposal, chosen)
    boost = tf.math.log(uniform(boosts, _dimensions(alpha), dtype)) / tf.where(small, alpha, 1.0)
    return tf.math.log(d) + chosen + tf.where(small, boost, 0.0)


def categorical(seed: Tensor, log_weights: Tensor, n: int) -> Tensor:
    """Indices drawn in proportion to the weights, n for each row: [..., K] -> int32 [n, ...].

    >>> categorical([0, 1], tf.math.log([0.0, 1.0, 0.0]), 4).numpy().tolist()
    [1, 1, 1, 1]
    """
    log_weights = tf.convert_to_tensor(log_weights)
    rows, choices = _dimensions(log_weights)[:-1], _dimensions(log_weights)[-1]
    below = tf.reshape(tf.cumsum(tf.nn.softmax(log_weights, -1), -1), [-1, choices])[:, :-1]  # [M, K - 1]
    u = uniform(seed, [n, *rows], log_weights.dtype)
    chosen = tf.searchsorted(below, tf.transpose(tf.reshape(u, [n, -1])), side="right")  # [M, n]
    return tf.reshape(tf.transpose(chosen), [n, *rows])


def threefry(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Threefry-2x32 with 20 rounds; all words uint32, of shapes that broadcast."""
    return tuple(elementwise(_rounds, *key, *counter))


def _rounds(first: Tensor, second: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    keys = (first, second, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(first, second), _word(_PARITY)))
    x, y = x + keys[0], y + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = tf.bitwise.bitwise_xor(x, _rotate(y, rotation))
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + _word(group + 1)
    return x, y


def _rotate(x: Tensor, by: int) -> Tensor:
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(x, _word(by)), tf.bitwise.right_shift(x, _word(32 - by)))


def _key(seed: Tensor) -> tuple[Tensor, Tensor]:
    words = tf.bitcast(tf.convert_to_tensor(seed, tf.int32), tf.uint32)
    return words[..., 0], words[..., 1]


def _word(x: int) -> Tensor:
    return tf.constant(x, tf.uint32)


def _high_bits(words: Tensor, count: int, dtype: tf.DType) -> Tensor:
    """The highest bits of each word as a whole number; by way of int32, from which the cast is fast."""
    return tf.cast(tf.bitcast(tf.bitwise.right_shift(words, _word(32 - count)), tf.int32), dtype)


def _static(shape: Sequence[Any]) -> bool:
    return not tf.is_tensor(shape) and all(isinstance(n, int) for n in shape)


def _dimensions(x: Tensor) -> list[Any]:
    """The dimensions, as numbers where they are known."""
    return [size if size is not None else tf.shape(x)[axis] for axis, size in enumerate(x.shape)]
