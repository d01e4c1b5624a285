"""The twin world: the user's own pages and items, with true click rates drawn from the density fitted to their log.

For each of T truths one weight draw s, one effect u a group, one click rate an arm:

    p_a ~ density(x_a; w_s) shifted by u_g on the logit,  u_g ~ N(0, tau^2)

A replica lives in one of the truths. From then on time passes as the settings say: arms arrive after the start, the odds of each halve with
its age (`half_life`), rates drift as random walks of their logits, feedback comes late. The optimum is known, so regret is exact, and
outcomes never run out, so that a horizon may be longer than any log. What it assumes: that the fitted density is right. A learner that
starts from the same density is told the truth's own law: its lift here is what it would be if the model were right, no evidence that
it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes import random
from recbayes.log import Log
from recbayes.replay import layout, outcomes
from recbayes.replay.arms import first_of_each, item_codes, one_row_each, smallest_of_each
from recbayes.replay.delay import Late, delay_fault, delay_of, says
from recbayes.replay.faults import check
from recbayes.replay.layout import Block, blocks
from recbayes.replay.world import Feedback, Offer, Part, Rules, Scene
from recbayes.types import Array, Tensor, UserError

EARNS = ("expected_clicks", "clicks", "regret", "uniform_regret", "uniform_clicks")


class TwinWorld(NamedTuple):
    """Groups of competing arms with known click rates. Built by `twin`.

    kind: the function that built it; rows: a log with one row an arm, [N]; logits: of the true click rates at the start, [T, N]; segments:
    the arms' groups, int32 [N]; items: number of each arm's item, int32 [N]; arrivals: step from which an arm may be shown, int32 [N];
    horizon: decisions of each group, int64 [G]; clusters: groups that are resampled together, int32 [G]; steps: updates; delay: in steps;
    half_life: of an arm's odds, in horizons, 0 is for ever; drift: standard deviation of a logit's walk over the horizon; left_out: groups
    that are not played, by reason.
    """

    kind: str
    rows: Log
    logits: Array
    segments: Array
    items: Array
    arrivals: Array
    horizon: Array
    clusters: Array
    steps: int
    delay: int | Late
    half_life: float
    drift: float
    left_out: Mapping[str, int]

    @property
    def names(self) -> Array:
        """Each arm's item in the log, or its number, [N]."""
        return self.items if self.rows.item is None else self.rows.item

    @property
    def context_width(self) -> int:
        """A group's arms are known by their rows; decisions have no context of their own."""
        return 0

    @property
    def feature_width(self) -> int:
        """Arms are known by their rows."""
        return 0

    @property
    def log_order(self) -> str:
        """Each replica lives in a truth."""
        return ""

    @property
    def clicks_only(self) -> bool:
        """Rewards are clicks."""
        return True

    @property
    def uniform_rate(self) -> None:
        """A replica's truth decides what uniform earns: it is played."""
        return None

    @property
    def rules(self) -> Rules:
        """Groups in step, the same offer to all replicas; truths, ages and drift are numbers that programs share."""
        return Rules(("twin", self.steps, self.drift > 0.0), False, EARNS, start, partial(offer, steps=self.steps), self._answer)

    @property
    def _answer(self) -> Any:
        return partial(answer, drifts=self.drift > 0.0)

    def parts(self, *, together: bool = False, played: int = 0) -> list[Part]:
        """Blocks of groups of similar size."""
        return [self._part(block) for block in blocks(self.segments, together=together, played=played)]

    def decisions(self, step: int | Array) -> Array:
        """Decisions of each group before a step, int64 [..., G]: steps share the horizon evenly, to one decision."""
        return np.asarray(layout.before(np.asarray(step)[..., None], self.horizon, self.steps))

    def about(self) -> dict[str, Any]:
        """Groups, arms and decisions, and how time passes."""
        return {
            "groups": len(self.horizon),
            "groups_left_out": int(sum(self.left_out.values())),
            "left_out": dict(self.left_out),
            "arms": len(self.segments),
            "decisions": int(self.horizon.sum()),
            "truths": len(self.logits),
            "late_arms": int((self.arrivals > 0).sum()),
            "half_life": self.half_life,
            "drift": self.drift,
        }

    def _part(self, block: Block) -> Part:
        arms, groups = len(self.segments), len(self.horizon)
        data = Truths(
            arm_ids=block.arms(np.arange(arms, dtype=np.int32)),
            group_ids=block.of_groups(np.arange(arms, arms + groups, dtype=np.int32)),
            walk_ids=block.arms(np.arange(arms + groups + 1, 2 * arms + groups + 1, dtype=np.int32)),
            truth_id=np.int32(arms + groups),
            logits=np.stack([block.arms(truth) for truth in self.logits]).astype(np.float64),
            arrivals=block.arms(self.arrivals),
            horizon=block.of_groups(self.horizon),
            ageing=np.float64(np.log(2.0) / self.half_life / self.steps if self.half_life else 0.0),
            stride=np.float64(self.drift / np.sqrt(self.steps)),
        )
        return Part(Scene(block.present, data), block.groups, block.arms)

    def _repr_html_(self) -> str:
        return (
            f"<p><b>{self.kind}</b>: {len(self.horizon):,} groups, {len(self.segments):,} arms with {len(self.logits)} sets of true click"
            f" rates, {self.horizon.sum():,} decisions in {self.steps} updates{says(self.delay)}</p>"
        )


