"""The network run with weights that differ from group to group: mean plus a shared deviation whose signs each group flips.

    W_g = M + D * (r_g s_g'),  r_g and s_g random signs

With D symmetric about 0 every W_g is a draw like M + D itself, but two groups' draws are uncorrelated: the gradient's noise falls with the
number of groups though one deviation is drawn. Signs are a group's, not a row's as in the paper: rows of a group are judged jointly, so
they must be seen by one network. Dense layers on rows, embeddings and bags of embeddings take part; any other layer, and a nested
model, gets M + D for all groups: the plain reparameterisation.

Source: Wen et al. 2018, Flipout, arXiv:1803.04386.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from recbayes.models.parts import BagEmbedding
from recbayes.posteriors import base
from recbayes.random import bits
from recbayes.types import Tensor

_PROBE = 3


class Noise(NamedTuple):
    """The shared deviation of each weight, the rows' groups int32 [N], their number, the seed of the signs, their share of a batch."""

    deviations: Sequence[Tensor]
    segments: Tensor
    groups: Tensor
    seed: Tensor
    share: base.Share | tuple[()] = ()


class Slot(NamedTuple):
    """A layer that takes part: where its weights are in the list, and its columns of the signs: inputs first, then outputs."""

    variables: tuple[int, ...]
    inputs: slice
    outputs: slice


def call(network: base.Network, mean: Sequence[Tensor], noise: Noise, inputs: Mapping[str, Tensor]) -> Tensor:
    """The model's outputs [N, P], each group under a draw of its own."""
    model, weights = network.model, [m + d for m, d in zip(mean, noise.deviations, strict=True)]
    slots, width = find_slots(model)
    if not slots:
        return network.call(weights, inputs)
    flips = base.of_groups(lambda groups: random_signs(noise.seed, groups, width), noise.groups, noise.share)
    signs = tf.gather(flips, noise.segments)  # [N, width]

    def operation(op: Any) -> Any:
        slot = slots.get(id(op))
        if slot is None:
            return op
        parts = tuple((mean[i], noise.deviations[i]) for i in slot.variables)
        return lambda x: flipped(op, parts, x, signs[:, slot.inputs], signs[:, slot.outputs])

    with keras.StatelessScope(state_mapping=list(zip(model.trainable_variables, weights, strict=True))):
        return through(model, inputs, operation)


def flipped(layer: Any, parts: Sequence[tuple[Tensor, Tensor]], x: Tensor, ins: Tensor, outs: Tensor) -> Tensor:
    """A layer's output under each row's own draw: that of the mean, plus the flipped output of the deviation."""
    if isinstance(layer, keras.layers.Dense):
        kernel, bias = parts[0], parts[1] if layer.use_bias else (0.0, 0.0)
        return layer.activation(x @ kernel[0] + bias[0] + outs * ((x * ins) @ kernel[1] + bias[1]))
    (mean, deviation) = (layer_with(layer, table, x) for table in parts[0])
    return mean + tf.reshape(outs, [-1, *[1] * (len(mean.shape) - 2), outs.shape[-1]]) * deviation


def layer_with(layer: Any, table: Tensor, ids: Tensor) -> Tensor:
    """An embedding's output with this table in place of its own."""
    with keras.StatelessScope(state_mapping=[(layer.trainable_variables[0], table)]):
        return layer(ids)


def through(model: Any, inputs: Mapping[str, Tensor], operation: Callable[[Any], Any]) -> Tensor:
    """The model run through its graph, `operation` saying what to call in place of each layer."""
    needed = {name: inputs[name] for name in model.input} if isinstance(model.input, dict) else inputs
    return model._run_through_graph(model._standardize_inputs(needed), operation_fn=operation)


def find_slots(model: Any) -> tuple[dict[int, Slot], int]:
    """The layers that take part, by id, and how many signs a group needs. Empty for a model that is no graph of layers."""
    found: dict[int, Slot] = {}
    width = 0
    position = {id(v): i for i, v in enumerate(model.trainable_variables)}
    for layer in row_layers(model):
        variables = tuple(position[id(v)] for v in layer.trainable_variables)
        kernel = model.trainable_variables[variables[0]]
        ins, outs = kernel.shape[0] if isinstance(layer, keras.layers.Dense) else 0, kernel.shape[1]
        found[id(layer)] = Slot(variables, slice(width, width + ins), slice(width + ins, width + ins + outs))
        width += ins + outs
    return found, width


def row_layers(model: Any) -> list[Any]:
    """Layers whose every call maps rows to rows, found by running three rows of zeros through the graph."""
    if not hasattr(model, "_run_through_graph"):
        return []
    rows = dict[int, bool]()

    def operation(op: Any) -> Any:
        def probe(*given: Any, **named: Any) -> Any:
            outputs = op(*given, **named)
            if suits(op):
                shape = given[0].shape
                rows[id(op)] = rows.get(id(op), True) and shape[0] == _PROBE and (len(shape) == 2 or not isinstance(op, keras.layers.Dense))
            return outputs

        return probe

    with tf.init_scope():
        through(model, zeros(model), operation)
    return [layer for layer in model.layers if rows.get(id(layer), False)]


def suits(op: Any) -> bool:
    """Whether a layer is one of those whose output is known to be linear in its weights; subclasses may not be."""
    if type(op) is keras.layers.Dense:
        return bool(op.trainable_variables) and len(op.trainable_variables) == 1 + op.use_bias
    return type(op) in (keras.layers.Embedding, BagEmbedding) and not op.mask_zero and len(op.trainable_variables) == 1


def zeros(model: Any) -> Any:
    """Three rows of zeros as the model takes them; open lengths are 1."""
    return tf.nest.map_structure(lambda x: tf.zeros([_PROBE, *[n or 1 for n in x.shape[1:]]], x.dtype), model.input)


def random_signs(seed: Tensor, groups: Tensor, width: int) -> Tensor:
    """Signs +1 and -1, float32 [G, width]: 32 of each random word."""
    words = bits(seed, [groups, -(-width // 32)])
    flags = tf.bitwise.bitwise_and(tf.bitwise.right_shift(words[:, :, None], tf.cast(tf.range(32), tf.uint32)), tf.constant(1, tf.uint32))
    return 1.0 - 2.0 * tf.reshape(tf.cast(tf.bitcast(flags, tf.int32), tf.float32), [groups, -(-width // 32) * 32])[:, :width]
