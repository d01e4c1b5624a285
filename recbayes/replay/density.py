"""The density learner: the trained network's density of each arm, conditioned on the arm's own counts and its group's.

The posterior's weight draws become prior beliefs of the arms once; online counts re-weight components and nodes of the group's effect, not
the weight draws. By default the draws are merged into one density an arm: what moves a group's arms alike widens the group's effect,
what moves them apart widens the components, moments kept. `draws` with merge=False keeps them apart, each with nodes of its own.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.special import expit, logit

from recbayes.densities import BetaMixture, LogitNormalMixture
from recbayes.replay import tallies
from recbayes.replay.delay import must_keep
from recbayes.replay.learner import Bound, Learner
from recbayes.replay.world import World
from recbayes.types import Array, UserError


def density(
    fitted: Any,
    *,
    counts_scope: Literal["group", "item"] = "group",
    draws: int = 64,
    merge: bool = True,
    exact: bool = False,
    discount: float = 1.0,
    window: int | None = None,
    seed: int = 0,
) -> Learner:
    """What a fitted model knows of the arms, and what it learns from their counts.

    Args:
      fitted: a model with `densities(log, draws=, seed=)`, leaves [S, N, K], and `group_effect` (None or with a tau).
      counts_scope: group, an arm is known by its counts in the group; item, also by its item's counts in other groups.
      draws: weight draws.
      merge: one density an arm from all draws, by moments; only where there is a group effect and the density is a mixture of betas or
        logit-normals, else the draws stay apart. Apart, cost grows with their number: 8 are enough.
      exact: policies see every component, and Thompson's draws are exact; else components are summed up by mean and variance.
      discount: what a count counts after each further update, in (0, 1]; below 1 for click rates that drift.
      window: updates whose counts count, in place of a discount; None: all. Memory grows with it.
      seed: of the weight draws.

    Raises: UserError if a setting is unknown or out of range.

    >>> density(None, draws=8, merge=False).settings["draws"]
    8
    """
    if counts_scope not in ("group", "item"):
        raise UserError(f"density: counts_scope is {counts_scope!r}, must be group or item")
    if draws < 1:
        raise UserError(f"density: draws is {draws}, must be at least 1")

    tallies.check_memory("density", discount, window)

    def bind(world: World) -> Bound:
        if world.rows is None:
            raise UserError(
                f"density: the {world.kind} world knows nothing of its arms that a click model could look at. Let counts or linear learn."
            )
        must_keep("density", world.delay, discount < 1.0 or window is not None)
        tallies.must_forget("density", window, world)
        shared, group = getattr(fitted, "group", None), world.rows.columns.group
        if fitted.group_effect is not None and shared is not None and shared != group:
            raise UserError(
                f"density: the model's group effect is over {shared!r}, the replayed groups are {group!r}: what one arm's clicks say"
                f" of the others is not known. Fit with group_effect={group!r} or False."
            )
        apart = fitted.densities(world.rows, draws=draws, seed=seed)
        leaves = type(apart)(*(np.moveaxis(np.asarray(leaf, np.float64), 0, 1) for leaf in apart))  # [N, S, K]
        tau = None if fitted.group_effect is None else np.full(len(world.segments), float(fitted.group_effect.tau))
        if merge and tau is not None and isinstance(leaves, BetaMixture):
            leaves, tau = merged(leaves, tau, world.segments)
        elif merge and tau is not None and isinstance(leaves, LogitNormalMixture):
            leaves, tau = merged_logits(leaves, tau, world.segments)
        return tallies.bound(
            leaves, tau, items=world.items if counts_scope == "item" else None, exact=exact, discount=discount, window=window or 0
        )

    return Learner(
        "density",
        {
            "counts_scope": counts_scope,
            "draws": draws,
            "merge": merge,
            "exact": exact,
            "discount": discount,
            "window": window,
            "seed": seed,
        },
        fitted,
        bind,
    )


def merged(apart: BetaMixture, tau: Array, segments: Array) -> tuple[BetaMixture, Array]:
    """Weight draws merged by moments: densities [N, S, K] and tau [N] -> densities [N, 1, K] and tau [N].

    A draw's common shift of a group's logits goes into the group's effect; what is left of its move goes into each component's mean and
    variance. Kept are each component's weight, mean and variance and the variance of the common shift.
    """
    weights, means, concentrations = np.exp(apart.log_weights), apart.means, apart.concentrations
    logits = logit((weights * means).sum(-1))  # [N, S]
    moved = logits - logits.mean(1, keepdims=True)
    common = _group_means(moved, segments)[segments]  # [N, S]
    still = expit(logit(means) - common[..., None])
    shares = weights / weights.sum(1, keepdims=True)  # of each draw within a component, [N, S, K]
    mean = (shares * still).sum(1, keepdims=True)
    variance = (shares * (still * (1.0 - still) / (concentrations + 1.0) + (still - mean) ** 2)).sum(1, keepdims=True)
    density = BetaMixture(np.log(weights.mean(1, keepdims=True)), mean, mean * (1.0 - mean) / variance - 1.0)
    return density, np.sqrt(tau**2 + common.var(1))


def merged_logits(apart: LogitNormalMixture, tau: Array, segments: Array) -> tuple[LogitNormalMixture, Array]:
    """The same of logit-normals that have seen nothing: kept are each component's weight and its logit's mean and variance."""
    weights = np.exp(apart.log_weights)
    middles = (weights * apart.logits).sum(-1)  # [N, S]
    common = _group_means(middles - middles.mean(1, keepdims=True), segments)[segments]
    still = apart.logits - common[..., None]
    shares = weights / weights.sum(1, keepdims=True)
    logits = (shares * still).sum(1, keepdims=True)
    scales = np.sqrt((shares * (apart.scales**2 + (still - logits) ** 2)).sum(1, keepdims=True))
    rest = (leaf[:, :1] for leaf in apart[3:])
    return LogitNormalMixture(np.log(weights.mean(1, keepdims=True)), logits, scales, *rest), np.sqrt(tau**2 + common.var(1))


def _group_means(values: Array, segments: Array) -> Array:
    """Means over the rows of each group, [N, S] -> [G, S]."""
    sums = np.zeros((segments.max() + 1, values.shape[1]))
    np.add.at(sums, segments, values)
    return sums / np.bincount(segments)[:, None]
