"""The one training loop, used by every posterior: shuffled batches of whole groups, a falling step size, checkpoints, early stopping.

Rows come from a `Feed`: memory (`Memory`), or Parquet files of any size (recbayes/streamed.py). Every random choice is a function of
(seed, epoch, step), and a checkpoint says how far into an epoch it is, so a run that was killed and resumed gives the numbers of one that
was not.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np
import tensorflow as tf

from recbayes.files import written
from recbayes.posteriors.base import Batch, Network, Posterior, Workers, any_length
from recbayes.types import Array, Tensor, UserError

_STATE = "state.npz"
Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each epoch with (epochs done, epochs in all, that epoch's figures)."""


class Rows(NamedTuple):
    """Encoded rows in memory: inputs, each [N, ...]; clicks, impressions [N]; segments int32 [N], the row's group; clusters int32 [N]."""

    inputs: dict[str, Array]
    clicks: Array
    impressions: Array
    segments: Array
    clusters: Array

    def take(self, rows: Array) -> Rows:
        """Some rows, their groups counted anew from 0 in order of first appearance."""
        _, first, segments = np.unique(self.segments[rows], return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int32)
        rank[np.argsort(first, kind="stable")] = np.arange(len(first), dtype=np.int32)
        inputs = {name: value[rows] for name, value in self.inputs.items()}
        return Rows(inputs, self.clicks[rows], self.impressions[rows], rank[segments], self.clusters[rows])


class Schedule(NamedTuple):
    """How to train.

    oov_share: groups, of each epoch, trained on once more with categories hidden; patience: epochs without a better held-out log
    likelihood before training stops.
    """

    epochs: int = 20
    batch_size: int = 512
    learning_rate: float = 0.01
    patience: int = 8
    oov_share: float = 0.1
    seed: int = 0


class Begun(NamedTuple):
    """How far an epoch has come: its feed's place, the losses and rows of its steps so far, and the seconds they took."""

    place: tuple[int, int] = (0, 0)
    losses: Sequence[Any] = ()
    sizes: Sequence[int] = ()
    seconds: float = 0.0


_NOT_BEGUN = Begun()
Keep = Callable[[Any, Begun], None]
"""Sees the state, and how far the epoch has come."""
Epoch = Callable[[Any, int, Begun, Keep], tuple[Any, dict[str, float]]]
"""(state, epoch, how far it has come, what sees states on the way) -> the state after the epoch, and the epoch's record."""


class Stepper(Workers, Protocol):
    """Several workers, and how they take the steps of a training."""

    def __call__(self, network: Network, posterior: Posterior, feed: Feed, schedule: Schedule, state: Any, checkpoint_steps: int) -> Epoch:
        """What goes through an epoch. `state` is one like those to come; at least every so many steps `keep` sees a state."""


class Feed(Protocol):
    """Rows to train on, wherever they are. A place says how far an epoch has come: (part of the feed, batches taken of it)."""

    def first(self) -> Batch:
        """A batch of any rows: only its types and shapes are looked at."""

    def epoch(self, schedule: Schedule, epoch: int, start: tuple[int, int]) -> Iterator[tuple[Batch, tuple[int, int]]]:
        """The epoch's batches from a place on, each with the place after it: a function of (schedule, epoch, start)."""

    def once(self, size: int) -> Iterator[Batch]:
        """Every row once, in batches of about `size`."""

    def corrected(self, network: Network) -> Network:
        """The network whose likelihood and rows are those of the rows that `epoch` gives."""


class Memory(NamedTuple):
    """Rows in memory. hide: (inputs, epoch) -> inputs with random categories out of vocabulary, or None."""

    rows: Rows
    hide: Callable[[dict[str, Array], int], dict[str, Array]] | None = None

    def first(self) -> Batch:
        """The first group."""
        return next(batches(self.rows, 1, np.arange(1)))

    def epoch(self, schedule: Schedule, epoch: int, start: tuple[int, int]) -> Iterator[tuple[Batch, tuple[int, int]]]:
        """All batches in random order, then the random share once more with categories hidden."""
        generator = np.random.default_rng((schedule.seed, epoch))
        order = generator.permutation(group_count(self.rows))
        share = round(schedule.oov_share * len(order)) if self.hide is not None else 0
        again = generator.permutation(group_count(self.rows))[:share]
        passes = [(self.rows, order)]
        if self.hide is not None and share:
            passes.append((self.rows._replace(inputs=self.hide(self.rows.inputs, epoch)), again))
        for number, (part, groups) in list(enumerate(passes))[start[0] :]:
            done = start[1] if number == start[0] else 0
            for taken, batch in enumerate(batches(part, schedule.batch_size, groups, done), done + 1):
                yield batch, (number, taken)

    def once(self, size: int) -> Iterator[Batch]:
        """Every row, in order."""
        return batches(self.rows, size, np.arange(group_count(self.rows)))

    def corrected(self, network: Network) -> Network:
        """The network: all rows are given."""
        return network


