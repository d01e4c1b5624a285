"""The deep density network: two towers, their fusion, and a head that outputs a density's parameters.

Item tower: embeddings of categorical features, numbers, and a title tower over each text. Context tower: the same for the context
side. Their outputs are fused (concatenated, or their outer product) into one dense layer and the head. Beside them a wide part
gives every id a linear weight on the click rate's location. Time enters the head alone: linear beyond the training range.

Source: Yoel Zeldes et al. 2017, Deep density networks and uncertainty in recommender systems, arXiv:1711.02487.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras

from recbayes.models import parts
from recbayes.models.prior import with_prior

Builder = Callable[[Mapping[str, Any], int, Sequence[int]], keras.Model]


def ddn(
    *,
    embedding: int = 16,
    title: int = 16,
    tower: int = 16,
    fusion: Literal["concatenate", "outer"] = "concatenate",
    dropout: float = 0.0,
    wide: bool = True,
    wide_stddev: float = 0.02,
    embedding_stddev: float = 0.05,
    kernel_stddev: float = 0.3,
) -> Builder:
    """A builder of deep density networks.

    Args:
      embedding: width of every embedding.
      title: width of a title tower's two dense layers.
      tower: width of the item and context towers' two dense layers, and of the fusion's one.
      fusion: how the towers meet.
      dropout: rate after each dense layer; `mc_dropout` needs one above 0.
      wide: whether ids get linear weights of their own.
      wide_stddev: prior standard deviation of a wide weight, on the logit of the click rate.
      embedding_stddev: prior standard deviation of an embedding's entry.
      kernel_stddev: prior standard deviation of a dense kernel's entry.

    Returns: `(specs, size, location) -> keras.Model`; the model takes a dict of encoded inputs and returns [N, size].

    >>> from recbayes.features import Encoded
    >>> specs = {"headline": Encoded("bag", 50, "item", "headline", "text", length=20)}
    >>> ddn(embedding=4)(specs, 6, (2, 3)).output_shape
    (None, 6)
    """

    def build(specs: Mapping[str, Any], size: int, location: Sequence[int]) -> keras.Model:
        tensors = parts.inputs(specs)

        def side_tower(side: str) -> Any | None:
            seen = []
            for name, spec in specs.items():
                if spec.side != side or linear_only(spec):
                    continue
                part = parts.embed(name, spec, tensors[name], embedding, stddev=embedding_stddev)
                seen.append(parts.dense_layers(part, (title, title), dropout=dropout, name=f"title_{name}") if spec.kind == "bag" else part)
            return parts.dense_layers(parts.join(seen), (tower, tower), dropout=dropout, name=side) if seen else None

        towers = [t for t in (side_tower("item"), side_tower("context")) if t is not None]
        features = [parts.dense_layers(fuse(towers, fusion), (tower,), dropout=dropout, name="fusion")] if towers else []
        features += [tensors[name] for name, spec in specs.items() if spec.kind == "dense"]
        shift = parts.wide(specs, tensors) if wide else None
        model = parts.head(features, tensors, size, location, shift)
        return with_prior(model, wide=wide_stddev, embedding=embedding_stddev, kernel=kernel_stddev)

    return build


def linear_only(spec: Any) -> bool:
    """Whether an input stays out of the towers: time, which must not bend."""
    return bool(spec.of == "time")


def fuse(towers: Sequence[Any], how: str) -> Any:
    """The towers' outputs as one tensor, [N, sum of widths] or [N, product of widths]."""
    if how == "concatenate" or len(towers) == 1:
        return parts.join(towers)
    item, context = towers
    product = keras.ops.expand_dims(item, 2) * keras.ops.expand_dims(context, 1)  # [N, I, C]
    return keras.layers.Reshape((item.shape[-1] * context.shape[-1],))(product)