class Truths(NamedTuple):
    """A block's data.

    arm_ids, walk_ids: int32 [A, G], group_ids: int32 [G], truth_id: int32 [], what their random numbers are keyed by; logits: float64
    [T, A, G]; arrivals: int32 [A, G]; horizon: int64 [G], 0 in padding; ageing: fall of a logit a step of age; stride: standard
    deviation of a logit's walk a step.
    """

    arm_ids: Tensor
    group_ids: Tensor
    walk_ids: Tensor
    truth_id: Tensor
    logits: Tensor
    arrivals: Tensor
    horizon: Tensor
    ageing: Tensor
    stride: Tensor


def twin(
    log: Log,
    fitted: Any,
    *,
    steps: int = 100,
    delay: int | Mapping[str, float | str | Sequence[float]] = 0,
    horizon: float = 1.0,
    decisions: int | None = None,
    arrivals: float = 0.0,
    half_life: float = 0.0,
    drift: float = 0.0,
    truths: int = 64,
    seed: int = 0,
) -> TwinWorld:
    """A world like the log's, in which the truth is known.

    Args:
      log: rows whose groups and items are played. Without a group column all items compete with each other.
      fitted: a model with `densities(log, draws=, seed=)` and `group_effect`; the truth is drawn from it.
      steps: updates; each group's horizon is cut into so many batches.
      delay: steps from a batch to its feedback, 0: known before the next batch; or their distribution (`replay/delay.py`).
      horizon: decisions of a group, as a multiple of its smallest arm's impressions in the log; 1 is as long as the queue world's.
      decisions: of each group, in place of the horizon.
      arrivals: share of the arms (of a group's third and later ones) that come after the start, at any step alike.
      half_life: time in which an arm's odds of a click halve, as a share of the horizon, counted from its arrival; 0: they stay.
      drift: standard deviation over the horizon of the random walk of each logit.
      truths: sets of click rates drawn; a replica lives in one of them.
      seed: of truths and arrivals.

    Returns: the world.
    Raises: UserError if a setting is out of range, or no group has two arms.

    >>> twin(None, None, arrivals=2.0)
    Traceback (most recent call last):
    recbayes.types.UserError: twin: arrivals is 2.0, must be a share in [0, 1]
    """
    _check(steps, delay, horizon, decisions, arrivals, half_life, drift, truths)
    rows = one_row_each(log.counts())
    segments, groups = rows.segments if rows.columns.group is not None else (np.zeros(len(rows), np.int32), 1)
    several = np.bincount(segments, minlength=groups) > 1
    shown = np.full(groups, decisions) if decisions is not None else horizon * smallest_of_each(rows.impressions, segments, groups)
    length = np.floor(shown).astype(np.int64)
    left_out = {"one arm": int((~several).sum()), "an arm hardly shown": int((several & (length < 1)).sum())}
    kept = several & (length >= 1)
    if not kept.any():
        raise UserError(
            f"twin: no group of {log.source} has two arms and a decision to play ({left_out['one arm']:,} groups with one arm,"
            f" {left_out['an arm hardly shown']:,} with an arm hardly shown). Name the column of rows that compete as the log's group, or"
            " leave it out so that all compete; give the decisions of a group (decisions) where impressions are few."
        )
    rows = rows.take(kept[segments])
    segments = (np.cumsum(kept) - 1)[segments[kept[segments]]].astype(np.int32)
    return TwinWorld(
        kind="twin",
        rows=rows,
        logits=drawn(rows, segments, fitted, truths, seed),
        segments=segments,
        items=item_codes(rows),
        arrivals=arriving(segments, arrivals, steps, seed),
        horizon=length[kept],
        clusters=first_of_each(rows.clusters[0], segments) if rows.columns.group is not None else np.zeros(1, np.int32),
        steps=steps,
        delay=delay_of(delay),
        half_life=half_life,
        drift=drift,
        left_out=left_out,
    )


