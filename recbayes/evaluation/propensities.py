"""Where propensities come from: the log, or, if it has none, a fit to what it shows, marked as such wherever it enters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbayes.evaluation.target import Target
from recbayes.evaluation.verdict import Doubt
from recbayes.log.stream import Stream
from recbayes.types import Array, UserError


class Propensities(NamedTuple):
    """of: (rows of a log) -> propensity of what each shows, [n]. doubts: of all figures that use them. about: for evaluation.json."""

    of: Callable[[Any], Array]
    doubts: tuple[Doubt, ...]
    about: Mapping[str, Any]

    def doubts_of(self, target: Target) -> tuple[Doubt, ...]:
        """The doubts about a policy's figures: the log's own has weight 1 whatever they are."""
        return () if target.own else self.doubts


def propensities_of(stream: Stream, asked: str, given: Sequence[str]) -> Propensities:
    """The log's propensities."""
    if stream.columns.propensity is not None:
        return Propensities(lambda log: np.asarray(log.propensity, np.float64), (), {"propensities": "logged", "identified": []})
    raise UserError("evaluate: the log has no propensities")
