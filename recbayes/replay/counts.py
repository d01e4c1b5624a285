"""The counts learner: no model, only what an arm's own clicks say, over a beta prior."""

from __future__ import annotations

from typing import Literal

import numpy as np

from recbayes.densities import BetaMixture, baselines
from recbayes.log import Log
from recbayes.replay import tallies
from recbayes.replay.delay import must_keep
from recbayes.replay.learner import Bound, Learner
from recbayes.replay.world import World
from recbayes.types import UserError

PRIORS = ("flat", "fitted", "page")


def counts(
    log: Log | None = None,
    *,
    prior: Literal["flat", "fitted", "page"] = "flat",
    counts_scope: Literal["group", "item"] = "group",
    exact: bool = False,
    discount: float = 1.0,
    window: int | None = None,
) -> Learner:
    """Clicks and impressions of each arm over a beta prior.

    Args:
      log: the training log that the prior is fitted to; not needed for a flat one.
      prior: flat, Beta(1, 1); fitted, the beta that fits the training rows' click rates; page, the same with an effect that the arms of
        a group share.
      counts_scope: group, an arm starts anew in each group; item, it knows what its item earned in other groups.
      exact: Thompson's draws are exact betas; else by one normal (see `policies.one_normal`).
      discount: what a count counts after each further update, in (0, 1]; below 1 for click rates that drift.
      window: updates whose counts count, in place of a discount; None: all. Memory grows with it.

    Raises: UserError if a setting is unknown or out of range, or there is no log to fit the prior to.

    >>> counts().kind, counts(prior="flat").settings["prior"]
    ('counts', 'flat')
    """
    if prior not in PRIORS:
        raise UserError(f"counts: prior is {prior!r}, must be one of {', '.join(PRIORS)}")
    if prior != "flat" and log is None:
        raise UserError(f"counts: prior {prior} is fitted to a training log; give it: counts(train, prior={prior!r})")
    if counts_scope not in ("group", "item"):
        raise UserError(f"counts: counts_scope is {counts_scope!r}, must be group or item")

    tallies.check_memory("counts", discount, window)

    def bind(world: World) -> Bound:
        if not world.clicks_only:
            raise UserError(f"counts: the {world.kind} world pays numbers, and a beta prior is for clicks. Let linear learn.")
        must_keep("counts", world.delay, discount < 1.0 or window is not None)
        tallies.must_forget("counts", window, world)
        mean, concentration, tau = _fitted(log, prior)
        number = len(world.segments)
        shape = [number, 1, 1]
        density = BetaMixture(np.zeros(shape), np.full(shape, mean), np.full(shape, concentration))
        effect = None if tau is None else np.full(number, tau)
        return tallies.bound(
            density, effect, items=world.items if counts_scope == "item" else None, exact=exact, discount=discount, window=window or 0
        )

    return Learner(
        "counts", {"prior": prior, "counts_scope": counts_scope, "exact": exact, "discount": discount, "window": window}, log, bind
    )


def _fitted(log: Log | None, prior: str) -> tuple[float, float, float | None]:
    """Mean and concentration of the beta, and tau of the groups' effect."""
    if log is None or prior == "flat":
        return 0.5, 2.0, None
    rows = log.counts()
    if prior == "page":
        return baselines.page_effect(rows.clicks, rows.impressions, rows.segments[0])
    return *baselines.beta_binomial(rows.clicks, rows.impressions), None
