"""Whether arms were shown at random, as the replay of recorded outcomes takes for granted.

Under randomisation in equal shares the impressions of a group's arms are multinomial, so their Pearson chi^2 has a known
distribution ("sample ratio mismatch"); and whatever the shares, they must not follow the clicks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import scipy.special

from recbayes.log.checks.finding import Finding, about
from recbayes.log.checks.groups import arm_of_rows
from recbayes.log.log import Log
from recbayes.types import Array

ALARM = 1e-3
"""False alarms of the test of one group."""
SHARE = 0.01
"""Share of alarming groups above which the log is called unequal: ten times the false alarms."""
Z_FOLLOWS = 4.0
"""False alarms of the second test: 6e-5."""


class Arms(NamedTuple):
    """Clicks and impressions of every arm, float64 [M], and its group [M]; groups with two arms or more only."""

    clicks: Array
    impressions: Array
    group: Array


def randomisation(log: Log) -> Iterator[Finding]:
    """Groups whose arms' impressions differ too much, and impressions that follow the clicks."""
    if log.columns.group is None or log.columns.propensity is not None or log.columns.clicks is None:
        return
    arms = _arms(log)
    if len(arms.group) == 0:
        return
    p_values = equal_shares(arms.impressions, arms.group)
    groups = np.unique(arms.group)
    unequal = groups[p_values < ALARM]
    share = len(unequal) / len(groups)
    is_unequal = np.isin(log.segments[0], unequal)
    if share > SHARE and len(unequal) > 1:
        message = (
            f"{len(unequal):,} of {len(groups):,} groups ({share:.1%}) showed their arms too unevenly for a random choice in equal "
            f"shares (p < {ALARM:g}; chance gives {ALARM:.1%}){_when(log, is_unequal)}. Replay takes arms as randomised: read its "
            "figures with care."
        )
        yield about("randomisation", "warn", message, is_unequal)
    else:
        yield Finding(
            "randomisation", "ok", f"Arms of a group were shown about equally often: {len(unequal):,} of {len(groups):,} groups differ."
        )
    z = follows_clicks(arms)
    if abs(z) > Z_FOLLOWS:
        message = (
            f"Arms with more clicks an impression were shown {'more' if z > 0 else 'less'} than others of their group (z = {z:.1f}): "
            "the choice followed the outcome. Was the log written by an adaptive policy? Log its propensities."
        )
        yield Finding("shown_by_outcome", "warn", message, len(log))


def equal_shares(impressions: Array, group: Array) -> Array:
    """P-value of each group's chi^2 against equal shares of its impressions, [G] in the order of the sorted groups.

    >>> equal_shares(np.array([100.0, 100.0, 150.0, 50.0]), np.array([0, 0, 1, 1])).round(6).tolist()
    [1.0, 0.0]
    """
    _, at, arms = np.unique(group, return_inverse=True, return_counts=True)
    expected = (np.bincount(at, weights=impressions) / arms)[at]
    with np.errstate(invalid="ignore", divide="ignore"):
        chi2 = np.bincount(at, weights=np.where(expected > 0, (impressions - expected) ** 2 / expected, 0.0))
    return np.asarray(scipy.special.chdtrc(arms - 1, chi2))


def follows_clicks(arms: Arms) -> float:
    """Z-score of the hypothesis that, within groups, impressions do not go with the click rate.

    A group's score is sum over arms (share of impressions - mean share) x click rate, of mean 0 when the shares know nothing of the
    clicks; their sum is held against its spread over groups.
    """
    shown = arms.impressions > 0
    impressions, clicks = arms.impressions[shown], arms.clicks[shown]
    _, at, size = np.unique(arms.group[shown], return_inverse=True, return_counts=True)
    share = impressions / np.bincount(at, weights=impressions)[at] - 1 / size[at]
    score = np.bincount(at, weights=share * clicks / impressions)
    total = float(np.sqrt((score**2).sum()))
    return float(score.sum()) / total if total > 0 else 0.0


def _arms(log: Log) -> Arms:
    """Arms of the groups that have two or more."""
    codes, number = arm_of_rows(log)
    clicks = np.bincount(codes, weights=log.clicks, minlength=number)
    impressions = np.bincount(codes, weights=log.impressions, minlength=number)
    group = np.zeros(number, np.int64)
    group[codes] = log.segments[0]
    several = np.bincount(group, minlength=log.segments[1])[group] > 1
    return Arms(clicks[several], impressions[several], group[several])


def _when(log: Log, rows: Array) -> str:
    """Between which times most of the rows lie, if the log has times."""
    if log.time is None:
        return ""
    first, last = np.quantile(log.time[rows], [0.1, 0.9])
    kind = log.column(str(log.columns.time)).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return f"; 80% of their rows between {log.columns.time} {first:g} and {last:g}"
    return f"; 80% of their rows between {datetime.fromtimestamp(first, UTC):%Y-%m-%d} and {datetime.fromtimestamp(last, UTC):%Y-%m-%d}"
