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
from recbayes.log.pieces import Piece, must_be_good, new_groups, read, source_of
from recbayes.log.stream import Stream
from recbayes.posteriors.base import Batch, Network
from recbayes.training import Rows, Schedule
from recbayes.types import Array, Tensor

WINDOW_ROWS = 1 << 18
"""Rows shuffled together: some 40 MB of 40 features."""
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


class Window(NamedTuple):
    """Encoded rows in the order in which they are trained on: inputs, each [N, ...], and their counts."""

    inputs: dict[str, Array]
    counted: Counted

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of about `size` rows, of whole groups in their order."""
        clicks, impressions, segments, numbers, clusters = self.counted
        ends = np.cumsum(np.bincount(segments, minlength=len(numbers)))
        last = np.append(np.flatnonzero(np.diff((ends - 1) // size)), len(ends) - 1) if len(ends) else np.zeros(0, int)
        cuts = [(0, 0), *((int(group) + 1, int(ends[group])) for group in last)]
        for (group, row), (to_group, to_row) in pairwise(cuts):
            some = slice(row, to_row)
            yield Batch(
                {name: tf.constant(value[some]) for name, value in self.inputs.items()},
                tf.constant(clicks[some]),
                tf.constant(impressions[some]),
                tf.constant(segments[some] - segments[row]),
                tf.constant(numbers[group:to_group]),
                tf.constant(clusters[group:to_group]),
            )

    def ordered(self, groups: Array, *, keep: bool) -> Window:
        """Some groups in an order, counted anew; without `keep` each array of this window is given up once it is copied."""
        clicks, impressions, segments, numbers, clusters = self.counted
        sizes = np.bincount(segments, minlength=len(numbers))
        starts, many = (np.cumsum(sizes) - sizes)[groups], sizes[groups]
        ends = np.cumsum(many)
        rows = np.repeat(starts - ends + many, many) + np.arange(ends[-1] if len(ends) else 0)
        fresh = np.repeat(np.arange(len(groups), dtype=np.int32), many)
        counted = Counted(clicks[rows], impressions[rows], fresh, numbers[groups], clusters[groups])
        taken = self.inputs.__getitem__ if keep else self.inputs.pop
        return Window({name: np.take(taken(name), rows, axis=0) for name in list(self.inputs)}, counted)


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
        shapes = {name: [1] if s.kind == "ids" else [1, s.length if s.kind == "bag" else s.size] for name, s in self.encoder.specs.items()}
        inputs = {n: np.zeros(shapes[n], np.float32 if s.kind == "dense" else np.int32) for n, s in self.encoder.specs.items()}
        none, one = np.zeros(1, np.int32), np.ones(1, np.float32)
        return next(Window(inputs, Counted(0 * one, one, none, none, none)).batches(1))

    def epoch(self, schedule: Schedule, epoch: int, start: tuple[int, int]) -> Iterator[tuple[Batch, tuple[int, int]]]:
        """The windows' batches, each window's followed by the random share of its groups with categories hidden."""
        order = np.random.default_rng((schedule.seed, epoch)).permutation(len(self.pieces))
        windows = self._windows([self.pieces[i] for i in order])[start[0] :]
        jobs = [partial(self._shuffled, window, schedule, epoch, number) for number, window in enumerate(windows, start[0])]
        for number, parts in enumerate(ahead(jobs, self.threads), start[0]):
            batches = chain.from_iterable(part.batches(schedule.batch_size) for part in parts)
            done = start[1] if number == start[0] else 0
            for taken, batch in enumerate(islice(batches, done, None), done + 1):
                yield batch, (number, taken)

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
        whole = joined([self._encoded(window) for window in self._windows(self.pieces)])
        counted = whole.counted
        return Rows(whole.inputs, counted.clicks, counted.impressions, counted.segments, counted.clusters[counted.segments])

    def counted(self, piece: Piece, table: Any | None = None) -> Counted:
        """A piece's clicks and groups; `table` holds its roles where it is read already."""
        roles = self.stream.columns
        source = source_of(self.stream)
        table = read(source, piece, tuple(roles.roles.values())) if table is None else table
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

    def _encoded(self, window: Sequence[Piece]) -> Window:
        """The rows of some pieces, in order."""
        return joined([self._piece(piece) for piece in window])

    def _piece(self, piece: Piece) -> Window:
        roles = tuple(self.stream.columns.roles.values())
        table = read(source_of(self.stream), piece, roles, tuple(self.encoder.codings))
        return Window(self.encoder.codes(table), self.counted(piece, table))

    def _shuffled(self, pieces: Sequence[Piece], schedule: Schedule, epoch: int, number: int) -> list[Window]:
        """A window's rows in random order, and some of them once more with categories hidden."""
        window, generator = self._encoded(pieces), np.random.default_rng((schedule.seed, epoch, number))
        order = generator.permutation(len(window.counted.numbers))
        if self.negative_share < 1.0:
            clicked = np.bincount(window.counted.segments, window.counted.clicks, minlength=len(order)) > 0
            order = order[(clicked | (generator.random(len(order)) < self.negative_share))[order]]
        share = round(schedule.oov_share * len(order))
        if not share or not any(spec.kind == "ids" for spec in self.encoder.specs.values()):
            return [window.ordered(order, keep=False)]
        again = window.ordered(order[generator.permutation(len(order))[:share]], keep=True)
        again = again._replace(inputs=self.encoder.hidden(again.inputs, (schedule.seed, epoch, number)))
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


def joined(windows: Sequence[Window]) -> Window:
    """The rows of several windows as one; their arrays are given up one by one, so that memory never holds all twice."""
    if len(windows) == 1:
        return windows[0]
    inputs = {name: np.concatenate([window.inputs.pop(name) for window in windows]) for name in list(windows[0].inputs)}
    return Window(inputs, joined_counts([window.counted for window in windows]))


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
