"""What a policy sees of linear regressions: each candidate's mean reward, how sure it is, and draws of it.

With the noise's variance learnt, x . w is Student's t with 2 a degrees of freedom about its mean; draws are exact, by Bailey's polar method
(two uniforms a draw). With the variance known it is normal.

Source: Bailey 1994, Polar generation of random variates with the t-distribution.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from recbayes import random
from recbayes.replay import numbers
from recbayes.types import Tensor


class Apart(NamedTuple):
    """A regression an arm: candidates are independent given the data.

    mean, scale: [B, A]; freedom: degrees of freedom, [B, A], above 2, or None for normals.
    """

    mean: Tensor
    scale: Tensor
    freedom: Tensor | None

    @property
    def dtype(self) -> tf.DType:
        """Of the numbers."""
        return self.mean.dtype

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the mean reward, [B, A]."""
        return self.scale * widened(self.freedom)

    @property
    def contrast_stddev(self) -> Tensor:
        """The same: arms share nothing."""
        return self.stddev

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws, [n, B, A]."""
        u, v = (tf.cast(x, self.dtype) for x in numbers.uniforms(seed, [n, *self.mean.shape]))
        if self.freedom is None:
            return self.mean + self.scale * tf.math.ndtri(u)
        radius = tf.sqrt(self.freedom * tf.math.expm1(-2.0 / self.freedom * tf.math.log(u)))
        return self.mean + self.scale * radius * tf.cos(2.0 * math.pi * v)


class Together(NamedTuple):
    """One regression for all arms: a draw of its weights moves all candidates.

    mean: [B, A]; spread: scale x T x of each candidate, whose inner products are the candidates' covariances, [B, A, D]; freedom: [B], or
    None for normals; candidates: bool [B, A].
    """

    mean: Tensor
    spread: Tensor
    freedom: Tensor | None
    candidates: Tensor

    @property
    def dtype(self) -> tf.DType:
        """Of the numbers."""
        return self.mean.dtype

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the mean reward, [B, A]."""
        return tf.norm(self.spread, axis=-1) * self._widened()

    @property
    def contrast_stddev(self) -> Tensor:
        """Of the difference to the candidates' average: what they share cannot tell them apart. [B, A]."""
        shown = tf.cast(self.candidates, self.dtype)[..., None]
        middle = tf.reduce_sum(self.spread * shown, -2, keepdims=True) / tf.maximum(tf.reduce_sum(shown, -2, keepdims=True), 1.0)
        return tf.norm(self.spread - middle, axis=-1) * self._widened()

    def sample(self, n: int, seed: Tensor) -> Tensor:
        """Joint draws, [n, B, A]: of the weights, one draw a decision."""
        normals, gammas = tf.unstack(random.split(seed, 2))
        decisions, _, width = self.spread.shape
        z = random.normal(normals, [n, decisions, width], self.dtype)
        if self.freedom is not None:
            half = tf.broadcast_to(0.5 * self.freedom, [n, decisions])
            z *= tf.sqrt(half / random.gamma(gammas, half))[..., None]
        return self.mean + tf.einsum("bad,nbd->nba", self.spread, z)

    def _widened(self) -> Tensor:
        return widened(None if self.freedom is None else self.freedom[:, None])


def widened(freedom: Tensor | None) -> Tensor:
    """Standard deviation of Student's t over its scale; 1 for normals."""
    return 1.0 if freedom is None else tf.sqrt(freedom / (freedom - 2.0))
