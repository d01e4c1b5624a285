"""Click rates of rows, each by itself: mean, both spreads and the ends of an interval.

A beta mixture's weight draws are merged (`merging.py`), a row being a decision of one candidate: the effect that it shares with nobody is
the page's plus the draws' shift delta, and what the row's counts say of their sum u says of delta

    E[delta | u] = s u,  s = common / (common + tau^2),  Var[delta] = s^2 Var[u] + s tau^2
    model^2 = Cov[p, delta]^2 / Var[delta],  Cov[p, delta] = s Cov[p, u],  data^2 = Var[p] - model^2

Rows whose draws differ otherwise than by a small shift, or whose law is too rough for `intervals.quantiles`, are computed draw by draw and
searched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.export import intervals, merging, nodes, page
from recbayes.export.merging import Betas
from recbayes.predictive import Predictive
from recbayes.types import Tensor

PLACE, WIDTH = 0.06, 0.25
"""Of a row's variance: the variance over the draws of its components' means, and the standard deviation over the draws of their
variances, up to which draws are merged. Chosen so that the ends of a 90% interval are within .05 standard deviations."""


class Rates(NamedTuple):
    """mean, data_stddev, model_stddev, and quantiles; each [N]."""

    mean: Tensor
    data_stddev: Tensor
    model_stddev: Tensor
    quantiles: tuple[Tensor, ...]


def rates(density: Betas, tau: Tensor | None, clicks: Tensor, impressions: Tensor, shares: Sequence[float]) -> Rates:
    """Of rows with their own counts seen.

    Args:
      density: of each row under each draw, [K, S, N, 1].
      tau: of the page effect; None where there is none.
      clicks: float32 [N].
      impressions: float32 [N].
      shares: the quantiles wanted.
    """
    short, regular = merged(density, tau, clicks, impressions, shares)

    def some_by_draws() -> Rates:
        rows = tf.where(~regular)  # [M, 1]
        some = Betas(*(tf.gather(leaf, rows[:, 0], axis=2) for leaf in density))
        long = drawn(some, tau, tf.gather_nd(clicks, rows), tf.gather_nd(impressions, rows), shares)
        return tf.nest.map_structure(lambda into, values: tf.tensor_scatter_nd_update(into, rows, values), short, long)

    found: Rates = tf.cond(tf.reduce_all(regular), lambda: short, some_by_draws)
    return found


def merged(
    density: Betas, tau: Tensor | None, clicks: Tensor, impressions: Tensor, shares: Sequence[float], *, unseen: bool = False
) -> tuple[Rates, Tensor]:
    """By merged draws, and the rows for which that is as good, bool [N]; unseen: no row ever has counts, which takes half the graph."""
    one = merging.merged(density, tf.ones_like(clicks, tf.bool)[:, None])
    count, effect = nodes.SMOOTH if shares else page.NODES, together(one, tau)
    inner = slice(TAIL, -TAIL)

    def after_counts() -> tuple[nodes.Law, Tensor]:
        law = nodes.condition(one.density, effect, clicks[:, None], impressions[:, None], nodes.standard(count))
        return law, intervals.cube_roots(law.density.means[inner, ..., 0])

    def before() -> tuple[nodes.Law, Tensor]:
        law = nodes.unseen(one.density, effect, count)
        roots, moved = intervals.cube_roots(one.density.means[..., 0]), tf.exp(law.nodes[inner] * (-1.0 / 3.0))
        return law, roots * moved[:, None]

    law, roots = before() if unseen else tf.cond(tf.reduce_any(impressions > 0.0), after_counts, before)
    at_nodes, within = (moment[..., 0] for moment in law.moments())  # [Q, N]
    weights, effects = law.weights, law.nodes
    mean, middle = tf.reduce_sum(weights * at_nodes, 0), tf.reduce_sum(weights * effects, 0)
    whole = tf.reduce_sum(weights * (within + tf.square(at_nodes - mean)), 0)
    share, away = one.common / tf.square(effect), effects - middle
    covariance = share * tf.reduce_sum(weights * away * (at_nodes - mean), 0)
    spread = tf.square(share) * tf.reduce_sum(weights * tf.square(away), 0) + share * tf.maximum(tf.square(effect) - one.common, 0.0)
    model = tf.minimum(tf.math.divide_no_nan(tf.square(covariance), spread), whole)
    found, alike = Rates(mean, tf.sqrt(whole - model), tf.sqrt(model), ()), agree(one, effect)
    if not shares:
        return found, alike
    kinds, means, sizes = (leaf[..., 0] for leaf in law.density)  # [Q, K, N], sizes [1, K, N]
    apart = intervals.Law.of((weights[:, None] * kinds)[inner], means[inner], sizes, mean, whole, roots)
    mixture = apart.listed()
    ends, settled = intervals.quantiles(mixture, shares)
    return found._replace(quantiles=ends), alike & settled & intervals.smooth(mixture, effects[1] - effects[0])


def agree(one: merging.Merged, effect: Tensor) -> Tensor:
    """Where a row's draws are enough alike that their moments tell the law's ends, bool [N]."""
    kinds, means, sizes = (leaf[..., 0] for leaf in one.density)  # [K, N]
    before = tf.reduce_sum(kinds * means, 0)
    own = tf.reduce_sum(kinds * (means * (1.0 - means) / (sizes + 1.0) + tf.square(means - before)), 0)
    unseen = own + tf.square(effect * before * (1.0 - before))
    return (one.place[:, 0] <= PLACE * unseen) & (one.width[:, 0] <= WIDTH * unseen)


def joined(one: merging.Merged, tau: Tensor | None, clicks: Tensor, impressions: Tensor) -> tuple[Tensor, nodes.Law]:
    """The effect that candidates share, as its standard deviation [B], and what the counts say."""
    effect = together(one, tau)
    return effect, nodes.condition(one.density, effect, clicks, impressions)


def together(one: merging.Merged, tau: Tensor | None) -> Tensor:
    """The page's effect and the draws' common shift as one, its standard deviation [B]."""
    return tf.sqrt(one.common + (0.0 if tau is None else tf.square(tau)) + LEAST)


TAIL = 3
"""Outermost nodes on each side that an interval's ends do without: together they hold less than a thousandth, two where the nodes' guess
was off by all that it may be."""
LEAST = 1e-8
"""Variance added to an effect, so that one draw without a page effect is no case of its own."""


def drawn(density: Betas, tau: Tensor | None, clicks: Tensor, impressions: Tensor, shares: Sequence[float]) -> Rates:
    """Draw by draw, each with a page effect of its own; arguments as in `rates`. Where normal scores do not tell an end it is searched."""
    draws, rows = density.means.shape[1], tf.shape(clicks)[0]
    each = Betas(*(tf.reshape(leaf, [leaf.shape[0], -1, 1]) for leaf in density))  # [K, S N, 1]: each draw of a row a decision of its own
    clicks, impressions = (tf.tile(x, [draws])[:, None] for x in (clicks, impressions))
    if tau is None:
        law = nodes.alone(each, clicks, impressions)
    else:
        z = tf.repeat(tf.constant(page.places(draws), tf.float32), rows, 1) if shares else None  # [Q, S N]: smooth over a row's draws
        law = nodes.condition(each, tf.fill([draws * rows], tau), clicks, impressions, z)
    weights = law.weights  # [Q, S N]
    at_nodes, within = (moment[..., 0] for moment in law.moments())
    means = tf.reduce_sum(weights * at_nodes, 0)  # [S N]
    variances = tf.reduce_sum(weights * (within + tf.math.squared_difference(at_nodes, means)), 0)
    means, variances = (tf.reshape(x, [draws, -1]) for x in (means, variances))
    mean, data = tf.reduce_mean(means, 0), tf.reduce_mean(variances, 0)
    model = tf.reduce_mean(tf.math.squared_difference(means, mean), 0)
    found = Rates(mean, tf.sqrt(data), tf.sqrt(model), ())
    if not shares:
        return found
    kinds, at, sizes = (leaf[..., 0] for leaf in law.density)
    apart = intervals.Law.of(weights[:, None] * kinds * (1.0 / draws), at, sizes, mean, data + model)  # [Q, K, S N]
    return found._replace(quantiles=ends(apart.listed().each(tf.transpose, axis=-1), shares))


def ends(law: intervals.Law, shares: Sequence[float]) -> tuple[Tensor, ...]:
    """Quantiles, each [N]; the law's betas along its last axis."""
    near, settled = intervals.quantiles(law, shares, steps=STEPS, verified=True)
    regular = settled & intervals.smooth(law, tf.zeros_like(law.mean))

    def some_searched() -> tuple[Tensor, ...]:
        rows = tf.where(~regular)  # [M, 1]
        found = intervals.searched(law.each(lambda values: tf.gather(values, rows[:, 0])), shares)
        return tuple(tf.tensor_scatter_nd_update(end, rows, values) for end, values in zip(near, found, strict=True))

    found: tuple[Tensor, ...] = tf.cond(tf.reduce_all(regular), lambda: near, some_searched)
    return found


