"""Classification as a bandit: a row's label is the arm that pays; a policy sees the pay of the arm it shows, not the label.

Every table with a column of labels makes a world whose optimum is known. `payoffs` says what an arm pays for a label where right is 1 and
wrong is 0 does not: eating an edible mushroom pays 5, a poisonous one 5 or -35 with equal chances, passing 0 (the mushroom bandit).

Source: Riquelme, Tucker and Snoek 2018, arXiv:1802.09127; Dudik, Langford and Li 2011, arXiv:1103.4601 (labels as bandit feedback).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from recbayes.replay import stream
from recbayes.replay.delay import delay_of
from recbayes.replay.faults import check
from recbayes.replay.stream import StreamWorld
from recbayes.replay.world import Feedback, Offer, Rules, Scene
from recbayes.types import Array, Tensor, UserError

WIDEST = 2000
"""Numbers that words may make in a context."""


class Rows(NamedTuple):
    """contexts: float32 [N, C]; labels: int32 [N]; pays: of an arm for a label, in one half of all cases and in the other, [2, L, A]."""

    contexts: Tensor
    labels: Tensor
    pays: Tensor


def classification(
    table: Any,
    *,
    label: str,
    features: Sequence[str] = (),
    payoffs: Mapping[str, Mapping[Any, Any]] | None = None,
    order: Literal["drawn", "shuffled"] = "drawn",
    events: int = 2000,
    batch: int = 1,
    delay: int | Mapping[str, float | str | Sequence[float]] = 0,
) -> StreamWorld:
    """A world from a table of labelled rows.

    Args:
      table: a DataFrame, or the path of a Parquet or CSV file.
      label: its column of labels.
      features: columns of the context; none: all others. Numbers are standardised, the rest one number a value.
      payoffs: for each arm what it pays for each label: a number, or two that are paid with equal chances. By default each label is an
        arm, and pays 1 if right.
      order: drawn with replacement, or shuffled: each row at most once.
      events: decisions.
      batch: decisions before the learner hears of them.
      delay: steps from a batch to its feedback, or their distribution (`replay/delay.py`).

    Returns: the world; its optimum is known.
    Raises: UserError if a column is not there, the table has one label or holes, or a setting is out of range.

    >>> table = pd.DataFrame({"size": [1.0, 2.0, 3.0], "colour": ["red", "blue", "red"], "edible": ["yes", "no", "yes"]})
    >>> world = classification(table, label="edible", events=10)
    >>> world.names, world.context_width
    (('no', 'yes'), 3)
    """
    source, frame = _read(table)
    clicks_only = payoffs is None
    check(
        "classification",
        [
            *_table_faults(source, frame, label, features, order, events),
            *stream.stream_faults(events, batch, delay, clicks_only=clicks_only),
        ],
    )
    codes, labels = pd.factorize(frame[label], sort=True)
    names, pays = _pays(payoffs, [plain(value) for value in labels])
    data = Rows(encoded(frame[_context(frame, label, features)]), codes.astype(np.int32), pays)
    size: dict[str, Any] = {"events": events, "batch": batch}
    key = ("classification", order, events, batch, len(names))
    rules = Rules(
        key,
        True,
        stream.OPTIMUM_KNOWN,
        partial(start, order=order),
        partial(offer, order=order, **size),
        partial(answer, order=order, **size),
    )
    notes = {"source": source, "rows": len(frame), "rewards": "clicks" if clicks_only else "numbers"}
    return StreamWorld("classification", names, events, batch, delay_of(delay), data.contexts.shape[1], 0, clicks_only, data, rules, notes)


def start(scene: Scene, seeds: Tensor, *, order: str) -> Tensor:
    """Where rows are shuffled, the order of each replica, int32 [R, N]."""
    if order == "drawn":
        return tf.zeros([seeds.shape[0], 0], tf.int32)
    return tf.argsort(stream.luck(seeds, -1 - tf.range(scene.data.labels.shape[0]), 1)[0], -1)


def offer(scene: Scene, state: Tensor, seeds: Tensor, t: Tensor, *, order: str, events: int, batch: int) -> Offer:
    """All arms, for the next rows."""
    row = _rows(scene, state, seeds, stream.places(t, batch, events)[0], order)
    candidates = tf.ones([seeds.shape[0], batch, scene.data.pays.shape[2]], tf.bool)
    return Offer(candidates, stream.clock(t, seeds.shape[0], batch, events), tf.gather(scene.data.contexts, row))


def answer(
    scene: Scene,
    state: Tensor,
    offer: Offer,
    probabilities: Tensor,
    seeds: Tensor,
    t: Tensor,
    *,
    order: str,
    events: int,
    batch: int,
) -> tuple[Tensor, Feedback, dict[str, Tensor]]:
    """What the shown arm pays for the row's label, and what each would have paid on average."""
    places, there = stream.places(t, batch, events)
    choice, coin = stream.luck(seeds, places, 3)[1:]
    label = tf.gather(scene.data.labels, _rows(scene, state, seeds, places, order))
    arm, halves = stream.drawn(probabilities, choice), tf.gather(scene.data.pays, label, axis=1)  # [2, R, B, A]
    means = tf.reduce_mean(halves, 0)
    reward = stream.at(tf.where((coin < 0.5)[..., None], halves[0], halves[1]), arm)
    weight = tf.broadcast_to(tf.cast(there, tf.float32), arm.shape)
    return (
        state,
        stream.told(arm, reward, weight, probabilities.shape[-1], offer.context),
        stream.summed(there, stream.paid(reward, means, arm)),
    )


