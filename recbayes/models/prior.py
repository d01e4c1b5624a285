"""The Gaussian prior of every weight: its standard deviation, by the weight's role.

MAP, last layer and the other posteriors read `prior_stddevs(model)`. A model of the user's own that says nothing gets the same
rule with the defaults below; biases are flat (infinite).
"""

from __future__ import annotations

import math

import keras

WIDE, EMBEDDING, KERNEL = 0.02, 0.05, 0.3


def with_prior(model: keras.Model, *, wide: float, embedding: float, kernel: float) -> keras.Model:
    """The model, its layers marked with their prior standard deviation."""
    for layer in model.layers:
        if layer.name.startswith("wide_"):
            layer.prior_stddev = wide
        elif isinstance(layer, keras.layers.Embedding):
            layer.prior_stddev = embedding
        else:
            layer.prior_stddev = kernel
    return model


def prior_stddevs(model: keras.Model) -> tuple[float, ...]:
    """Prior standard deviation of each trainable variable of `model`, in the order of `model.trainable_variables`.

    Vectors (biases, scales of a normalisation) are flat: infinite.
    """
    found: dict[int, float] = {}
    for layer in model._flatten_layers(include_self=False):
        default = EMBEDDING if isinstance(layer, keras.layers.Embedding) else KERNEL
        stddev = getattr(layer, "prior_stddev", WIDE if layer.name.startswith("wide_") else default)
        for variable in layer.trainable_variables:
            found.setdefault(id(variable), stddev if len(variable.shape) > 1 else math.inf)
    return tuple(found.get(id(v), math.inf) for v in model.trainable_variables)
