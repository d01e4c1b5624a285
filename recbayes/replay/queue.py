"""The queue world: a randomised experiment replayed, each arm's real outcomes drawn without replacement.

An arm that was shown r times at random and clicked c times is a queue of r outcomes in random order; showing it k times takes the next
k, a hypergeometric number of clicks. A group's horizon is a share of its smallest arm's impressions, so that no queue runs dry
whatever a policy does, and the expected clicks of every policy are those it would have had, given independent clicks.
All groups move in step: at step t each takes the batch of decisions that brings it to (t + 1) / steps of its horizon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.log import Log
from recbayes.log.counts import equal_rows
from recbayes.replay import layout, outcomes
from recbayes.replay.arms import first_of_each, item_codes, one_row_each, smallest_of_each
from recbayes.replay.delay import Late, delay_fault, delay_of, says
from recbayes.replay.faults import check
from recbayes.replay.layout import Block, blocks
from recbayes.replay.world import Feedback, Offer, Part, Rules, Scene
from recbayes.types import Array, Tensor, UserError


class QueueWorld(NamedTuple):
    """Groups of competing arms and their real outcomes. Built by `queue`.

    kind: the function that built it; rows: a log with one row an arm, [N]; clicks, impressions: of the arms, int64 [N]; segments: the
    arms' groups, int32 [N]; items: number of each arm's item, equal for an item that is in several groups, int32 [N]; horizon:
    decisions of each group, int64 [G]; clusters: groups that are resampled together, int32 [G]; steps: updates; delay: in steps, from a
    decision to its feedback; left_out: groups that are not replayed, by reason.
    """

    kind: str
    rows: Log
    clicks: Array
    impressions: Array
    segments: Array
    items: Array
    horizon: Array
    clusters: Array
    steps: int
    delay: int | Late
    left_out: Mapping[str, int]

    @property
    def groups(self) -> int:
        """Number of groups that are replayed."""
        return len(self.horizon)

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
        """Outcomes are drawn anew in each replica, and intervals are over groups."""
        return ""

    @property
    def clicks_only(self) -> bool:
        """Rewards are clicks."""
        return True

    @property
    def rules(self) -> Rules:
        """Groups in step, the same offer to all replicas."""
        return Rules(("queue", self.steps), False, ("expected_clicks", "clicks"), start, partial(offer, steps=self.steps), answer)

    @property
    def uniform_rate(self) -> Array:
        """Clicks a decision of the uniform policy in each group, exactly: the mean of the arms' click rates, [G]."""
        rates = self.clicks / self.impressions
        return np.bincount(self.segments, rates) / np.bincount(self.segments)

    def parts(self, *, together: bool = False, played: int = 0) -> list[Part]:
        """Blocks of groups of similar size."""
        return [self._part(block) for block in blocks(self.segments, together=together, played=played)]

    def decisions(self, step: int | Array) -> Array:
        """Decisions of each group before a step, int64 [..., G]: steps share the horizon evenly, to one decision."""
        return np.asarray(layout.before(np.asarray(step)[..., None], self.horizon, self.steps))

    def about(self) -> dict[str, Any]:
        """Groups, arms and decisions, and what is left out."""
        return {
            "groups": self.groups,
            "groups_left_out": int(sum(self.left_out.values())),
            "left_out": dict(self.left_out),
            "arms": len(self.clicks),
            "decisions": int(self.horizon.sum()),
        }

    def _part(self, block: Block) -> Part:
        arms = len(self.clicks)
        data = Queues(
            arm_ids=block.arms(np.arange(arms, dtype=np.int32)),
            group_ids=block.of_groups(np.arange(arms, arms + self.groups, dtype=np.int32)),
            clicks=block.counts(self.clicks),
            impressions=block.counts(self.impressions),
            horizon=block.of_groups(self.horizon),
        )
        return Part(Scene(block.present, data), block.groups, block.arms)

    def _repr_html_(self) -> str:
        aside = "; ".join(f"{count:,} left out: {reason}" for reason, count in self.left_out.items() if count)
        return (
            f"<p><b>{self.kind}</b>: {self.groups:,} groups, {len(self.clicks):,} arms, {self.horizon.sum():,} decisions in {self.steps}"
            f" updates{says(self.delay)}. {aside}</p>"
        )


class Queues(NamedTuple):
    """A block's data.

    arm_ids: int32 [A, G], group_ids: int32 [G], what their random numbers are keyed by; clicks, impressions: float64 [A, G], 0 in
    padding; horizon: int64 [G], 0 in padding.
    """

    arm_ids: Tensor
    group_ids: Tensor
    clicks: Tensor
    impressions: Tensor
    horizon: Tensor


