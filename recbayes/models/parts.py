"""What the networks share: inputs, embeddings of ids and bags of ids, the wide linear part, the head.

The wide part gives every id a linear weight of its own on the click rate's location (Cheng et al. 2016, arXiv:1606.07792); with
a strong prior it is what orders unseen headlines of one page best. The head sees the fused features and the linear inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from recbayes.features.coding import FIRST_TOKEN
from recbayes.types import Tensor

_BY_TOKEN = ContextVar("by_token", default=False)


@contextmanager
def by_token() -> Iterator[None]:
    """Within it bags are summed token by token, padding never touched.

    That takes a third of the time where rows are scored. Gradients, vectorised maps and XLA do without it: they want one length for all.
    """
    before = _BY_TOKEN.set(True)
    try:
        yield
    finally:
        _BY_TOKEN.reset(before)


def known_tokens(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The known tokens of bags [N, L], row by row, and the row of each; [M] each. Padding and unknown tokens add nothing."""
    places = tf.where(ids >= FIRST_TOKEN)  # [M, 2]
    return tf.gather_nd(ids, places), places[:, 0]


@keras.saving.register_keras_serializable(package="recbayes")
class BagEmbedding(keras.layers.Embedding):
    """Sum of the embeddings of a bag's known tokens, over the square root of their number (or not).

    Shapes: int [N, L] -> [N, output_dim]. With `root=True` the output's size does not depend on the bag's length when tokens are
    independent, so one prior standard deviation fits short and long texts.
    """

    def __init__(self, input_dim: int, output_dim: int, *, root: bool = True, **kwargs: Any) -> None:
        super().__init__(input_dim, output_dim, **kwargs)
        self.root = root

    def call(self, inputs: Tensor) -> Tensor:
        """Embeds a bag, [N, L] -> [N, output_dim]."""
        if _BY_TOKEN.get():
            summed = tf.sparse.segment_sqrt_n if self.root else tf.sparse.segment_sum
            return summed(tf.convert_to_tensor(self.embeddings), *known_tokens(inputs), num_segments=tf.shape(inputs)[0])
        known = keras.ops.cast(inputs >= FIRST_TOKEN, self.compute_dtype)  # [N, L]
        total = keras.ops.einsum("nl,nld->nd", known, super().call(inputs))
        if not self.root:
            return total
        return total / keras.ops.sqrt(keras.ops.maximum(keras.ops.sum(known, axis=1, keepdims=True), 1.0))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """[N, output_dim]."""
        return (input_shape[0], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        """What builds the layer again."""
        return {**super().get_config(), "root": self.root}


@keras.saving.register_keras_serializable(package="recbayes")
class OnLocation(keras.layers.Layer):
    """Adds one number a row to the outputs that are locations of the click rate: ([N, P], [N, 1]) -> [N, P]."""

    def __init__(self, location: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.location = tuple(location)

    def call(self, outputs: Tensor, shift: Tensor) -> Tensor:
        """Adds, [N, P]."""
        chosen = [1.0 if i in self.location else 0.0 for i in range(outputs.shape[-1])]
        return outputs + shift * keras.ops.convert_to_tensor([chosen], dtype=outputs.dtype)

    def compute_output_shape(self, outputs_shape: Sequence[int | None], shift_shape: Sequence[int | None]) -> Sequence[int | None]:
        """[N, P]."""
        return outputs_shape

    def get_config(self) -> dict[str, Any]:
        """What builds the layer again."""
        return {**super().get_config(), "location": self.location}


def inputs(specs: Mapping[str, Any]) -> dict[str, Any]:
    """A Keras input for each encoded feature."""
    made = {}
    for name, spec in specs.items():
        shape = {"ids": (), "bag": (spec.length,), "dense": (spec.size,)}[spec.kind]
        made[name] = keras.Input(shape, name=name, dtype="float32" if spec.kind == "dense" else "int32")
    return made


def embed(name: str, spec: Any, tensor: Any, width: int, *, stddev: float) -> Any:
    """The embedding of an encoded feature, [N, width]; numbers pass through."""
    if spec.kind == "dense":
        return tensor
    start = keras.initializers.RandomNormal(stddev=min(stddev, 0.05))
    kind = BagEmbedding if spec.kind == "bag" else keras.layers.Embedding
    return kind(spec.size, width, embeddings_initializer=start, name=f"embedding_{name}")(tensor)


def wide(specs: Mapping[str, Any], tensors: Mapping[str, Any]) -> Any | None:
    """One linear weight an id, summed over the row's ids: [N, 1], or None where no feature has ids."""
    parts = []
    for name, spec in specs.items():
        if spec.kind == "bag":
            parts.append(BagEmbedding(spec.size, 1, root=False, embeddings_initializer="zeros", name=f"wide_{name}")(tensors[name]))
        elif spec.kind == "ids":
            parts.append(keras.layers.Embedding(spec.size, 1, embeddings_initializer="zeros", name=f"wide_{name}")(tensors[name]))
    return join(parts, keras.layers.add) if parts else None


def join(parts: Sequence[Any], how: Any = keras.layers.concatenate) -> Any:
    """The parts as one tensor; a single part as it is."""
    return how(list(parts)) if len(parts) > 1 else parts[0]


def head(features: Sequence[Any], tensors: Mapping[str, Any], size: int, location: Sequence[int], shift: Any | None) -> keras.Model:
    """The model that ends here: a dense layer named `head` on all features, the wide shift on its locations.

    The head's kernel starts at zero, so that with its bias at the feature-free fit the untrained network is that fit.
    """
    if not features:
        any_input = next(iter(tensors.values()))
        column = any_input[:, None] if len(any_input.shape) == 1 else any_input[:, :1]
        features = [keras.ops.cast(column, "float32") * 0.0]
    outputs = keras.layers.Dense(size, kernel_initializer="zeros", name="head")(join(features))
    if shift is not None:
        outputs = OnLocation(location, name="on_location")(outputs, shift)
    return keras.Model(dict(tensors), outputs)


def dense_layers(tensor: Any, widths: Sequence[int], *, dropout: float, name: str) -> Any:
    """Dense relu layers; dropout shares one mask over all rows of a pass, so candidates stay comparable."""
    for i, width in enumerate(widths):
        tensor = keras.layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"{name}_{i}")(tensor)
        if dropout:
            tensor = keras.layers.Dropout(dropout, noise_shape=(1, width), name=f"{name}_dropout_{i}")(tensor)
    return tensor