class Trained(NamedTuple):
    """The last state (of the best epoch where groups were held out), a record an epoch, and the best epoch's number from 1."""

    state: Any
    history: list[dict[str, float]]
    best_epoch: int


def train(
    network: Network,
    posterior: Posterior,
    rows: Rows | Feed,
    schedule: Schedule,
    *,
    hide: Callable[[dict[str, Array], int], dict[str, Array]] | None = None,
    held_out: Callable[[Any], float] | None = None,
    checkpoint: Path | None = None,
    checkpoint_steps: int = 1000,
    progress: Progress | None = None,
    finish: bool = True,
    stepper: Stepper | None = None,
) -> Trained:
    """Trains a posterior on all rows.

    Args:
      network: what the posterior is of.
      posterior: the method.
      rows: the training rows, groups whole; in memory, or a feed of them.
      schedule: epochs, batch size, step size.
      hide: (inputs of some rows, epoch) -> the same with random categories out of vocabulary; None trains on no such rows. A feed
        brings its own.
      held_out: state -> log likelihood a row of groups set aside; training stops when it does not improve for `patience` epochs.
      checkpoint: a folder that is written after each epoch and that an interrupted run goes on from.
      checkpoint_steps: within an epoch it is written after so many steps.
      progress: called after each epoch.
      finish: take the posterior's last look at all rows; not needed where only the best epoch's number is wanted.
      stepper: who takes the steps, and has a part of the last look; None: this process.

    Returns: the trained state.
    Raises: UserError if the loss, the held-out log likelihood or a weight stops being a number, or a checkpoint is damaged; Interrupted if
      one can't be written.
    """
    feed = Memory(rows, hide) if isinstance(rows, Rows) else rows
    fitting = feed.corrected(network)
    state = posterior.init(fitting, tf.constant([schedule.seed, 0], tf.int32))
    history: list[dict[str, float]] = []
    best, begun = state, _NOT_BEGUN
    if checkpoint is not None and (checkpoint / _STATE).is_file():
        state, best, history, begun = restore(checkpoint, state)
    epoch_of = (alone if stepper is None else stepper)(network, posterior, feed, schedule, state, checkpoint_steps)

    def keep(state: Any, begun: Begun) -> None:
        if checkpoint is not None and len(begun.losses) % checkpoint_steps == 0:
            save(checkpoint, state, best, history, begun)

    for epoch in range(len(history), schedule.epochs):
        if stalled(history, schedule.patience):
            break
        state, record = epoch_of(state, epoch, begun, keep)
        begun = _NOT_BEGUN
        if held_out is not None:
            record["held_out"] = must_be_number(held_out(state), "held-out log likelihood", epoch, schedule)
        history.append(record)
        best = state if best_epoch(history) == len(history) else best
        if checkpoint is not None:
            save(checkpoint, state, best, history)
        if progress is not None:
            progress(len(history), schedule.epochs, record)
    if finish:
        last = posterior.finish if stepper is None or posterior.finish_on is None else partial(posterior.finish_on, workers=stepper)
        best = last(network, best, feed.once(schedule.batch_size))
    must_be_finite(best, posterior.kind, schedule)
    return Trained(best, history, best_epoch(history))


def batches(rows: Rows, size: int, order: Array, done: int = 0) -> Iterator[Batch]:
    """Batches of about `size` rows, of whole groups in the given order; the first `done` are left out."""
    for chosen, groups in islice(whole_groups(rows.segments, size, order), done, None):
        yield batch_of(rows, chosen, groups)