def drawn(rows: Log, segments: Array, fitted: Any, truths: int, seed: int) -> Array:
    """Logits of click rates drawn from the fitted density, float64 [T, N]: a weight draw, an effect a group, a rate an arm."""
    effect, draw = tf.unstack(random.split([seed, 0x7117], 2))
    density = fitted.densities(rows, draws=truths, seed=seed)  # leaves [S, N, K]
    of = np.arange(truths) % density.mean.shape[0]  # a posterior that keeps few draws repeats them
    density = tf.nest.map_structure(lambda leaf: tf.gather(leaf, of, axis=0), density)
    if fitted.group_effect is not None:
        u = fitted.group_effect.tau * random.normal(effect, [truths, int(segments.max()) + 1])
        density = density.shift(tf.gather(u, segments, axis=1))
    rates = np.clip(density.sample(draw).numpy().astype(np.float64), 1e-7, 1.0 - 1e-7)
    return np.log(rates) - np.log1p(-rates)


def arriving(segments: Array, share: float, steps: int, seed: int) -> Array:
    """Step of each arm's arrival, int32 [N]: 0 for the first two of a group, and for the others but a share."""
    late, when = random.uniform([seed, 0x0A11], [2, len(segments)]).numpy()
    order = np.argsort(segments, kind="stable")
    rank = np.empty(len(segments), np.int64)
    first = np.cumsum(np.bincount(segments)) - np.bincount(segments)
    rank[order] = np.arange(len(segments)) - first[segments[order]]
    return np.where((rank >= 2) & (late < share), 1 + np.floor(when * (steps - 1)), 0).astype(np.int32)


def start(scene: Scene, seeds: Tensor) -> Tensor:
    """Logits of the replicas' truths, [R, A, G]."""
    truths = scene.data.logits.shape[0]
    u = outcomes.uniforms(seeds, scene.data.truth_id, tf.constant(0))  # [R]
    return tf.gather(scene.data.logits, tf.cast(tf.floor(u * truths), tf.int32))


def offer(scene: Scene, state: Tensor, seeds: Tensor, t: Tensor, *, steps: int) -> Offer:
    """The arms of a group that are there, for the group's next batch."""
    return Offer(tf.transpose(scene.present & (scene.data.arrivals <= t)), layout.clock(t, scene.data.horizon, steps))


def answer(
    scene: Scene, state: Tensor, offer: Offer, probabilities: Tensor, seeds: Tensor, t: Tensor, *, drifts: bool
) -> tuple[Tensor, Feedback, dict[str, Tensor]]:
    """The batch shared out, its clicks drawn, and what the best and the uniform choice would have earned; keyed by (replica, arm, step)."""
    data, batch = scene.data, tf.cast(offer.clock.batch, tf.float64)
    here = tf.transpose(offer.candidates)  # [A, G]
    age = tf.cast(tf.maximum(t - data.arrivals, 0), tf.float64)
    rates = tf.where(here, tf.sigmoid(state - data.ageing * age), 0.0)  # [R, A, G]
    shares = tf.transpose(probabilities, [0, 2, 1])
    shown = outcomes.showings(shares, offer.clock.batch, outcomes.uniforms(seeds[:, None], data.group_ids, t))
    clicks = outcomes.binomials(outcomes.uniforms(seeds[:, None, None], data.arm_ids, t), shown, rates)
    expected = tf.reduce_sum(shown * rates, 1)  # [R, G]
    number = tf.maximum(tf.reduce_sum(tf.cast(here, tf.float64), 0), 1.0)
    best, uniform = batch * tf.reduce_max(rates, 1), batch * tf.reduce_sum(rates, 1) / number
    earned = {
        "expected_clicks": expected,
        "clicks": tf.reduce_sum(clicks, 1),
        "regret": best - expected,
        "uniform_regret": best - uniform,
        "uniform_clicks": uniform,
    }
    if drifts:
        state += data.stride * tf.math.ndtri(outcomes.uniforms(seeds[:, None, None], data.walk_ids, t))
    return state, Feedback(shown, clicks), earned


def _check(
    steps: int,
    delay: Any,
    horizon: float,
    decisions: int | None,
    arrivals: float,
    half_life: float,
    drift: float,
    truths: int,
) -> None:
    faults = [
        (steps < 1, f"steps is {steps}, must be at least 1"),
        delay_fault(delay),
        (not horizon > 0.0, f"horizon is {horizon}, must be above 0: a multiple of the smallest arm's impressions"),
        (decisions is not None and decisions < 1, f"decisions is {decisions}, must be at least 1"),
        (not 0.0 <= arrivals <= 1.0, f"arrivals is {arrivals}, must be a share in [0, 1]"),
        (not half_life >= 0.0, f"half_life is {half_life}, must be at least 0 (0: odds stay)"),
        (not drift >= 0.0, f"drift is {drift}, must be at least 0"),
        (truths < 1, f"truths is {truths}, must be at least 1"),
    ]
    check("twin", faults)
