"""From the rows of a log to arms: one row for each item of a group, and small sums over groups."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa

from recbayes.log import Log
from recbayes.types import Array


def one_row_each(log: Log) -> Log:
    """One row for each item of a group, its rows' clicks and impressions summed; the log itself where it names no item.

    Args:
      log: of counts.
    """
    if log.columns.item is None:
        return log
    groups = log.segments[0] if log.columns.group is not None else np.zeros(len(log), np.int32)
    codes = pd.MultiIndex.from_arrays([groups, item_codes(log)]).factorize()[0]
    if codes.max() + 1 == len(log):
        return log
    table = log.table.take(first_of_each(np.arange(len(log)), codes))
    for name, values in ((log.columns.clicks, log.clicks), (log.columns.impressions, log.impressions)):
        total = np.bincount(codes, values).astype(np.int64)
        table = table.set_column(table.schema.get_field_index(name), name, pa.chunked_array([total]))
    return dataclasses.replace(log, table=table)


def smallest_of_each(values: Array, segments: Array, groups: int) -> Array:
    """The smallest value of each group."""
    smallest = np.full(groups, np.iinfo(np.int64).max)
    np.minimum.at(smallest, segments, values)
    return smallest


def first_of_each(values: Array, codes: Array) -> Array:
    """The first value of each code 0 ... max."""
    return np.asarray(values)[np.unique(codes, return_index=True)[1]]


def item_codes(log: Log) -> Array:
    """Number of each arm's item; without an item column each arm is an item."""
    return (np.arange(len(log)) if log.item is None else pd.factorize(log.item, use_na_sentinel=False)[0]).astype(np.int32)
