"""Rows of any number as a feed for training: Parquet row groups in a shuffled stream, encoded in threads, memory bounded.

Each epoch the log's pieces (row groups that cut no group) come in a random order. Several of them, a window, are read and encoded by a
thread while others wait or are trained on; in a window the groups come in a random order. So memory holds a few windows, whatever the
log's size, and two rows meet in a batch if their pieces meet in a window.

Negative down-sampling: all groups with a click are kept, of the others a random share q, new ones each epoch, whose log likelihood counts
1 / q times. In expectation that is the log likelihood of all rows, so fitted rates are those of all rows (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from recbayes.features import Encoder, columns
from recbayes.features.coding import Encoded
from recbayes.log.pieces import Piece, each_column, must_be_good, new_groups, read, source_of
from recbayes.log.stream import Stream
from recbayes.posteriors.base import Batch, Network
from recbayes.training import Rows, Schedule
from recbayes.types import Array, Tensor

WINDOW_ROWS = 1 << 17
"""Rows shuffled together: some 25 MB of 40 features."""
THREADS = 2
"""Windows that are read and encoded at once."""
_LARGEST = 0x7FFFFFFF


class Counted(NamedTuple):
    """Clicks and groups of a piece: clicks, impressions float32 [N]; segments int32 [N], ascending from 0; numbers, clusters int32 [G]."""

    clicks: Array
    impressions: Array
    segments: Array
    numbers: Array
    clusters: Array


class Block(NamedTuple):
    """Encoded features of one type and shape: values [F, N, ...], a row of memory each, so that one copy hands all to TensorFlow."""

    names: tuple[str, ...]
    values: Array


class Window(NamedTuple):
    """Encoded rows in the order in which they are trained on, and their counts."""

    blocks: tuple[Block, ...]
    counted: Counted

    @property
    def inputs(self) -> dict[str, Array]:
        """Each feature's [N, ...]."""
        return {name: value for block in self.blocks for name, value in zip(block.names, block.values)}

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of about `size` rows, of whole groups in their order."""
        clicks, impressions, segments, numbers, clusters = self.counted
        ends = np.cumsum(np.bincount(segments, minlength=len(numbers)))
        last = np.append(np.flatnonzero(np.diff((ends - 1) // size)), len(ends) - 1) if len(ends) else np.zeros(0, int)
        cuts = [(0, 0), *((int(group) + 1, int(ends[group])) for group in last)]
        for (group, row), (to_group, to_row) in pairwise(cuts):
            some = slice(row, to_row)
            yield Batch(
                dict(chain.from_iterable(zip(names, tf.unstack(tf.constant(values[:, some]))) for names, values in self.blocks)),
                tf.constant(clicks[some]),
                tf.constant(impressions[some]),
                tf.constant(segments[some] - segments[row]),
                tf.constant(numbers[group:to_group]),
                tf.constant(clusters[group:to_group]),
            )

    def ordered(self, groups: Array, *, keep: bool) -> Window:
        """Some groups in an order, counted anew; without `keep` they are written over this window's rows."""
        clicks, impressions, segments, numbers, clusters = self.counted
        sizes = np.bincount(segments, minlength=len(numbers))
        starts, many = (np.cumsum(sizes) - sizes)[groups], sizes[groups]
        ends = np.cumsum(many)
        rows = np.repeat(starts - ends + many, many) + np.arange(ends[-1] if len(ends) else 0)
        fresh = np.repeat(np.arange(len(groups), dtype=np.int32), many)
        counted = Counted(clicks[rows], impressions[rows], fresh, numbers[groups], clusters[groups])
        if keep:
            return Window(tuple(block._replace(values=np.take(block.values, rows, axis=1)) for block in self.blocks), counted)
        for _, values in self.blocks:
            room = np.empty_like(values[0, : len(rows)])
            for value in values:
                value[: len(rows)] = np.take(value, rows, axis=0, out=room, mode="clip")  # no row is out of range, so none is clipped
        return Window(tuple(block._replace(values=block.values[:, : len(rows)]) for block in self.blocks), counted)