def queue(
    log: Log,
    *,
    steps: int = 100,
    delay: int | Mapping[str, float | str | Sequence[float]] = 0,
    horizon: float = 1.0,
    distinct: Sequence[str] | None = None,
) -> QueueWorld:
    """A world from randomised experiments with counts or events.

    An arm is an item of a group, or a row where the log has no items; its rows are summed, and its features are those of its first row.
    Groups with one arm, groups whose arms all agree in the `distinct` columns (A/A tests) and groups with an arm that was hardly shown are
    left out, and counted.

    Args:
      log: rows to replay, with a group column.
      steps: updates; each group's horizon is cut into so many batches.
      delay: steps from a batch to its feedback, 0: known before the next batch; or their distribution (`replay/delay.py`).
      horizon: share of the smallest arm's impressions that are played, in (0, 1].
      distinct: columns in which arms must differ; by default all features of the log, without any the item.

    Returns: the world.
    Raises: UserError if a setting is out of range or no group is left, with the reasons.

    >>> from recbayes.log import read_log
    >>> roles = {"item": "source_row", "group": "clickability_test_id", "time": "test_created_at"}
    >>> log = read_log("example:upworthy", clicks="clicks", impressions="impressions", features=["headline", "eyecatcher_id"], **roles)
    >>> world = queue(log.split(by="time", test_fraction=0.2)[1], steps=100)
    >>> world.groups, len(world.clicks), world.left_out["all arms alike"]
    (638, 3268, 142)
    """
    _check(log, steps, delay, horizon)
    arms = one_row_each(log.counts())
    segments, groups = arms.segments
    columns = list(distinct) if distinct is not None else list(arms.columns.features) or [name for name in (arms.columns.item,) if name]
    length = np.floor(horizon * smallest_of_each(arms.impressions, segments, groups)).astype(np.int64)
    several = np.bincount(segments, minlength=groups) > 1
    differ = _differ(arms, columns, segments, groups) if columns else several  # rows of which nothing is known are arms of their own
    left_out = {
        "one arm": int((~several).sum()),
        "all arms alike": int((several & ~differ).sum()),
        "an arm hardly shown": int((several & differ & (length < 1)).sum()),
    }
    kept = several & differ & (length >= 1)
    if not kept.any():
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in left_out.items() if count)
        raise UserError(
            f"queue: no group of {log.source} has two arms to choose from ({groups:,} groups: {reasons}). Name the column of rows that"
            f" compete as the log's group, and the columns in which arms must differ as distinct (now {', '.join(columns) or 'none'})."
        )
    rows = arms.take(kept[segments])
    segments = (np.cumsum(kept) - 1)[segments[kept[segments]]].astype(np.int32)
    return QueueWorld(
        kind="queue",
        rows=rows,
        clicks=rows.clicks,
        impressions=rows.impressions,
        segments=segments,
        items=item_codes(rows),
        horizon=length[kept],
        clusters=first_of_each(rows.clusters[0], segments),
        steps=steps,
        delay=delay_of(delay),
        left_out=left_out,
    )


def start(scene: Scene, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Clicks and impressions that each arm has left, [R, A, G]."""
    clicks, impressions = (tf.tile(values[None], [seeds.shape[0], 1, 1]) for values in (scene.data.clicks, scene.data.impressions))
    return clicks, impressions


def offer(scene: Scene, state: tuple[Tensor, Tensor], seeds: Tensor, t: Tensor, *, steps: int) -> Offer:
    """All arms of a group, for the group's next batch."""
    return Offer(tf.transpose(scene.present), layout.clock(t, scene.data.horizon, steps))


def answer(
    scene: Scene, state: tuple[Tensor, Tensor], offer: Offer, probabilities: Tensor, seeds: Tensor, t: Tensor
) -> tuple[tuple[Tensor, Tensor], Feedback, dict[str, Tensor]]:
    """The batch shared out, and its clicks drawn from what is left; keyed by (replica, arm, step), so that policies meet the same luck."""
    clicks_left, impressions_left = state
    shares = tf.transpose(probabilities, [0, 2, 1])  # [R, A, G]
    shown = outcomes.showings(shares, offer.clock.batch, outcomes.uniforms(seeds[:, None], scene.data.group_ids, t))
    luck = outcomes.uniforms(seeds[:, None, None], scene.data.arm_ids, t)
    clicks = outcomes.clicks(luck, shown, clicks_left, impressions_left)
    expected = tf.reduce_sum(shown * clicks_left / tf.maximum(impressions_left, 1.0), 1)  # [R, G]
    earned = {"expected_clicks": expected, "clicks": tf.reduce_sum(clicks, 1)}
    return (clicks_left - clicks, impressions_left - shown), Feedback(shown, clicks), earned


def _check(log: Log, steps: int, delay: Any, horizon: float) -> None:
    if log.columns.group is None:
        raise UserError(f"queue: {log.source} has no group column, so nothing says which rows compete. Name it (columns.group).")
    faults = [
        (steps < 1, f"steps is {steps}, must be at least 1"),
        delay_fault(delay),
        (not horizon > 0.0, f"horizon is {horizon}, must be a share in (0, 1] of the smallest arm's impressions"),
        (
            horizon > 1.0,
            f"horizon is {horizon}, longer than the queues: a policy that likes the smallest arm would run out of its real outcomes. Play"
            f" at most 1.0, or a twin of the log, whose outcomes never run out: {{kind: twin, horizon: {horizon}}}, rb.twin(log, fitted)",
        ),
    ]
    check("queue", faults)


def _differ(log: Log, columns: Sequence[str], segments: Array, groups: int) -> Array:
    """Whether a group's arms differ in one of the columns, bool [G]."""
    differ = np.zeros(groups, bool)
    for name in columns:
        codes = equal_rows(log.table.select([name]), [name])[0]
        first = first_of_each(codes, segments)
        np.logical_or.at(differ, segments, codes != first[segments])
    return differ
