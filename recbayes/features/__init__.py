"""Raw columns into tensors: declarations of features, and the encoder fitted to them on the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recbayes.features.feature import Feature, categorical, multi_categorical, numeric, text, time, vector

if TYPE_CHECKING:
    from recbayes.features.coding import Encoded
    from recbayes.features.encoder import Encoder

__all__ = ["Encoded", "Encoder", "Feature", "categorical", "multi_categorical", "numeric", "text", "time", "vector"]


def __getattr__(name: str) -> Any:
    """The encoder at its first use: declaring features (as a config does) needs no TensorFlow."""
    if name == "Encoder":
        from recbayes.features.encoder import Encoder

        return Encoder
    if name == "Encoded":
        from recbayes.features.coding import Encoded

        return Encoded
    raise AttributeError(f"recbayes.features has no {name!r}. It has: {', '.join(__all__)}")
