"""Functions of tensors whose shapes broadcast, traced once a process: a program that calls one holds a node in place of its hundreds."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any

import tensorflow as tf

from recbayes.types import Tensor


def elementwise(function: Callable[..., Any], *tensors: Tensor, inline: bool = True) -> Any:
    """The function of the tensors, by its graph for any shapes.

    Args:
      function: of tensors, defined in a module, so that the graph is found again; its results have the shape that the tensors broadcast to.
      tensors: whose shapes broadcast.
      inline: whether a program that runs uncompiled takes the function apart.

    >>> elementwise(tf.add, tf.constant([1.0, 2.0]), tf.constant(1.0)).numpy().tolist()
    [2.0, 3.0]
    """
    results = _traced(function, tuple(x.dtype for x in tensors), inline)(*tensors)
    for result in tf.nest.flatten(results):
        result.set_shape(reduce(tf.broadcast_static_shape, [x.shape for x in tensors]))
    return results


@lru_cache
def _traced(function: Callable[..., Any], dtypes: tuple[tf.DType, ...], inline: bool) -> Callable[..., Any]:
    """A concrete function: calling one takes no lock, which threads that trace would wait for."""
    attributes = {} if inline else {"experimental_attributes": {"_noinline": True}}
    return tf.function(function, autograph=False, **attributes).get_concrete_function(*(tf.TensorSpec(None, dtype) for dtype in dtypes))