def encoded(frame: pd.DataFrame) -> Array:
    """Contexts float32 [N, C]: numbers to mean 0 and standard deviation 1, other columns one number a value.

    >>> encoded(pd.DataFrame({"size": [1, 3], "colour": ["red", "blue"]})).tolist()
    [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    parts = []
    for name in frame:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            values = column.to_numpy(np.float64)
            parts.append(((values - values.mean()) / (values.std() or 1.0))[:, None])
        else:
            codes, words = pd.factorize(column, sort=True)
            parts.append(np.eye(len(words))[codes])
    return np.concatenate(parts, 1).astype(np.float32)


def _context(frame: pd.DataFrame, label: str, features: Sequence[str]) -> list[Any]:
    """Columns of the context."""
    return list(features) or [name for name in frame.columns if name != label]


def plain(value: Any) -> Any:
    """A label as Python's own, so that a config's keys find it."""
    return value.item() if isinstance(value, np.generic) else value


def _rows(scene: Scene, order_of: Tensor, seeds: Tensor, places: Tensor, order: str) -> Tensor:
    """Rows of the decisions, int32 [R, B]."""
    number = scene.data.labels.shape[0]
    if order == "shuffled":
        return tf.gather(order_of, tf.minimum(places, number - 1), axis=1)
    return tf.minimum(tf.cast(stream.luck(seeds, places, 3)[0] * number, tf.int32), number - 1)


def _pays(payoffs: Mapping[str, Mapping[Any, Any]] | None, labels: list[Any]) -> tuple[tuple[str, ...], Array]:
    """Names of the arms, and what they pay for each label in either half of the cases, float32 [2, L, A]."""
    if payoffs is None:
        return tuple(str(name) for name in labels), np.tile(np.eye(len(labels), dtype=np.float32), (2, 1, 1))
    faults = [(len(payoffs) < 2, f"payoffs has {len(payoffs)} arms, must have at least 2")]
    for arm, pays in payoffs.items():
        wrong = [value for value in pays.values() if not _is_pay(value)]
        faults += [
            (
                set(pays) != set(labels),
                f"payoffs.{arm} is for the labels {sorted(map(str, pays))}, the table has {sorted(map(str, labels))}",
            ),
            (bool(wrong), f"payoffs.{arm} has {wrong[:1]}, must be a finite number, or two that are paid with equal chances"),
        ]
    check("classification", faults)
    paid = [[np.broadcast_to(payoffs[arm][label], 2) for arm in payoffs] for label in labels]
    return tuple(payoffs), np.moveaxis(np.asarray(paid, np.float32), -1, 0)


def _is_pay(value: Any) -> bool:
    """Whether it is a finite number, or two."""
    numbers = np.asarray(value)
    return numbers.dtype.kind in "biuf" and numbers.shape in ((), (2,)) and bool(np.isfinite(numbers).all())


def _read(table: Any) -> tuple[str, pd.DataFrame]:
    """The table and how errors call it."""
    if isinstance(table, pd.DataFrame):
        return "the table", table
    path = Path(table)
    if not path.is_file():
        raise UserError(f"classification: {path}: no such file. Give the path of a Parquet or CSV file with a column of labels.")
    try:
        return path.name, pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"classification: {path} cannot be read as {'CSV' if path.suffix == '.csv' else 'Parquet'}: {error}") from None


def _table_faults(source: str, frame: pd.DataFrame, label: str, features: Sequence[str], order: str, events: int) -> list[tuple[bool, str]]:
    """What keeps a table from being a world."""
    missing = [name for name in (label, *features) if name not in frame]
    used = frame[[name for name in dict.fromkeys((label, *(features or frame.columns))) if name in frame]]
    holes = used.isna().sum()
    holes = holes[holes > 0]
    endless = [name for name in used if pd.api.types.is_float_dtype(used[name]) and np.isinf(used[name]).any()]
    words = [name for name in used if not pd.api.types.is_numeric_dtype(used[name]) and name != label]
    width = sum(used[name].nunique() for name in words)
    return [
        (bool(missing), f"{source} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(str, frame.columns))}"),
        (label in features, f"features names the label {label!r}"),
        (label in frame and frame[label].nunique() < 2, f"{label} of {source} has one value, so there is nothing to choose"),
        (
            len(holes) > 0,
            f"{source} has holes in {', '.join(f'{name} ({count:,})' for name, count in holes.items())}: fill them or drop the rows",
        ),
        (bool(endless), f"{source} has infinite numbers in {', '.join(map(str, endless))}: leave the column out, or drop the rows"),
        (
            width > WIDEST,
            f"{', '.join(map(str, words))} make a context of {width:,} numbers, at most {WIDEST:,} are taken. Name the features to use",
        ),
        (order not in ("drawn", "shuffled"), f"order is {order!r}, must be drawn or shuffled"),
        (order == "shuffled" and events > len(frame), f"events is {events:,}, {source} has {len(frame):,} rows: fewer, or order: drawn"),
    ]
