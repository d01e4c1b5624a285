"""The queue world: a randomised experiment replayed, each arm's real outcomes drawn without replacement.

An arm that was shown r times at random and clicked c times is a queue of r outcomes in random order; showing it k times takes the next
k, a hypergeometric number of clicks. A group's horizon is a share of its smallest arm's impressions, so that no queue runs dry
whatever a policy does, and the expected clicks of every policy are those it would have had, given independent clicks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from recbayes.log import Log
from recbayes.log.counts import equal_rows
from recbayes.replay.world import World
from recbayes.types import Array, UserError


def queue(log: Log, *, steps: int = 100, delay: int = 0, horizon: float = 1.0, distinct: Sequence[str] | None = None) -> World:
    """A world from randomised experiments with counts or events.

    An arm is an item of a group, or a row where the log has no items; its rows are summed, and its features are those of its first row.
    Groups with one arm, groups whose arms all agree in the `distinct` columns (A/A tests) and groups with an arm that was hardly shown are
    left out, and counted.

    Args:
      log: rows to replay, with a group column.
      steps: updates; each group's horizon is cut into so many batches.
      delay: steps from a batch to its feedback; 0: known before the next batch.
      horizon: share of the smallest arm's impressions that are played, in (0, 1].
      distinct: columns in which arms must differ; by default all features of the log, without any the item.

    Returns: the world.
    Raises: UserError if a setting is out of range or no group is left, with the reasons.

    >>> from recbayes.log import read_log
    >>> roles = {"item": "source_row", "group": "clickability_test_id", "time": "test_created_at"}
    >>> log = read_log("example:upworthy", clicks="clicks", impressions="impressions", features=["headline", "eyecatcher_id"], **roles)
    >>> world = queue(log.split(by="time", test_fraction=0.2)[1], steps=100)
    >>> world.groups, len(world.clicks), world.left_out["all arms alike"]
    (638, 3268, 142)
    """
    _check(log, steps, delay, horizon)
    arms = _arms(log.counts())
    segments, groups = arms.segments
    columns = list(distinct) if distinct is not None else list(arms.columns.features) or [name for name in (arms.columns.item,) if name]
    length = np.floor(horizon * _smallest(arms.impressions, segments, groups)).astype(np.int64)
    several = np.bincount(segments, minlength=groups) > 1
    differ = _differ(arms, columns, segments, groups) if columns else several  # rows of which nothing is known are arms of their own
    left_out = {
        "one arm": int((~several).sum()),
        "all arms alike": int((several & ~differ).sum()),
        "an arm hardly shown": int((several & differ & (length < 1)).sum()),
    }
    kept = several & differ & (length >= 1)
    if not kept.any():
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in left_out.items() if count)
        raise UserError(
            f"queue: no group of {log.source} has two arms to choose from ({groups:,} groups: {reasons}). Name the column of rows that"
            f" compete as the log's group, and the columns in which arms must differ as distinct (now {', '.join(columns) or 'none'})."
        )
    rows = arms.take(kept[segments])
    segments = (np.cumsum(kept) - 1)[segments[kept[segments]]].astype(np.int32)
    return World(
        kind="queue",
        rows=rows,
        clicks=rows.clicks,
        impressions=rows.impressions,
        segments=segments,
        items=_codes(rows),
        horizon=length[kept],
        clusters=_first_of_each(rows.clusters[0], segments),
        steps=steps,
        delay=delay,
        left_out=left_out,
    )


def _check(log: Log, steps: int, delay: int, horizon: float) -> None:
    if log.columns.group is None:
        raise UserError(f"queue: {log.source} has no group column, so nothing says which rows compete. Name it (columns.group).")
    faults = [
        (steps < 1, f"steps is {steps}, must be at least 1"),
        (delay < 0, f"delay is {delay}, must be at least 0"),
        (not 0.0 < horizon <= 1.0, f"horizon is {horizon}, must be a share in (0, 1] of the smallest arm's impressions"),
    ]
    if found := [message for wrong, message in faults if wrong]:
        raise UserError(f"queue: {'; '.join(found)}")


def _arms(log: Log) -> Log:
    """One row for each item of a group, its rows' clicks and impressions summed; the log itself where it names no item."""
    if log.columns.item is None:
        return log
    codes = pd.MultiIndex.from_arrays([log.segments[0], _codes(log)]).factorize()[0]
    if codes.max() + 1 == len(log):
        return log
    first = _first_of_each(np.arange(len(log)), codes)
    table = log.table.take(first)
    for name, values in ((log.columns.clicks, log.clicks), (log.columns.impressions, log.impressions)):
        total = np.bincount(codes, values).astype(np.int64)
        table = table.set_column(table.schema.get_field_index(name), name, pa.chunked_array([total]))
    return dataclasses.replace(log, table=table)


def _differ(log: Log, columns: Sequence[str], segments: Array, groups: int) -> Array:
    """Whether a group's arms differ in one of the columns, bool [G]."""
    differ = np.zeros(groups, bool)
    for name in columns:
        codes = equal_rows(log.table.select([name]), [name])[0]
        first = _first_of_each(codes, segments)
        np.logical_or.at(differ, segments, codes != first[segments])
    return differ


def _smallest(values: Array, segments: Array, groups: int) -> Array:
    smallest = np.full(groups, np.iinfo(np.int64).max)
    np.minimum.at(smallest, segments, values)
    return smallest


def _first_of_each(values: Array, codes: Array) -> Array:
    """The first value of each code 0 ... max."""
    return np.asarray(values)[np.unique(codes, return_index=True)[1]]


def _codes(log: Log) -> Array:
    """Number of each arm's item; without an item column each arm is an item."""
    return (np.arange(len(log)) if log.item is None else pd.factorize(log.item, use_na_sentinel=False)[0]).astype(np.int32)
