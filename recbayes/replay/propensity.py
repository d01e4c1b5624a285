"""The propensity world: any log with propensities, on the policy's whole probability vector. See `logged` for the equations.

rejection: each event is accepted with f p_min / p, and what is accepted is as if the policy had chosen; it needs a p_min that is not tiny.
weighting: each event counts f / p. Its value of a fixed policy is that of self-normalised inverse propensity scoring; a learner, though,
hears of every event it could have caused, each by weight, and so learns from more than it would have seen: read it as an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from recbayes.log import Log
from recbayes.replay.logged import events_of, logged_world
from recbayes.replay.stream import StreamWorld
from recbayes.types import UserError

FEWEST = 30
"""Expected matches below which nothing can be said."""


def propensity(
    log: Log,
    *,
    how: Literal["rejection", "weighting"] = "rejection",
    context: Sequence[str] | None = None,
    item_features: Sequence[str] = (),
    order: Literal["resampled", "logged"] = "resampled",
    events: int | None = None,
    batch: int = 1,
    delay: int | Mapping[str, float | str | Sequence[float]] = 0,
) -> StreamWorld:
    """A world from events with propensities.

    Args:
      log: a row a decision: item, clicks or reward, propensity; candidates where not every item could be shown.
      how: rejection with the bound 1 / p_min, or weighting.
      context: columns of the context; None: all features of the log but the item and its features.
      item_features: columns that belong to the item.
      order: resampled, each replica draws events with replacement (those of a cluster together), so that intervals are over the log too;
        logged, in the log's order.
      events: logged events that are passed; None: as many as the log has.
      batch: logged events before the learner hears of those that matched.
      delay: steps from a batch to its feedback, or their distribution (`replay/delay.py`).

    Returns: the world.
    Raises: UserError if there are no propensities, or rejection would leave too few events.
    Source: Dudik, Erhan, Langford and Li 2014, arXiv:1503.02834.

    >>> from recbayes.log import read_log
    >>> log = read_log("example:open_bandit", clicks="click", item="item_id", propensity="propensity_score")
    >>> propensity(log, context=()).about()["expected_share_matched"]
    0.012500000186264515
    """
    if how not in ("rejection", "weighting"):
        raise UserError(f"propensity: how is {how!r}, must be rejection or weighting")
    if log.propensity is None:
        raise UserError(
            f"propensity: {log.source} has no propensities. Name their column (columns.propensity); a log whose arms were shown uniformly"
            " fits the rejection world without them, and counts of randomised arms the queue world."
        )
    data, names = events_of("propensity", log, context, item_features)
    number = len(log) if events is None else events
    if how == "rejection" and number * data.smallest < FEWEST:
        raise UserError(
            f"propensity: overlap too thin: the smallest propensity is {data.smallest:.2g}, so of {number:,} events rejection would leave"
            f" about {number * data.smallest:.1f}, under {FEWEST}. Use how: weighting, or leave out arms that are hardly ever shown."
        )
    return logged_world("propensity", log, data, names, weigh=how == "weighting", order=order, events=events, batch=batch, delay=delay)
