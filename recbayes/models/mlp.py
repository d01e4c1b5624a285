"""One stack of dense layers over all embeddings: the ablation of the two towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from recbayes.models import parts
from recbayes.models.ddn import Builder, linear_only
from recbayes.models.prior import with_prior


def mlp(
    *,
    embedding: int = 16,
    hidden: Sequence[int] = (32, 16),
    dropout: float = 0.0,
    wide: bool = False,
    wide_stddev: float = 0.02,
    embedding_stddev: float = 0.05,
    kernel_stddev: float = 0.3,
) -> Builder:
    """A builder of multilayer perceptrons: embeddings and numbers, joined, `hidden` relu layers, head.

    The other arguments are those of `ddn`.

    >>> from recbayes.features import Encoded
    >>> specs = {"age": Encoded("dense", 1, "context", "age", "numeric")}
    >>> mlp(hidden=(8,))(specs, 1, (0,)).output_shape
    (None, 1)
    """

    def build(specs: Mapping[str, Any], size: int, location: Sequence[int]) -> keras.Model:
        tensors = parts.inputs(specs)
        bent = {n: s for n, s in specs.items() if not linear_only(s)}
        seen = [parts.embed(n, s, tensors[n], embedding, stddev=embedding_stddev) for n, s in bent.items()]
        features = [parts.dense_layers(parts.join(seen), hidden, dropout=dropout, name="hidden")] if seen else []
        features += [tensors[n] for n, s in specs.items() if s.kind == "dense"]
        model = parts.head(features, tensors, size, location, parts.wide(specs, tensors) if wide else None)
        return with_prior(model, wide=wide_stddev, embedding=embedding_stddev, kernel=kernel_stddev)

    return build
