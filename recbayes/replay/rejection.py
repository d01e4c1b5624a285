"""The rejection world: a uniformly logged stream, of which a policy is told the events whose arm it would have shown.

Unbiased for any policy, learning or not, on independent events (Li et al. 2011). It takes A logged events a decision, for A candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from recbayes.log import Log
from recbayes.replay.logged import Logged, events_of, logged_world
from recbayes.replay.stream import StreamWorld
from recbayes.types import UserError

NEAR = 1e-3
"""Propensities may be rounded by this share."""
ALARM = 1e-6
"""Of the test for equal showings, where no propensities are logged."""


def rejection(
    log: Log,
    *,
    context: Sequence[str] | None = None,
    item_features: Sequence[str] = (),
    order: Literal["resampled", "logged"] = "resampled",
    events: int | None = None,
    batch: int = 1,
    delay: int | Mapping[str, float | str | Sequence[float]] = 0,
) -> StreamWorld:
    """A world from events whose arm was chosen uniformly among the candidates.

    Args:
      log: a row a decision: item, clicks or reward, and propensity if there is one.
      context: columns of the context; None: all features of the log but the item and its features.
      item_features: columns that belong to the item.
      order: resampled, each replica draws events with replacement (those of a cluster together), so that intervals are over the log too;
        logged, in the log's order.
      events: logged events that are passed; None: as many as the log has.
      batch: logged events before the learner hears of those that matched.
      delay: steps from a batch to its feedback, or their distribution (`replay/delay.py`).

    Returns: the world.
    Raises: UserError if the log was not uniform, or has too few rows.
    Source: Li, Chu, Langford and Wang 2011, arXiv:1003.5956.

    >>> from recbayes.log import read_log
    >>> log = read_log("example:open_bandit", clicks="click", item="item_id", propensity="propensity_score")
    >>> len(rejection(log, context=()).names)
    80
    """
    data, names = events_of("rejection", log, context, item_features)
    offered = data.candidates.sum(1) * np.ones(len(log))
    uniform = (1.0 / offered).astype(np.float32)
    if log.propensity is None:
        _check_showings(log, data, names)
    elif not np.allclose(data.propensity, uniform, rtol=NEAR):
        row = int(np.argmax(np.abs(data.propensity - uniform)))
        raise UserError(
            f"rejection: propensities of {log.source} are not uniform: row {row} has {data.propensity[row]:.4g} where one of"
            f" {offered[row]:.0f} candidates has {uniform[row]:.4g}. The propensity world fits any log with propensities."
        )
    if data.candidates.shape[0] > 1 and np.ptp(offered) > 0:
        raise UserError(
            "rejection: the number of candidates differs between rows, so their share of matches would too. Use the propensity world."
        )
    data = data._replace(propensity=uniform, smallest=np.float32(uniform.min()))
    return logged_world("rejection", log, data, names, weigh=False, order=order, events=events, batch=batch, delay=delay)


def _check_showings(log: Log, data: Logged, names: tuple[str, ...]) -> None:
    """Without propensities: arms that were shown equally often, as far as chance allows."""
    shown = np.bincount(data.arm, minlength=len(names))
    chance = float(stats.chisquare(shown).pvalue)
    if log.columns.candidates is not None or chance < ALARM:
        raise UserError(
            f"rejection: {log.source} has no propensities, and its {len(names):,} items were not shown equally often ({shown.min():,} to"
            f" {shown.max():,} times, p = {chance:.1g}). Log the real propensities and use the propensity world."
        )
