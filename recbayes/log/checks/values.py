"""Values that look wrong without being impossible: missing, constant, doubled, out of order, of items that nothing is known about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.log.checks.finding import Finding, about, counted
from recbayes.log.columns import listed
from recbayes.log.counts import equal_rows
from recbayes.log.log import Log
from recbayes.types import Array


def missing_values(log: Log) -> Iterator[Finding]:
    """Features and groups with nulls; a model learns a value of its own for them."""
    for name in dict.fromkeys([*log.columns.features, *filter(None, [log.columns.group])]):
        is_null = _is_null(log, name)
        share = is_null.mean()
        if share > 0:
            use = log.columns.user_of(name)
            note = "such a row competes with no other" if name == log.columns.group else "they are read as a value of their own"
            message = f"{name} ({use}) is null in {counted(int(is_null.sum()), 'row')} ({share:.1%}): {note}."
            yield about("missing_values", "warn" if share > 0.5 else "info", message, is_null)


def constant_features(log: Log) -> Iterator[Finding]:
    """Features with one value throughout: nothing can be learnt from them."""
    first = log.table.slice(0, 1_000)  # most features differ soon: the whole column is looked at only where they don't
    constant = [name for name in log.columns.features if all(equal_rows(table, [name])[1] == 1 for table in (first, log.table))]
    if constant:
        yield Finding("constant", "warn", f"{listed(constant)}: the same value in every row. Leave it out of the features.", len(log))


def duplicates(log: Log) -> Iterator[Finding]:
    """Rows that repeat an earlier one in every column read, where a row has something (an item, a time) to be told apart by."""
    if (log.columns.time if log.is_events else log.columns.item) is None:
        return
    codes, _ = equal_rows(log.table, log.columns.used)
    repeated = np.ones(len(log), bool)
    repeated[np.unique(codes, return_index=True)[1]] = False
    if repeated.any():
        message = f"{counted(int(repeated.sum()), 'row')} repeat an earlier row in every column that is read. Was the log written twice?"
        yield about("duplicates", "warn", message, repeated)
    else:
        yield Finding("duplicates", "ok", "No row repeats another.")


def time_order(log: Log) -> Iterator[Finding]:
    """Time that goes backwards from one row to the next."""
    if log.time is None:
        return
    backwards = np.r_[False, np.diff(log.time) < 0]
    share = backwards.mean()
    if share == 0:
        yield Finding("time_order", "ok", "Rows are in the order of time.")
    elif share < 0.01:
        message = f"Time goes backwards at {counted(int(backwards.sum()), 'row')}: rows that came late, or clocks that disagree?"
        yield about("time_order", "warn", message, backwards)
    else:
        yield about("time_order", "info", "Rows are not in the order of time; splits and replay put them in order.", backwards)


def unmatched(log: Log) -> Iterator[Finding]:
    """Rows in which every feature but the roles' own columns is null, as a join leaves them that found no partner."""
    features = [name for name in log.columns.features if name not in log.columns.roles.values()]
    if len(features) < 2:
        return
    is_empty = np.logical_and.reduce([_is_null(log, name) for name in features])
    if is_empty.any():
        message = f"{counted(int(is_empty.sum()), 'row')} have no feature at all: ids that the feature table lacks?"
        yield about("unmatched", "warn", message, is_empty)


def candidate_sets(log: Log) -> Iterator[Finding]:
    """Rows that show what was not among their candidates."""
    if log.columns.candidates is None or log.columns.item is None:
        return
    lists = log.column(log.columns.candidates).combine_chunks()
    row = pc.list_parent_indices(lists)
    shown = log.column(log.columns.item).cast(pa.large_string()).combine_chunks().take(row)
    is_shown = pc.equal(pc.list_flatten(lists).cast(pa.large_string()), shown).fill_null(False).to_numpy(zero_copy_only=False)
    missing = np.bincount(row.to_numpy()[is_shown], minlength=len(log)) == 0
    if missing.any():
        message = f"{counted(int(missing.sum()), 'row')} show an item that is not in their list of candidates."
        yield about("candidates", "fail", message, missing)
    else:
        yield Finding("candidates", "ok", "Every item shown is among its candidates.")


def unseen_values(train: Log, test: Log) -> Iterator[Finding]:
    """Items and features' values that only the test rows have: a model knows them by their other features alone."""
    names = dict.fromkeys([*filter(None, [train.columns.item]), *train.columns.features])
    for name in [name for name in names if _is_discrete(train.column(name).type)]:
        is_new = ~pc.is_in(test.column(name), value_set=train.column(name).unique()).to_numpy()
        if is_new.any():
            message = f"{name} ({train.columns.user_of(name)}): {is_new.mean():.1%} of the test rows have a value that no training row has."
            yield about("unseen_values", "info", message, is_new)


def _is_discrete(kind: Any) -> bool:
    """Whether values of this type are names rather than measurements."""
    return pa.types.is_large_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _is_null(log: Log, name: str) -> Array:
    return pc.is_null(log.column(name), nan_is_null=True).to_numpy()
