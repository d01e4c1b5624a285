"""The action drawn from a policy's probabilities, so that its propensity is exact."""

from __future__ import annotations

import tensorflow as tf

from recbayes import random
from recbayes.types import Decision, Tensor


def choose(probabilities: Tensor, seed: Tensor) -> Decision:
    """Draw one action a decision, by inversion.

    Args:
      probabilities: of the candidates, [..., B, A], sum 1.
      seed: int32 [2].

    Returns: action int32 [..., B], its propensity [..., B] as it stands in the probabilities (never 0), and the probabilities.

    >>> decision = choose(tf.constant([[0.0, 1.0], [0.5, 0.5]]), seed=[0, 1])
    >>> int(decision.action[0]), float(decision.propensity[1])
    (1, 0.5)
    """
    probabilities = tf.convert_to_tensor(probabilities)
    shape = [size if size is not None else tf.shape(probabilities)[axis] for axis, size in enumerate(probabilities.shape[:-1])]
    return choose_at(probabilities, random.uniform(seed, shape, probabilities.dtype))


def choose_at(probabilities: Tensor, numbers: Tensor) -> Decision:
    """`choose`, its uniform numbers [..., B] given."""
    below = tf.cumsum(probabilities, -1)
    action = tf.reduce_sum(tf.cast(below <= numbers[..., None] * below[..., -1:], tf.int32), -1)
    return Decision(action, tf.gather(probabilities, action, axis=-1, batch_dims=action.shape.rank), probabilities)
