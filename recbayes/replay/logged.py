"""Logged decisions played again: a policy is told of a logged event with the probability that makes what it is told its own.

An event holds a context x, the arm a that was shown, its propensity p and its reward. Where the policy shows a with probability f, it is
accepted with probability

    f p_min / p,   p_min the smallest propensity of the log

and what is accepted is distributed as if the policy had chosen: over a drawn by p, an arm a is accepted with p f p_min / p = f p_min, so an
event is accepted with p_min whatever the policy and the context. Uniform propensities make it f: replay (Li et al. 2011). Weighting takes
every event with weight f / p instead: more is learnt of the log, and the learner knows more than it would have.

What is not accepted is not seen: the policy stands still. Clicks are counted a decision, over the decisions that were accepted.

Source: Li, Chu, Langford and Wang 2011, arXiv:1003.5956; Dudik, Erhan, Langford and Li 2014, arXiv:1503.02834 (with propensities); Mary,
Preux and Nicol 2014, Improving offline evaluation of contextual bandit algorithms via bootstrapping techniques (resampling the log).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from recbayes.log import Log
from recbayes.replay import stream
from recbayes.replay.classification import WIDEST, encoded
from recbayes.replay.delay import delay_of
from recbayes.replay.faults import check
from recbayes.replay.stream import StreamWorld
from recbayes.replay.world import NOTHING, Feedback, Offer, Rules, Scene
from recbayes.types import Array, Tensor, UserError

EARNS = ("clicks", "decisions", "expected_clicks", "squared_clicks", "squared_weights", "uniform_clicks", "uniform_decisions")


class Logged(NamedTuple):
    """Events, in the order they are passed.

    arm: int32 [N]; reward, propensity: float32 [N]; candidates: bool [N, A], or [1, A] where they are all the same; context: float32
    [N, C]; features: of the arms, float32 [A, D]; smallest: propensity, []; first, size: row and number of rows of each cluster, which are
    drawn together, int32 [K], empty where rows stand alone.
    """

    arm: Tensor
    reward: Tensor
    propensity: Tensor
    candidates: Tensor
    context: Tensor
    features: Tensor
    smallest: Tensor
    first: Tensor
    size: Tensor


def events_of(kind: str, log: Log, context: Sequence[str] | None, item_features: Sequence[str]) -> tuple[Logged, tuple[str, ...]]:
    """The log's events and the names of its arms; propensities 0 where it has none.

    Raises: UserError if rows are not single decisions about an item, or a column does not serve.
    """
    columns = log.columns
    faults = [
        (columns.item is None, f"{log.source} has no item column, so nothing says what was shown. Name it (columns.item)"),
        (
            columns.clicks is not None and not log.is_events and bool((np.asarray(log.impressions) != 1).any()),
            f"{log.source} holds counts, and this world needs a row a decision; counts of randomised arms fit the queue world",
        ),
    ]
    check(kind, faults)
    frame = log.to_pandas()
    named = [name for name in columns.features if name != columns.item and name not in item_features] if context is None else list(context)
    items = frame[columns.item]
    known = _candidates(log)
    names = sorted(set(items) | {name for row in known or () for name in row}, key=str)
    place = {name: number for number, name in enumerate(names)}
    arm = items.map(place).to_numpy(np.int32)
    if known is None:
        candidates = np.ones((1, len(names)), bool)
    else:
        candidates = np.zeros((len(log), len(names)), bool)
        for row, offered in enumerate(known):
            candidates[row, [place[name] for name in offered]] = True
        outside = ~candidates[np.arange(len(log)), arm]
        if outside.any():
            raise UserError(
                f"{kind}: row {np.flatnonzero(outside)[0]} shows an item that is not among its candidates ({outside.sum():,} rows do)"
            )
    first = frame.drop_duplicates(columns.item).set_index(columns.item).reindex(names)
    propensity = np.zeros(len(log)) if log.propensity is None else np.asarray(log.propensity)
    reward = log.reward if columns.clicks is None else log.clicks
    parts = (_encoded(kind, log, frame, named), _encoded(kind, log, first, list(item_features)))
    smallest = np.float32(propensity.min())
    alone = np.zeros(0, np.int32)
    return Logged(arm, np.float32(reward), np.float32(propensity), candidates, *parts, smallest, alone, alone), tuple(map(str, names))


def logged_world(
    kind: str, log: Log, data: Logged, names: tuple[str, ...], *, weigh: bool, order: str, events: int | None, batch: int, delay: Any
) -> StreamWorld:
    """The world of checked events."""
    number = len(data.arm) if events is None else events
    faults = [
        (order not in ("logged", "resampled"), f"order is {order!r}, must be logged or resampled"),
        (order == "logged" and number > len(data.arm), f"events is {number:,}, the log has {len(data.arm):,}: fewer, or order: resampled"),
    ]
    clicks_only = bool(np.isin(data.reward, (0.0, 1.0)).all())
    check(kind, [*faults, *stream.stream_faults(number, batch, delay, clicks_only=clicks_only)])
    if order == "logged" and log.time is not None:
        data = _moved(data, np.argsort(log.time, kind="stable"))
    clusters, together = log.clusters
    if order == "resampled" and together < len(log):
        rows = np.bincount(clusters).astype(np.int32)
        first = (np.cumsum(rows) - rows).astype(np.int32)
        data = _moved(data, np.argsort(clusters, kind="stable"))._replace(first=first, size=rows)
    size: dict[str, Any] = {"order": order, "events": number, "batch": batch}
    widths, draws = (data.context.shape[1], data.features.shape[1]), -(-number // int(data.size.min(initial=number)))
    key = ("logged", weigh, *size.values(), *widths, len(names), len(data.candidates) == 1, len(data.size) > 0, draws)
    begin = partial(start, events=number, draws=draws)
    rules = Rules(key, True, EARNS, begin, partial(offer, weigh=weigh, **size), partial(answer, weigh=weigh, **size))
    notes = {
        "source": log.source,
        "order": order,
        "logged_events": len(data.arm),
        "expected_share_matched": 1.0 if weigh else float(data.smallest),
    }
    return StreamWorld(kind, names, number, batch, delay_of(delay), *widths, clicks_only, data, rules, notes, order)


def start(scene: Scene, seeds: Tensor, *, events: int, draws: int) -> Any:
    """Where clusters are drawn together, the rows of each replica in turn, int32 [R, events]: whole clusters, with replacement."""
    first, size = scene.data.first, scene.data.size
    if not size.shape[0]:
        return NOTHING
    drawn = tf.cast(stream.luck(seeds, tf.range(draws), 2)[0] * size.shape[0], tf.int32)  # [R, M]
    drawn = tf.minimum(drawn, size.shape[0] - 1)
    sizes = tf.gather(size, drawn)
    ends = tf.minimum(tf.cumsum(tf.cast(sizes, tf.int64), -1), tf.int32.max)
    ends = tf.cast(ends, tf.int32)
    replica = tf.broadcast_to(tf.range(seeds.shape[0])[:, None], ends.shape)
    new = tf.scatter_nd(tf.stack([replica, tf.minimum(ends, events)], -1), tf.ones_like(ends), [seeds.shape[0], events + 1])
    turn = tf.cumsum(new, -1)[:, :events]  # which draw a place belongs to
    begun, row = (tf.gather(values, turn, batch_dims=1) for values in (ends - sizes, tf.gather(first, drawn)))
    return row + tf.range(events) - begun


def offer(scene: Scene, state: Any, seeds: Tensor, t: Tensor, *, weigh: bool, order: str, events: int, batch: int) -> Offer:
    """What could be shown at the next logged events; the clock counts those that are expected to be the policy's own."""
    data, replicas = scene.data, seeds.shape[0]
    row = _rows(scene, state, seeds, t, order, events, batch)
    arms = scene.data.candidates.shape[1]
    candidates = tf.ones([replicas, batch, arms], tf.bool) if data.candidates.shape[0] == 1 else tf.gather(data.candidates, row)
    context = tf.gather(data.context, row) if data.context.shape[1] else NOTHING
    features = tf.broadcast_to(data.features, [replicas, batch, *data.features.shape]) if data.features.shape[1] else NOTHING
    clock = stream.clock(t, replicas, batch, events, 1.0 if weigh else data.smallest)
    return Offer(candidates, clock, context, features)


