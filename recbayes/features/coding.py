"""What every coding of a feature offers, and how the network is told what it gets."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from recbayes.features.feature import Side
from recbayes.types import Tensor

OOV_ID = 0
"""Out of vocabulary among "ids"."""
PADDING, OOV_TOKEN, FIRST_TOKEN = 0, 1, 2
"""No value, out of vocabulary, and the first of the vocabulary, among the ids of a "bag"."""


class Encoded(NamedTuple):
    """One encoded feature.

    kind: "ids" int32 [N], 0 = unseen; "bag" int32 [N, length], 0 = padding, 1 = unseen; "dense" float32 [N, size].
    size: number of ids (these two included), or of numbers. side: "item" or "context". feature: its name. of: the feature's kind
    ("text", "numeric", ...). length: ids a row of a bag, else 1.
    """

    kind: str
    size: int
    side: Side
    feature: str
    of: str
    length: int = 1


class Coding(Protocol):
    """A fitted feature: column -> raw array -> encoded tensor."""

    @property
    def signature(self) -> Any:
        """The raw input as a tf.TensorSpec, first axis N open."""

    @property
    def encoded(self) -> Encoded:
        """What calling it gives."""

    def raw(self, column: pa.Array) -> np.ndarray:
        """A log's column as an array of the signature."""

    def __call__(self, raw: Tensor) -> Tensor:
        """The encoded tensor, by TensorFlow operations only."""

    def codes(self, column: pa.Array) -> np.ndarray:
        """What calling it on `raw` gives, by the quickest way from Arrow: for rows by the million."""

    def example(self, rows: int) -> np.ndarray:
        """Made-up raw values that training has seen, and an unseen one last: what an export's known answers are asked about."""

    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON holds it: the keyword arguments that build it again."""
