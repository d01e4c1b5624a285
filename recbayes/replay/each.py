"""A function of one replica over all of them: `tf.vectorized_map`, taught the one operation that our random numbers need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor  # no public way to register a conversion


def each(function: Callable[[Any], Any], replicas: Any) -> Any:
    """The function over the leading axis of all tensors in a structure.

    >>> each(lambda pair: pair[0] + pair[1], (tf.constant([1, 2]), tf.constant([10, 20]))).numpy().tolist()
    [11, 22]
    """
    return tf.vectorized_map(function, replicas, fallback_to_while_loop=False)


def _bitcast(given: Any) -> Any:
    return pfor.wrap(tf.bitcast(given.stacked_input(0), given.get_attr("type")), True)


if "Bitcast" not in pfor._pfor_converter_registry:
    pfor.RegisterPFor("Bitcast")(_bitcast)