def whole_groups(segments: Array, size: int, order: Array) -> Iterator[tuple[Array, Array]]:
    """Numbers of about `size` rows, of whole groups in the given order, and those groups."""
    by_group = np.argsort(segments, kind="stable")
    starts = np.searchsorted(segments[by_group], np.arange(np.max(order, initial=-1) + 2))
    sizes = np.diff(starts)[order]
    ends = np.cumsum(sizes)
    rows = by_group[np.repeat(starts[order] - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0)]
    cuts = np.flatnonzero(np.diff((ends - 1) // size)) + 1
    if len(order):
        yield from zip(np.split(rows, ends[cuts - 1]), np.split(order, cuts))


def batch_of(rows: Rows, chosen: Array, groups: Array) -> Batch:
    """Some rows as a batch; `groups` are the groups they are of, in the rows' order."""
    segments = rows.segments[chosen]
    begins = np.append(True, segments[1:] != segments[:-1])
    return Batch(
        {name: tf.constant(value[chosen]) for name, value in rows.inputs.items()},
        tf.constant(rows.clicks[chosen], tf.float32),
        tf.constant(rows.impressions[chosen], tf.float32),
        tf.constant(np.cumsum(begins, dtype=np.int32) - 1),
        tf.constant(groups, tf.int32),
        tf.constant(rows.clusters[chosen][begins], tf.int32),
    )


def group_count(rows: Rows) -> int:
    """Number of groups."""
    return int(rows.segments.max()) + 1 if len(rows.segments) else 0


def compiled_step(network: Network, posterior: Posterior, state: Any, rows: Rows | Feed) -> Callable[..., tuple[Any, Tensor]]:
    """One update as a graph, traced once for batches of any size."""
    feed = Memory(rows) if isinstance(rows, Rows) else rows

    @tf.function(input_signature=signature_of(state, feed), autograph=False)
    def step(state: Any, batch: Batch, seed: Tensor, learning_rate: Tensor) -> tuple[Any, Tensor]:
        return posterior.update(network, state, batch, seed, learning_rate)

    return step


def signature_of(state: Any, feed: Feed) -> list[Any]:
    """Of a step: (state, batch, seed, learning rate)."""
    types = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), state)
    return [types, any_length(feed.first()), tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.float32)]


def alone(network: Network, posterior: Posterior, feed: Feed, schedule: Schedule, state: Any, checkpoint_steps: int) -> Epoch:
    """This process takes all steps, and `keep` sees the state after each."""
    step = compiled_step(feed.corrected(network), posterior, state, feed)
    return lambda state, epoch, begun, keep: one_epoch(step, state, feed, schedule, epoch, begun, keep)


def one_epoch(
    step: Callable[..., tuple[Any, Tensor]],
    state: Any,
    feed: Feed,
    schedule: Schedule,
    epoch: int,
    begun: Begun = _NOT_BEGUN,
    keep: Keep | None = None,
) -> tuple[Any, dict[str, float]]:
    """All the epoch's batches from where it was begun; `keep` sees the state after each."""
    now, done = state, begun
    for now, done in steps(step, state, feed, schedule, epoch, begun):
        if keep is not None:
            keep(now, done)
    return now, record_of(epoch, done, schedule)


def steps(
    step: Callable[..., tuple[Any, Tensor]], state: Any, feed: Feed, schedule: Schedule, epoch: int, begun: Begun
) -> Iterator[tuple[Any, Begun]]:
    """The state after each of the epoch's steps from where it was begun, and how far the epoch has come then."""
    begin, losses, sizes = time.perf_counter() - begun.seconds, list(begun.losses), list(begun.sizes)
    for batch, place in feed.epoch(schedule, epoch, begun.place):
        rate = tf.constant(falling(schedule, epoch), tf.float32)
        state, loss = step(state, batch, step_seed(schedule.seed, epoch, len(losses)), rate)
        if losses:
            losses[-1] = float(losses[-1])  # it is known by now; a tensor kept for each step is 1.7 KB
        losses.append(loss)
        sizes.append(len(batch.clicks))
        yield state, Begun(place, losses, sizes, time.perf_counter() - begin)


def record_of(epoch: int, begun: Begun, schedule: Schedule) -> dict[str, float]:
    """An epoch's figures, once it is done."""
    values = np.array([float(x) for x in begun.losses])
    must_be_number(float(values.sum()), "loss", epoch, schedule)
    return {
        "epoch": epoch + 1,
        "loss": float(np.average(values, weights=begun.sizes)),
        "seconds": begun.seconds,
        "rows_per_second": sum(begun.sizes) / begun.seconds,
    }


