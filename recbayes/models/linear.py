"""No hidden layer: linear weights of ids on the location, numbers on every parameter. The yardstick a network has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from recbayes.models import parts
from recbayes.models.ddn import Builder
from recbayes.models.prior import with_prior


def linear(*, wide_stddev: float = 0.02, kernel_stddev: float = 0.3) -> Builder:
    """A builder of linear models; arguments as in `ddn`.

    >>> from recbayes.features import Encoded
    >>> specs = {"image": Encoded("ids", 9, "item", "image", "categorical")}
    >>> len(linear()(specs, 1, (0,)).trainable_variables)
    3
    """

    def build(specs: Mapping[str, Any], size: int, location: Sequence[int]) -> keras.Model:
        tensors = parts.inputs(specs)
        numbers = [tensors[n] for n, s in specs.items() if s.kind == "dense"]
        model = parts.head(numbers, tensors, size, location, parts.wide(specs, tensors))
        return with_prior(model, wide=wide_stddev, embedding=wide_stddev, kernel=kernel_stddev)

    return build