def blocks_of(specs: Mapping[str, Encoded], rows: int) -> tuple[Block, ...]:
    """Room for rows, features of one type and shape together."""
    shapes = {name: (s.kind == "dense", {"ids": (), "bag": (s.length,), "dense": (s.size,)}[s.kind]) for name, s in specs.items()}
    return tuple(
        Block(names := tuple(name for name in shapes if shapes[name] == (dense, shape)), np.empty((len(names), rows, *shape), kind))
        for dense, shape in dict.fromkeys(shapes.values())
        for kind in (np.float32 if dense else np.int32,)
    )


@dataclasses.dataclass(frozen=True)
class Streamed:
    """A log's pieces as a feed (`training.Feed`).

    group: the column whose rows share an effect, or None; negative_share: of groups without a click, what each epoch trains on; kept:
    rows of an epoch, on average.
    """

    stream: Stream
    pieces: tuple[Piece, ...]
    encoder: Encoder
    group: str | None
    negative_share: float = 1.0
    kept: int | None = None
    threads: int = THREADS

    def first(self) -> Batch:
        """A row of zeros."""
        none, one = np.zeros(1, np.int32), np.ones(1, np.float32)
        blocks = blocks_of(self.encoder.specs, 1)
        for block in blocks:
            block.values[:] = 0
        return next(Window(blocks, Counted(0 * one, one, none, none, none)).batches(1))

    def epoch(self, schedule: Schedule, epoch: int, start: tuple[int, int]) -> Iterator[tuple[Batch, tuple[int, int]]]:
        """The windows' batches, each window's followed by the random share of its groups with categories hidden."""
        order = np.random.default_rng((schedule.seed, epoch)).permutation(len(self.pieces))
        windows = self._windows([self.pieces[i] for i in order])
        spare: list[tuple[Block, ...]] = []
        most = max(map(rows_of, windows))

        def shuffled(number: int) -> tuple[list[Window], tuple[Block, ...]]:
            try:
                room = spare.pop()
            except IndexError:  # asking first would not do: two threads take from it
                room = blocks_of(self.encoder.specs, most)
            return self._shuffled(windows[number], room, schedule, (epoch, number)), room

        jobs = [partial(shuffled, number) for number in range(start[0], len(windows))]
        for number, (parts, room) in enumerate(ahead(jobs, self.threads), start[0]):
            batches = chain.from_iterable(part.batches(schedule.batch_size) for part in parts)
            done = start[1] if number == start[0] else 0
            for taken, batch in enumerate(islice(batches, done, None), done + 1):
                yield batch, (number, taken)
            spare.append(room)  # all of it is copied to tensors; memory that is fresh costs a tenth of the time

    def once(self, size: int) -> Iterator[Batch]:
        """Every row, in the files' order."""
        for window in ahead([partial(self._encoded, window) for window in self._windows(self.pieces)], self.threads):
            yield from window.batches(size)

    def corrected(self, network: Network) -> Network:
        """The network with the likelihood of groups without a click weighted by what was left out."""
        if self.negative_share == 1.0 or self.kept is None:
            return network
        weight = 1.0 / self.negative_share

        def log_likelihood(outputs: Tensor, extras: Mapping[str, Tensor], batch: Batch) -> Tensor:
            clicks = tf.math.unsorted_segment_sum(batch.clicks, batch.segments, tf.shape(batch.groups)[0])
            return network.log_likelihood(outputs, extras, batch) * tf.where(clicks > 0.0, 1.0, weight)

        return network._replace(log_likelihood=log_likelihood, rows=self.kept)

    def rows(self) -> Rows:
        """All rows, encoded, in memory: of few pieces."""
        whole = self._encoded(self.pieces)
        counted = whole.counted
        return Rows(whole.inputs, counted.clicks, counted.impressions, counted.segments, counted.clusters[counted.segments])

    def counted(self, piece: Piece) -> Counted:
        """A piece's clicks and groups."""
        roles = self.stream.columns
        source = source_of(self.stream)
        table = read(source, piece, tuple(roles.roles.values()))
        must_be_good(self.stream, piece, table, source.parts[piece.part].file)
        clicks = _float32(table, roles.clicks)
        impressions = np.ones_like(clicks) if roles.impressions is None else _float32(table, roles.impressions)
        if self.group is None:
            segments = np.arange(len(clicks), dtype=np.int32)
            numbers, begins = (piece.row + np.arange(len(clicks))) & _LARGEST, slice(None)
        else:
            changed = new_groups(columns.kept(table.column(self.group)))
            segments = np.cumsum(changed, dtype=np.int32) - 1
            numbers, begins = (piece.group + np.arange(changed.sum())) & _LARGEST, changed
        numbers = numbers.astype(np.int32)
        name = roles.cluster or (roles.group if self.group is None else None)
        return Counted(clicks, impressions, segments, numbers, numbers if name is None else hashed(table.column(name))[begins])

    def _encoded(self, window: Sequence[Piece], room: tuple[Block, ...] | None = None) -> Window:
        """The rows of some pieces, in order: a column at a time is read and encoded into its place."""
        source, codings = source_of(self.stream), self.encoder.codings
        rows, row = rows_of(window), 0
        room = blocks_of(self.encoder.specs, rows) if room is None else room
        whole = Window(tuple(block._replace(values=block.values[:, :rows]) for block in room), joined_counts([*map(self.counted, window)]))
        inputs = whole.inputs
        for piece in window:
            place = slice(row, row := row + piece.stop - piece.start)
            for name, column in each_column(source, piece, tuple(codings)):
                inputs[name][place] = codings[name].codes(columns.kept(column))
        return whole

    def _shuffled(self, pieces: Sequence[Piece], room: tuple[Block, ...], schedule: Schedule, which: tuple[int, int]) -> list[Window]:
        """A window's rows in random order, and some of them once more with categories hidden. which: the epoch, and the window's number."""
        window, generator = self._encoded(pieces, room), np.random.default_rng((schedule.seed, *which))
        order = generator.permutation(len(window.counted.numbers))
        if self.negative_share < 1.0:
            clicked = np.bincount(window.counted.segments, window.counted.clicks, minlength=len(order)) > 0
            order = order[(clicked | (generator.random(len(order)) < self.negative_share))[order]]
        share = round(schedule.oov_share * len(order))
        if not share or not any(spec.kind == "ids" for spec in self.encoder.specs.values()):
            return [window.ordered(order, keep=False)]
        again = window.ordered(order[generator.permutation(len(order))[:share]], keep=True)
        hidden = self.encoder.hidden(again.inputs, (schedule.seed, *which))
        for name, value in again.inputs.items():
            value[:] = hidden[name]
        return [window.ordered(order, keep=False), again]

    def _windows(self, pieces: Sequence[Piece]) -> list[list[Piece]]:
        """Pieces in their order, as many together as make a window."""
        windows: list[list[Piece]] = []
        rows = WINDOW_ROWS
        for piece in pieces:
            rows += piece.stop - piece.start
            if rows > WINDOW_ROWS:
                windows.append([])
                rows = piece.stop - piece.start
            windows[-1].append(piece)
        return windows