def step_seed(seed: int, epoch: int, step: int) -> Tensor:
    """The seed of an epoch's step, int32 [2]; two steps share one only beyond 2^15 epochs."""
    return tf.constant([(seed + 104_729 * (step >> 16)) & 0x7FFFFFFF, (epoch << 16) + (step & 0xFFFF)], tf.int32)


def must_be_number(value: float, what: str, epoch: int, schedule: Schedule) -> float:
    """The value; UserError if it is none."""
    if not np.isfinite(value):
        raise UserError(f"train: the {what} is not a number in epoch {epoch + 1}. Lower train.learning_rate (now {schedule.learning_rate})")
    return value


def must_be_finite(state: Any, kind: str, schedule: Schedule) -> None:
    """UserError if a finished state holds a number that is none: the last step's damage shows in no loss."""
    floats = [t for t in tf.nest.flatten(state) if tf.as_dtype(t.dtype).is_floating]
    bad = sum(int(np.sum(~np.isfinite(np.asarray(t)))) for t in floats)
    if bad:
        raise UserError(
            f"train: {bad:,} numbers of the trained {kind} are not finite. Lower train.learning_rate (now {schedule.learning_rate})"
        )


def doubts_of_training(history: Sequence[Mapping[str, float]]) -> list[str]:
    """What the course of the training warns of: a loss that ended higher than it began by more than half.

    Less than that is no alarm: a sampler's loss settles above its start by half a nat a weight that the rows say nothing of.

    >>> doubts_of_training([{"loss": 4.1}, {"loss": 9.0}])
    ['the training loss rose from 4.100 in epoch 1 to 9.000 in epoch 2: training diverged. Lower train.learning_rate']
    """
    first, last = (history[0]["loss"], history[-1]["loss"]) if history else (0.0, 0.0)
    if last - first <= 0.5 * max(1.0, abs(first)):
        return []
    return [
        f"the training loss rose from {first:.3f} in epoch 1 to {last:.3f} in epoch {len(history)}: training diverged. "
        "Lower train.learning_rate"
    ]


def falling(schedule: Schedule, epoch: int) -> float:
    """The step size: half a cosine from `learning_rate` down to a hundredth of it (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    share = epoch / max(schedule.epochs, 1)
    return float(schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * share))))


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """The epoch, from 1, of the best held-out log likelihood; the last where none was held out."""
    if not history or "held_out" not in history[-1]:
        return len(history)
    return int(np.argmax([record["held_out"] for record in history])) + 1


def stalled(history: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the held-out log likelihood has not improved for `patience` epochs."""
    return len(history) - best_epoch(history) >= patience


def save(folder: Path, state: Any, best: Any, history: Sequence[Mapping[str, float]], begun: Begun = _NOT_BEGUN) -> None:
    """Writes a checkpoint beside the old one, then in its place.

    Raises: Interrupted where it can't be written; the old one stays.
    """
    arrays: dict[str, Any] = {f"t{i}": np.asarray(t) for i, t in enumerate(tf.nest.flatten((state, best)))}
    arrays |= {"losses": np.array([float(x) for x in begun.losses]), "sizes": np.array(begun.sizes, np.int64)}
    about = {"history": list(history), "place": begun.place, "seconds": begun.seconds}
    with written(folder / _STATE, folder / f"{_STATE}.part") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def restore(folder: Path, like: Any) -> tuple[Any, Any, list[dict[str, float]], Begun]:
    """The state, the best state, the history and the begun epoch that `save` wrote.

    Raises: UserError for a file that is damaged.
    """
    with (folder / _STATE).open("rb") as file:  # a file that can't be opened is not damaged
        try:
            with np.load(file, allow_pickle=False) as saved:
                flat = [tf.constant(saved[f"t{i}"]) for i in range(len(tf.nest.flatten((like, like))))]
                about = json.loads(str(saved["about"]))
                begun = Begun(tuple(about["place"]), saved["losses"].tolist(), saved["sizes"].tolist(), about["seconds"])
        except (BadZipFile, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error) as fault:
            raise UserError(f"{folder / _STATE}: this checkpoint is damaged: {fault}. Remove it, and the training begins anew") from fault
    state, best = tf.nest.pack_sequence_as((like, like), flat)
    return state, best, about["history"], begun
