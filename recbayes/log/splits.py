"""Which rows to judge by: units that are never cut, chosen by time, by name, at random, or among connected components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import scipy.sparse
import scipy.sparse.csgraph

from recbayes.log.columns import listed
from recbayes.log.counts import equal_rows
from recbayes.types import Array, UserError

if TYPE_CHECKING:
    from recbayes.log.log import Log

WAYS = ("time", "group", "connected", "random")


def split_rows(log: Log, by: str, test_fraction: float, follow: Sequence[str], seed: int) -> Array:
    """Bool mask [N] of the test rows; see `Log.split`."""
    if by not in WAYS:
        raise UserError(f"split: by is {by!r}, must be one of {', '.join(WAYS)}.")
    if not 0 < test_fraction < 1:
        raise UserError(f"split: test_fraction is {test_fraction}, must be between 0 and 1 (a share of the groups).")
    if by == "connected" and not follow:
        raise UserError("split: by connected needs `follow`: the columns whose shared values (a title, an image) hold groups together.")
    if by == "time" and log.time is None:
        raise UserError("split: by time needs a time column. Name it, or split by group.")
    units, number = unit_of_rows(log, follow)
    if number < 2:
        what = f"all groups share values of {listed(follow)}" if follow else "there is one group only"
        raise UserError(f"split: {log.source}: {what}, nothing is left to judge by. Give a separate test log, or other columns.")
    if by == "group":
        is_test = _by_name(log, units, number, test_fraction, seed)
    else:
        order = _newest_first(log, units, number) if by == "time" else np.random.default_rng(seed).permutation(number)
        is_test = _first_units(order, _groups_of_units(log, units, number), test_fraction)
    return np.asarray(is_test[units])


def unit_of_rows(log: Log, follow: Sequence[str] = ()) -> tuple[Array, int]:
    """Unit of each row, int64 [N], and how many there are: groups and clusters, joined where they share a value of a column to follow.

    The connected components of the graph of rows and values (a null links nothing).
    """
    links = [log.segments]
    if log.columns.cluster is not None:
        links.append(log.clusters)
    if len(links) == 1 and not follow:
        return log.segments[0].astype(np.int64), log.segments[1]
    first, total = [np.arange(len(log))] * len(links), len(log)
    second = []
    for codes, size in links:
        second.append(codes + total)
        total += size
    for name in follow:
        codes, size = equal_rows(log.table.append_column("value", log.column(name)), ["value"])
        known = pc.is_valid(log.column(name)).to_numpy()
        first.append(np.flatnonzero(known))
        second.append(codes[known] + total)
        total += size
    rows, values = np.concatenate(first), np.concatenate(second)
    graph = scipy.sparse.coo_array((np.ones(len(rows), np.int8), (rows, values)), shape=(total, total))
    labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][: len(log)]
    codes = pd.factorize(labels)[0]
    return codes.astype(np.int64), int(codes.max(initial=-1)) + 1


def _newest_first(log: Log, units: Array, number: int) -> Array:
    """Units by the time of their first row, the newest first, [U]."""
    first = np.full(number, np.inf)
    np.minimum.at(first, units, np.asarray(log.time))
    return np.argsort(-first, kind="stable")


def _by_name(log: Log, units: Array, number: int, test_fraction: float, seed: int) -> Array:
    """Bool mask [U]: units whose name has a hash below the wanted share of all hashes, whatever other units there are."""
    rows = np.char.add("row ", np.arange(len(log)).astype(str))
    group = None if log.group is None else pd.Series(log.group)
    names = rows if group is None else np.where(group.isna(), rows, group.astype(str))  # a row without a group stands alone
    key = f"{seed:016d}"
    smallest = np.full(number, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, units, pd.util.hash_array(np.asarray(names).astype(object), hash_key=key))
    again = pd.util.hash_array(smallest.astype(str).astype(object), hash_key=key)  # the smallest of many is small: hash it anew
    is_test = again < np.uint64(test_fraction * 2.0**64)
    is_test[np.argmin(again)] = True
    is_test[np.argmax(again)] = False
    return is_test


def _groups_of_units(log: Log, units: Array, number: int) -> Array:
    """How many groups each unit holds, [U]."""
    segments, groups = log.segments
    unit_of_group = np.zeros(groups, np.int64)
    unit_of_group[segments] = units
    return np.bincount(unit_of_group, minlength=number)


def _first_units(order: Array, sizes: Array, test_fraction: float) -> Array:
    """Bool mask [U]: units of the given order until they hold the wanted share of the groups; too large ones are passed over."""
    wanted = max(1, round(test_fraction * sizes.sum()))
    fits = order[sizes[order] <= wanted]
    chosen = fits[np.cumsum(sizes[fits]) <= wanted]
    test = np.zeros(len(sizes), bool)
    test[chosen if len(chosen) else np.argmin(sizes)] = True
    return test