def rows_of(pieces: Sequence[Piece]) -> int:
    """How many rows some pieces have."""
    return sum(piece.stop - piece.start for piece in pieces)


def joined_counts(counts: Sequence[Counted]) -> Counted:
    """The groups of several pieces, counted on."""
    before = np.cumsum([0, *(len(c.numbers) for c in counts)])
    segments = np.concatenate([c.segments + np.int32(b) for c, b in zip(counts, before)])
    clicks, impressions, _, numbers, clusters = (np.concatenate(values) for values in zip(*counts))
    return Counted(clicks, impressions, segments, numbers, clusters)


def ahead(jobs: Sequence[Any], threads: int) -> Iterator[Any]:
    """What the jobs return, in order; so many of them run in threads while the caller works on what came before."""
    pool, rest = ThreadPoolExecutor(threads), iter(jobs)
    waiting: deque[Future[Any]] = deque(pool.submit(job) for job in islice(rest, threads))
    try:
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(job) for job in islice(rest, 1))
            yield done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def hashed(column: Any) -> Array:
    """Values as numbers int32 [N] of 31 bits, the same for the same value: the clusters of a bootstrap."""

    def each(values: Any) -> Array:
        return (pd.util.hash_array(np.asarray(values.cast(pa.large_string()), object)) & np.uint64(_LARGEST)).astype(np.int32)

    return columns.by_distinct(columns.kept(column), each)


def _float32(table: Any, name: str | None) -> Array:
    return np.asarray(table.column(name).cast(pa.float32(), safe=False).to_numpy(), np.float32)
