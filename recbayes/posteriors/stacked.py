"""Many settings of the weights at once: each weight with a leading axis of draws or members, the network run once for a block of them.

One pass with batched products in place of a pass a draw: less to trace, larger operations that use all cores and a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from recbayes.posteriors import base
from recbayes.types import Tensor

BLOCK = 8
"""Draws run together: what a pass holds in memory grows with it (a row of 50 tokens in 16 dimensions: 26 kB)."""


def passes(network: base.Network, weights: Sequence[Tensor], inputs: Mapping[str, Tensor], *, apart: bool = False) -> Tensor:
    """The network's outputs under each setting of the weights, [S, N, P].

    Args:
      network: what the weights are of.
      weights: each [S, ...], S known.
      inputs: encoded features [N, ...], the same for all settings; with `apart` [S, N, ...], each setting's own.
      apart: see inputs.
    """
    if tf.executing_eagerly():  # where a vectorised pass would be traced anew at every call
        each = [{n: x[s] for n, x in inputs.items()} if apart else inputs for s in range(weights[0].shape[0])]
        return tf.stack([network.call([w[s] for w in weights], own) for s, own in enumerate(each)])
    done = []
    for start in range(0, weights[0].shape[0], BLOCK):
        some = tuple(w[start : start + BLOCK] for w in weights)
        if apart:
            own = {name: value[start : start + BLOCK] for name, value in inputs.items()}
            done.append(tf.vectorized_map(lambda both: network.call(*both), (some, own)))
        else:
            done.append(tf.vectorized_map(lambda one: network.call(one, inputs), some))
    return tf.concat(done, axis=0) if len(done) > 1 else done[0]
