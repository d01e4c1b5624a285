"""An item's own features, looked up by the item: what a model needs to judge an item that a row did not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from recbayes.evaluation.target import contexts
from recbayes.log.columns import listed
from recbayes.log.counts import equal_rows
from recbayes.types import Array, UserError


class Catalog(NamedTuple):
    """A row of each item, [items]: its features are those of the first row that shows it. kind: the item column's type."""

    items: pd.Index
    features: Any
    kind: Any

    @classmethod
    def of(cls, log: Any, names: Sequence[str]) -> Catalog:
        """Of all items that a log shows."""
        first = contexts(equal_rows(log.table, [log.columns.item])[0])[1]
        table = pa.table({name: log.column(name).take(pa.array(first)) for name in names}) if names else None
        return cls(pd.Index(np.asarray(log.item)[first]), table, log.column(log.columns.item).type)

    def grown(self, log: Any, names: Sequence[str]) -> Catalog:
        """With what more rows show first, at the end: places stay as they are."""
        other = Catalog.of(log, names)
        new = np.flatnonzero(self.items.get_indexer(other.items) < 0)
        if not len(new):
            return self
        features = None if self.features is None else pa.concat_tables([self.features, other.features.take(pa.array(new))])
        return self._replace(items=self.items.append(other.items[new]), features=features)

    def joined(self, items: Any) -> Catalog:
        """With items (an Arrow array of the column's type) whose only feature is what they are."""
        names = self.features.column_names if self.features is not None else []
        features = pa.concat_tables([self.features, pa.table({name: items for name in names})]) if names else None
        return self._replace(items=self.items.append(pd.Index(items.to_numpy(zero_copy_only=False))), features=features)

    def places(self, items: Any) -> Array:
        """Where the items of an Arrow array are, -1 for those that are not there, [m]."""
        return np.asarray(self.items.get_indexer(pd.Index(items.to_numpy(zero_copy_only=False))))

    def rows(self, items: Array, who: str) -> Array:
        """Where each item's features are.

        Raises: UserError for items that the log never shows.
        """
        found = self.items.get_indexer(pd.Index(np.asarray(items).ravel()))
        if (found < 0).any():
            lost = pd.unique(np.asarray(items).ravel()[found < 0])
            raise UserError(
                f"evaluate: {who} needs the features of {len(lost):,} items that the log never shows ({listed(lost, 5)}). "
                "Use rates, or leave those items out of the policy."
            )
        return found.reshape(np.shape(items))

    def columns(self, places: Array) -> dict[str, Any]:
        """The features of items at these places, [m]."""
        if self.features is None:
            return {}
        taken = self.features.take(pa.array(places))
        return {name: taken.column(name) for name in taken.column_names}