STEPS = 6
"""Secant steps where draws disagree: their laws bend the normal score more."""


def of_others(density: Any, tau: Tensor | None, clicks: Tensor, impressions: Tensor, shares: Sequence[float]) -> Rates:
    """Of families whose draws are not merged, leaves [S, N, K]."""
    rows = tf.nest.map_structure(lambda leaf: leaf[:, :, None], density)
    law = by_draws(rows, tau, clicks[:, None], impressions[:, None], tf.ones_like(clicks, tf.bool)[:, None], smooth=bool(shares))
    data, model = law.split()
    return Rates(law.mean[:, 0], data[:, 0], model[:, 0], tuple(law.quantile(q)[:, 0] for q in shares))


def by_draws(density: Any, tau: Tensor | None, clicks: Tensor, impressions: Tensor, present: Tensor, *, smooth: bool = False) -> Predictive:
    """Every draw kept, equally weighted, each with nodes of its own; leaves [S, B, A, K], counts [B, A]. smooth: as in `page.condition`."""
    draws = density.mean.shape[0]
    if tau is None:
        seen = tf.nest.map_structure(lambda leaf: leaf[None], density.condition(clicks, impressions))
        log_weights = tf.zeros(tf.stack([1, draws, tf.shape(clicks)[0]]))
    else:
        _, log_weights, seen = page.condition(density, tau, clicks, impressions, smooth=smooth)
    return Predictive(seen, log_weights, tf.fill([draws], -math.log(draws)), present)
