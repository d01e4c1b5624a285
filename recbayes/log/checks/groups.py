"""Groups that nothing can be compared in, clicks whose spread cannot be known, and what the log does not identify."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recbayes.log.checks.finding import Finding, about, counted
from recbayes.log.counts import equal_rows
from recbayes.log.log import Log
from recbayes.types import Array

FEW_PAIRS = 10.0
"""Fewer expected pairs of clicks on one row than this say next to nothing about the spread of click rates."""


def arm_of_rows(log: Log) -> tuple[Array, int]:
    """Arm of each row, int64 [N], and how many there are: an item in a group, or each row where the log names no items."""
    if log.columns.item is None:
        return np.arange(len(log)), len(log)
    names = [name for name in (log.columns.group, log.columns.item) if name is not None]
    return equal_rows(log.table, names)


def arms_of_groups(log: Log) -> Array:
    """Number of arms of each group, [G]."""
    segments, groups = log.segments
    arms, number = arm_of_rows(log)
    group_of_arm = np.zeros(number, np.int64)
    group_of_arm[arms] = segments
    return np.bincount(group_of_arm, minlength=groups)


def group_sizes(log: Log) -> Iterator[Finding]:
    """Groups with one arm, and groups in which every impression was clicked."""
    if log.columns.group is None:
        return
    segments, groups = log.segments
    is_single = arms_of_groups(log) == 1
    if is_single.any():
        all_of_them = " None has two: nothing can be replayed within groups." if is_single.all() else " Replay leaves them out."
        message = f"{int(is_single.sum()):,} of {groups:,} groups have one arm.{all_of_them}"
        yield about("single_arm", "warn", message, is_single[segments])
    if log.columns.clicks is None:
        return
    clicks = np.bincount(segments, weights=log.clicks, minlength=groups)
    impressions = np.bincount(segments, weights=log.impressions, minlength=groups)
    is_full = (clicks == impressions) & (impressions > 0)
    if is_full.any():
        message = f"In {counted(int(is_full.sum()), 'group')} every impression was clicked. Are impressions without a click logged?"
        yield about("all_clicks", "warn", message, is_full[segments])
    if not (is_single.any() or is_full.any()):
        yield Finding("groups", "ok", f"All {groups:,} groups have two arms or more.")


def expected_pairs(log: Log) -> float:
    """How many pairs of clicks within one row chance makes: what there is to know the spread of click rates by.

    With r impressions of a row and a common click rate p, r (r - 1) p^2 / 2 pairs.
    """
    impressions = log.impressions.astype(float)
    rate = log.clicks.sum() / max(impressions.sum(), 1.0)
    return float((impressions * (impressions - 1)).sum() / 2 * rate**2)


def spread(log: Log) -> Iterator[Finding]:
    """Whether the spread of click rates can be told from their mean: only where a row is shown more than once."""
    if log.columns.clicks is None:
        return
    counts = log.counts() if log.is_events else log
    pairs = expected_pairs(counts)
    if not counts.spread_identified:
        message = (
            "spread not identified: no row repeats in group, item and features, so click rates' spread cannot be told from their mean. "
        )
        yield Finding("spread", "warn", message + "Use fewer or coarser features, or density: point.", len(counts))
    elif pairs < FEW_PAIRS:
        message = f"The spread of click rates is hardly identified: chance alone makes {pairs:.2g} pairs of clicks on one row. "
        yield Finding("spread", "warn", message + "Use fewer or coarser features, or density: point.", len(counts))
    else:
        yield Finding(
            "spread", "ok", f"The spread of click rates can be known: a row has {np.mean(counts.impressions):,.0f} impressions (mean)."
        )


def never_shown(log: Log) -> Iterator[Finding]:
    """Rows without an impression: they say nothing."""
    none = log.impressions == 0
    if none.any():
        yield about("never_shown", "info", f"{counted(int(none.sum()), 'row')} have no impressions and say nothing.", none)
