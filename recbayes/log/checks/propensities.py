"""Whether propensities can be what they say, and what a log without them does not identify."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from recbayes.log.checks.finding import Finding, about
from recbayes.log.checks.groups import arms_of_groups
from recbayes.log.counts import equal_rows
from recbayes.log.log import Log
from recbayes.types import Array

TOLERANCE = 1e-3
"""Propensities may be rounded."""
Z_MEAN = 5.0
"""False alarms of the mean-weight test: 6e-7, where the weights have a variance."""


def propensities(log: Log) -> Iterator[Finding]:
    """Propensities against each other and against the number of candidates; without any, what is not identified."""
    if log.propensity is None:
        yield _without(log)
        return
    over = _sum_over_group(log)
    if over.any():
        message = (
            "Propensities of the items of one group (and position) sum to more than 1: they are not those of one choice among the group."
        )
        yield about("propensities", "fail", message, over)
    z, mean = mean_weight(log)
    if abs(z) > Z_MEAN and abs(mean - 1) > 0.01:
        message = (
            f"1 / (propensity x candidates) has mean {mean:.3f} and should have 1 (z = {z:.1f}): propensities do not sum to 1 over "
            "the candidates, or some candidates were never shown. Log the real probability of each choice."
        )
        yield Finding("propensities", "warn", message, len(log))
    elif not over.any():
        yield Finding("propensities", "ok", f"Propensities are consistent: 1 / (propensity x candidates) has mean {mean:.3f}.")


def mean_weight(log: Log) -> tuple[float, float]:
    """Z-score and mean of 1 / (propensity x number of candidates), whose expectation is 1 whenever every candidate can be shown.

    The expectation over the logging policy of 1[a shown] / propensity(a) is 1 for each of the A candidates a.
    """
    weights = 1 / (np.asarray(log.propensity) * _number_of_candidates(log))
    stderr = weights.std() / np.sqrt(len(weights))
    mean = float(weights.mean())
    return (mean - 1) / max(stderr, 1e-9), mean


def _number_of_candidates(log: Log) -> Array:
    """Candidates of each row, [N]: of its list, else all items that the log shows at its position."""
    if log.columns.candidates is not None:
        return pc.list_value_length(log.column(log.columns.candidates)).to_numpy()
    if log.columns.item is None:
        return np.ones(len(log))
    if log.columns.position is None:
        return np.full(len(log), equal_rows(log.table, [log.columns.item])[1])
    slots, number = equal_rows(log.table, [log.columns.position])
    shown, kinds = equal_rows(log.table, [log.columns.position, log.columns.item])
    slot_of_kind = np.zeros(kinds, np.int64)
    slot_of_kind[shown] = slots
    return np.bincount(slot_of_kind, minlength=number)[slots]


def _sum_over_group(log: Log) -> Array:
    """Mask [N] of rows whose group's distinct items (a position apart) have propensities that sum to more than 1.

    Rows of a group with different times are different choices: a page is decided for again and again, as its counts change.
    """
    if log.columns.group is None or log.columns.item is None:
        return np.zeros(len(log), bool)
    slot = [name for name in (log.columns.group, log.columns.position, log.columns.time) if name is not None]
    slots, number = equal_rows(log.table, slot)
    arms, arm_count = equal_rows(log.table, [*slot, log.columns.item])
    slot_of_arm, propensity = np.zeros(arm_count, np.int64), np.zeros(arm_count)
    slot_of_arm[arms], propensity[arms] = slots, np.asarray(log.propensity)
    return np.asarray(np.bincount(slot_of_arm, weights=propensity, minlength=number) > 1 + TOLERANCE)[slots]


def _without(log: Log) -> Finding:
    """What a log without propensities cannot tell."""
    lost = "No propensities: what another policy would have earned is not identified by weighting (IPS, doubly robust). "
    if log.columns.group is not None and (arms_of_groups(log) > 1).any():
        return Finding(
            "propensities", "info", lost + "Within groups whose arms were shown at random, replay compares policies without them."
        )
    return Finding(
        "propensities",
        "warn",
        lost + "There are no groups with two arms either: only the click model and a simulated twin of the log remain.",
    )