def answer(
    scene: Scene,
    state: Any,
    offer: Offer,
    probabilities: Tensor,
    seeds: Tensor,
    t: Tensor,
    *,
    weigh: bool,
    order: str,
    events: int,
    batch: int,
) -> tuple[Any, Feedback, dict[str, Tensor]]:
    """The events that count for the policy, whole or by weight, and what uniform's share of them is."""
    places, there = stream.places(t, batch, events)
    row = _rows(scene, state, seeds, t, order, events, batch)
    arm, reward, propensity = (tf.gather(values, row) for values in scene.data[:3])
    ratio = stream.at(tf.cast(probabilities, tf.float32), arm) / propensity
    accepted = tf.cast(stream.luck(seeds, places, 2)[1], tf.float32) < ratio * scene.data.smallest
    weight = ratio if weigh else tf.cast(accepted, tf.float32)
    weight = tf.where(there, weight, 0.0)
    offered = tf.reduce_sum(tf.cast(offer.candidates, tf.float32), -1)
    uniform = 1.0 / (offered * propensity)
    earned = {
        "clicks": weight * reward,
        "decisions": weight,
        "expected_clicks": weight * reward,
        "squared_clicks": tf.square(weight * reward),
        "squared_weights": tf.square(weight),
        "uniform_clicks": uniform * reward,
        "uniform_decisions": uniform,
    }
    features = tf.gather(scene.data.features, arm) if scene.data.features.shape[1] else NOTHING
    feedback = stream.told(arm, reward, weight, probabilities.shape[-1], offer.context, features)
    return state, feedback, stream.summed(there, earned)


