"""What a policy could show in each row, from one pass over the whole log: batches say nothing of what came before or comes after them.

A row's candidates are its own list, else the items of its group, else all items of the log. Held are a row of each item and, in a log with
groups, each pair of group and item once; a row without a group is a group of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.evaluation.catalog import Catalog
from recbayes.evaluation.target import contexts
from recbayes.log.columns import listed
from recbayes.log.counts import PENDING_ROWS, equal_rows
from recbayes.log.stream import Stream
from recbayes.types import Array, UserError


class Offered(NamedTuple):
    """What could be shown, in a whole log.

    catalog: of all items. groups: names of the log's groups, [G]; None where it has none. places: in the catalog, sorted by group; those of
    group g are from starts[g] to starts[g + 1].
    """

    catalog: Catalog
    groups: Any
    starts: Array
    places: Array

    @classmethod
    def of(cls, stream: Stream, names: Sequence[str]) -> Offered:
        """Of a whole log; `names` are the items' features.

        Raises: UserError for candidates that no row shows, where their features can't be told.
        """
        columns = stream.columns
        catalog: Catalog | None = None
        listed_items: list[Any] = []
        pairs: list[Any] = []
        for _, log in stream:
            catalog = Catalog.of(log, names) if catalog is None else catalog.grown(log, names)
            if columns.candidates is not None:
                lists = log.column(columns.candidates).combine_chunks()
                listed_items = [pa.concat_arrays([*listed_items, pc.list_flatten(lists).unique()]).unique()]
            elif columns.group is not None:
                pairs = _distinct([*pairs, _pairs(log, catalog)])
        assert catalog is not None  # a log has rows
        for items in listed_items:
            catalog = _with_candidates(catalog, items, stream, names)
        return cls(catalog, *_by_group(pairs))

    def sets(self, log: Any, code: Array) -> tuple[Array, Array]:
        """Number of each row's set of candidates, [n], and the sets, [sets, A], as places in the catalog, -1 where there is nothing.

        Args:
          log: rows, n of them.
          code: the place of what each row shows, [n].
        """
        if log.columns.candidates is not None:
            column = log.column(log.columns.candidates).combine_chunks()
            numbers, first = contexts(equal_rows(log.table, [log.columns.candidates])[0])
            lists = [self.catalog.places(column[int(row)].values) for row in first]
        elif log.columns.group is not None:
            found = pc.index_in(log.column(log.columns.group).combine_chunks(), value_set=self.groups).fill_null(-1).to_numpy()
            found = np.where(_alone(log), -1 - np.arange(len(log)), found)
            numbers, first = contexts(found)
            lists = [
                self.places[self.starts[found[row]] : self.starts[found[row] + 1]] if found[row] >= 0 else code[row : row + 1]
                for row in first
            ]
        else:
            numbers, lists = np.zeros(len(log), np.int64), [np.arange(len(self.catalog.items))]
        sets = np.full((len(lists), max(map(len, lists))), -1)
        for row, places in zip(sets, lists):
            row[: len(places)] = places
        return np.asarray(numbers, np.int64), sets


def _alone(log: Any) -> Array:
    """Rows without a group, bool [n]."""
    return np.asarray(pc.is_null(log.column(log.columns.group).combine_chunks(), nan_is_null=True).to_numpy(zero_copy_only=False))


def _pairs(log: Any, catalog: Catalog) -> Any:
    """Group and place of each row that has a group."""
    there = pa.array(~_alone(log))
    places = pa.array(catalog.rows(np.asarray(log.item), "the export").astype(np.int64))
    return pa.table({"group": log.column(log.columns.group).combine_chunks().filter(there), "place": places.filter(there)})


def _distinct(parts: list[Any]) -> list[Any]:
    """The same pairs; once they are many, each of them once."""
    if len(parts) < 2 or sum(part.num_rows for part in parts[1:]) < max(PENDING_ROWS, parts[0].num_rows):
        return parts
    return [pa.concat_tables(parts).group_by(["group", "place"]).aggregate([])]


def _by_group(parts: list[Any]) -> tuple[Any, Array, Array]:
    """Names of groups, where each one's places start, and the places in order."""
    if not parts:
        return None, np.zeros(1, np.int64), np.zeros(0, np.int64)
    table = pa.concat_tables(parts)
    encoded = table.column("group").combine_chunks().dictionary_encode()
    number, place = encoded.indices.to_numpy().astype(np.int64), table.column("place").to_numpy()
    size = int(place.max(initial=0)) + 1
    keys = np.unique(number * size + place)
    return encoded.dictionary, np.searchsorted(keys, np.arange(len(encoded.dictionary) + 1) * size), keys % size


def _with_candidates(catalog: Catalog, items: Any, stream: Stream, names: Sequence[str]) -> Catalog:
    """The catalog with the candidates that no row shows: they take their share of the policy's choices."""
    lost = items.filter(pa.array(catalog.places(items) < 0))
    if not len(lost):
        return catalog
    if lost.null_count == 0 and set(names) <= {stream.columns.item} and lost.type == catalog.kind:
        return catalog.joined(lost)
    name = str(stream.columns.candidates)
    rows = _holding(stream, name, lost)
    raise UserError(
        f"evaluate: the export needs the features of {len(lost):,} candidates that the log never shows ({listed(lost.to_pylist(), 5)}): "
        f"{name} holds them in {len(rows):,} of {stream.rows:,} rows (first: {listed((f'{r:,}' for r in rows), 5)}). "
        "Without them other probabilities would be judged than those that are served. Judge a log that shows them, or drop those rows."
    )


def _holding(stream: Stream, name: str, items: Any) -> list[int]:
    """Rows whose candidates hold one of these items."""
    wanted, rows = set(items.to_pylist()), []
    for first, log in stream:
        lists = log.column(name).to_pylist()
        rows += [first + row for row, values in enumerate(lists) if not wanted.isdisjoint(values or ())]
    return rows