def _moved(data: Logged, order: Array) -> Logged:
    """The events in another order."""
    moved = ["arm", "reward", "propensity", "context", *["candidates"] * (len(data.candidates) > 1)]
    return data._replace(**{name: getattr(data, name)[order] for name in moved})


def _rows(scene: Scene, state: Any, seeds: Tensor, t: Tensor, order: str, events: int, batch: int) -> Tensor:
    """Rows of the step's events, int32 [R, B]."""
    number = scene.data.arm.shape[0]
    places, _ = stream.places(t, batch, events)
    if state is not NOTHING:
        return tf.gather(state, tf.minimum(places, events - 1), axis=1)
    if order == "logged":
        return tf.broadcast_to(tf.minimum(places, number - 1), [seeds.shape[0], batch])
    return tf.minimum(tf.cast(stream.luck(seeds, places, 2)[0] * number, tf.int32), number - 1)


def _candidates(log: Log) -> list[Any] | None:
    """What could have been shown in each row, if the log says."""
    return None if log.columns.candidates is None else log.column(log.columns.candidates).to_pylist()


def _encoded(kind: str, log: Log, frame: pd.DataFrame, names: list[str]) -> Array:
    """Columns as numbers, float32 [N, C]."""
    missing = [name for name in names if name not in frame]
    if missing:
        raise UserError(f"{kind}: {log.source} was read without {', '.join(missing)}: name them among the log's features")
    if not names:
        return np.zeros((len(frame), 0), np.float32)
    part = frame[names]
    if part.isna().any().any():
        hole = part.columns[part.isna().any()][0]
        raise UserError(f"{kind}: {hole} of {log.source} has {part[hole].isna().sum():,} holes: fill them, or leave the column out")
    if lists := [name for name in names if np.ndim(part[name].iloc[0])]:
        raise UserError(
            f"{kind}: {lists[0]} of {log.source} holds lists, and a context is of numbers and words. Name the columns as context"
        )
    words = [name for name in names if not pd.api.types.is_numeric_dtype(part[name])]
    width = len(names) - len(words) + sum(part[name].nunique() for name in words)
    if width > WIDEST:
        raise UserError(f"{kind}: {', '.join(words)} make a context of {width:,} numbers, at most {WIDEST:,} are taken. Name fewer columns")
    return encoded(part)
