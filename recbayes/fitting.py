"""The training rows of a fit, in memory or on disk: what `fit` asks of them is one protocol, `Part`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from recbayes.features import Encoder, Feature
from recbayes.log import Log
from recbayes.log.asked import distinct_count
from recbayes.log.pieces import Piece, must_fit_a_step, pieces, read, source_of
from recbayes.log.stream import Stream, stream_log
from recbayes.streamed import WINDOW_ROWS, Counted, Streamed, joined_counts
from recbayes.training import Feed, Memory, Rows, Schedule
from recbayes.types import Array, UserError

MEDIAN_IMPRESSIONS = 100
"""Below this median of a group's impressions a group effect is not fitted unless asked for."""
SET_ASIDE_GROUPS = 20
"""Fewer groups than this are all trained on: a tenth of them would say nothing."""
STOPPING = 7_919
"""Added to the seed of the split for early stopping: by name it must not be the split that made the training log."""
START_ROWS = 1 << 15
"""Rows on disk that the feature-free fit looks at."""
SET_ASIDE_ROWS = 1 << 18
"""Rows on disk that are set aside for early stopping, at most: they are held in memory."""


class Part(Protocol):
    """Training rows, or those set aside from them."""

    @property
    def group(self) -> str | None:
        """The column whose rows share an effect."""

    @property
    def size(self) -> int:
        """Number of rows."""

    @property
    def groups(self) -> int:
        """Number of groups that share an effect; without one, of rows that stand alone."""

    @property
    def clusters(self) -> int:
        """Number of clusters that a bootstrap draws."""

    @property
    def fingerprint(self) -> str:
        """What the rows are."""

    @property
    def share_without_clicks(self) -> float:
        """Of rows."""

    def encoder(self, features: Sequence[Feature]) -> Encoder:
        """The features, fitted to the rows."""

    def start(self) -> tuple[Array, Array, Array]:
        """Clicks, impressions and segments, each [N], that the feature-free fit looks at."""

    def feed(self, encoder: Encoder, schedule: Schedule) -> Feed:
        """The rows to train on."""

    def rows(self, encoder: Encoder) -> Rows:
        """The rows to judge by, in memory."""

    def split(self, held_out: float, seed: int) -> tuple[Part, Part] | None:
        """Rows to train on, and rows of other groups that say how many epochs are enough; None where there are too few."""


@dataclasses.dataclass(frozen=True, eq=False)
class InMemory:
    """A log of counts."""

    log: Log
    group: str | None

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.log)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return segments_of(self.log, self.group)[1]

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return self.log.clusters[1] if self.log.columns.cluster is not None else self.groups

    @property
    def fingerprint(self) -> str:
        """The log's."""
        return self.log.fingerprint

    @property
    def share_without_clicks(self) -> float:
        """Of rows."""
        return float(np.mean(np.asarray(self.log.clicks) == 0))

    def encoder(self, features: Sequence[Feature]) -> Encoder:
        """The features, fitted to all rows."""
        return Encoder.fit(features, columns_of(self.log, None, features))

    def start(self) -> tuple[Array, Array, Array]:
        """All rows."""
        log = self.log
        return np.asarray(log.clicks, np.float32), np.asarray(log.impressions, np.float32), segments_of(log, self.group)[0]

    def feed(self, encoder: Encoder, schedule: Schedule) -> Feed:
        """All rows, encoded."""
        return Memory(self.rows(encoder), hider(encoder, schedule))

    def rows(self, encoder: Encoder) -> Rows:
        """All rows, encoded."""
        return prepare_rows(self.log, encoder, self.group)

    def split(self, held_out: float, seed: int) -> tuple[InMemory, InMemory] | None:
        """By time where the log has one, else by the groups' names."""
        if self.groups < SET_ASIDE_GROUPS:
            return None
        by = "time" if self.log.time is not None else "group"
        older, newest = self.log.split(by=by, test_fraction=held_out, seed=seed + STOPPING)  # type: ignore[arg-type]  # one of two literals
        return InMemory(older, self.group), InMemory(newest, self.group)


@dataclasses.dataclass(frozen=True, eq=False)
class OnDisk:
    """A log's pieces. negative_share: of groups without a click, what each epoch trains on."""

    stream: Stream
    pieces: tuple[Piece, ...]
    group: str | None
    negative_share: float = 1.0

    @property
    def size(self) -> int:
        """Number of rows."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    @cached_property
    def groups(self) -> int:
        """Number of groups, counted in one pass."""
        return self._totals[0]

    @cached_property
    def clusters(self) -> int:
        """Number of clusters; DuckDB counts those that have a column."""
        name = self.stream.columns.cluster or (self.stream.columns.group if self.group is None else None)
        return self.groups if name is None else distinct_count(self._parts(name))

    @cached_property
    def fingerprint(self) -> str:
        """Of the files' names, sizes and footers, not of all their bytes."""
        source = source_of(self.stream)
        marks = [[part.file, part.mark()] for part in source.parts]
        return hashlib.sha256(repr([marks, self.stream.columns, self.pieces, self.negative_share, WINDOW_ROWS]).encode()).hexdigest()

    @property
    def share_without_clicks(self) -> float:
        """Of rows."""
        return 1.0 - self._totals[1] / self.size

    def encoder(self, features: Sequence[Feature]) -> Encoder:
        """The features, fitted to all rows, a column at a time."""
        return Encoder.fit_parts(features, self._parts, threads=2)

    def start(self) -> tuple[Array, Array, Array]:
        """Some random pieces."""
        order, taken, rows = np.random.default_rng(0).permutation(len(self.pieces)), list[Counted](), 0
        for i in order:
            if rows < START_ROWS:
                taken.append(self._plain.counted(self.pieces[i]))
                rows += len(taken[-1].clicks)
        clicks, impressions, segments = joined_counts(taken)[:3]
        kept = segments < segments[min(START_ROWS, len(segments) - 1)] + 1
        return clicks[kept], impressions[kept], segments[kept]

    def feed(self, encoder: Encoder, schedule: Schedule) -> Feed:
        """The pieces in a shuffled stream."""
        kept = self._totals[2] + self.negative_share * (self.size - self._totals[2])
        return Streamed(self.stream, self.pieces, encoder, self.group, self.negative_share, round(kept))

    def rows(self, encoder: Encoder) -> Rows:
        """All rows, encoded."""
        return Streamed(self.stream, self.pieces, encoder, self.group).rows()

    def split(self, held_out: float, seed: int) -> tuple[OnDisk, OnDisk] | None:
        """Whole pieces: the last ones of a log with times, else random ones."""
        order = np.arange(len(self.pieces))[::-1]
        if self.stream.columns.time is None:
            order = np.random.default_rng(seed + STOPPING).permutation(len(order))
        sizes = np.array([self.pieces[i].stop - self.pieces[i].start for i in order])
        wanted = min(round(held_out * self.size), SET_ASIDE_ROWS)
        aside = set(order[: max(1, int(np.searchsorted(np.cumsum(sizes), wanted)))].tolist())
        if len(aside) >= len(self.pieces):
            return None
        both = [tuple(piece for i, piece in enumerate(self.pieces) if (i in aside) == which) for which in (False, True)]
        return dataclasses.replace(self, pieces=both[0]), dataclasses.replace(self, pieces=both[1])

    @cached_property
    def _totals(self) -> tuple[int, int, int]:
        """Groups, rows with clicks, and rows of groups with clicks, of all rows."""
        groups = clicked = kept = 0
        for piece in self.pieces:
            counted = self._plain.counted(piece)
            groups += len(counted.numbers)
            clicked += int((counted.clicks > 0).sum())
            kept += int((np.bincount(counted.segments, counted.clicks)[counted.segments] > 0).sum())
        return groups, clicked, kept

    @property
    def _plain(self) -> Streamed:
        return Streamed(self.stream, self.pieces, Encoder([]), self.group)

    def _parts(self, name: str) -> Iterator[Any]:
        """A column, piece after piece."""
        source = source_of(self.stream)
        for piece in self.pieces:
            yield from read(source, piece, [name]).column(name).chunks


def on_disk(stream: Stream, asked: str | bool | None, negative_share: float) -> OnDisk:
    """A stream's rows, its group effect chosen: the one asked for, or that of counts whose groups are large enough."""
    columns = stream.columns
    if columns.clicks is None:
        raise UserError(f"fit: {stream.source} has a reward instead of clicks. Name the column of clicks.")
    name = asked if isinstance(asked, str) else columns.group
    if asked is False or name is None or (asked is None and columns.impressions is None):
        return OnDisk(stream, tuple(pieces(stream, None)), None, negative_share)
    if name not in stream.names:
        raise UserError(f"fit: group_effect: {stream.source} has no column {name!r}.")
    part = OnDisk(stream, tuple(pieces(stream, name)), name, negative_share)
    if asked is None:
        _, impressions, segments = part.start()
        if np.median(np.bincount(segments, impressions)) < MEDIAN_IMPRESSIONS:
            return OnDisk(stream, tuple(pieces(stream, None)), None, negative_share)
    return part


def part_of(log: Log | Stream, asked: str | bool | None, negative_share: float) -> Part:
    """The rows to fit, and their group effect; a log in memory goes as a stream where rows without a click are left out."""
    if not 0.0 < negative_share <= 1.0:
        raise UserError(f"fit: negative_share is {negative_share}, must be in (0, 1]: 1 trains on all rows without a click")
    if isinstance(log, Stream):
        return on_disk(log, asked, negative_share)
    log = log.counts()
    group = chosen_group(log, asked)
    if negative_share < 1.0:
        together = log.take(np.argsort(segments_of(log, group)[0], kind="stable"))
        return on_disk(stream_log(together), group or False, negative_share)
    if group is not None:
        must_fit_a_step(np.bincount(segments_of(log, group)[0]), group)
    return InMemory(log, group)


def prepare_rows(log: Log, encoder: Encoder, group: str | None) -> Rows:
    """A log's rows encoded."""
    encoded = encode(encoder, columns_of(log, encoder))
    segments = segments_of(log, group)[0]
    clusters = log.clusters[0] if log.columns.cluster is not None else segments
    return Rows(encoded, np.asarray(log.clicks, np.float32), np.asarray(log.impressions, np.float32), segments, clusters)


def encode(encoder: Encoder, columns: Mapping[str, Array]) -> dict[str, Array]:
    """Encoded features of all rows, in chunks, as NumPy arrays."""
    raw = encoder.raw(columns)
    rows = len(next(iter(raw.values())))
    chunks = [encoder({k: v[i : i + 65536] for k, v in raw.items()}) for i in range(0, max(rows, 1), 65536)]
    return {name: np.concatenate([chunk[name].numpy() for chunk in chunks]) for name in chunks[0]}


def hider(encoder: Encoder, schedule: Schedule) -> Callable[[dict[str, Array], int], dict[str, Array]] | None:
    """(inputs, epoch) -> inputs with random categories out of vocabulary, or None where there is no category."""
    if not any(spec.kind == "ids" for spec in encoder.specs.values()) or not schedule.oov_share:
        return None

    return lambda inputs, epoch: encoder.hidden(inputs, (schedule.seed, epoch))


def chosen_group(log: Log, asked: str | bool | None) -> str | None:
    """The column of the group effect: the one asked for, or the log's group if its groups are large enough."""
    if isinstance(asked, str):
        return asked
    group: str | None = log.columns.group
    if asked is False or group is None:
        return None
    segments, groups = log.segments
    median = np.median(np.bincount(segments, np.asarray(log.impressions, np.float64), minlength=groups))
    return group if asked or median >= MEDIAN_IMPRESSIONS else None


def segments_of(log: Log, group: str | None) -> tuple[Array, int]:
    """Each row's group as int32 [N] in order of first appearance, and how many there are. Without a group, rows stand alone."""
    if group is None:
        return (np.arange(len(log), dtype=np.int32), len(log)) if log.columns.group is None else log.segments
    if group == log.columns.group:
        return log.segments
    values = np.asarray(log.column(group))
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first)).astype(np.int32)
    return rank[inverse], len(first)


def columns_of(log: Any, encoder: Encoder | None, features: Sequence[Feature] = ()) -> Mapping[str, Any]:
    """The feature columns of a log, or the mapping that was given."""
    if not isinstance(log, Log):
        return log
    return {f.name: log.column(f.name) for f in (encoder.features if encoder is not None else features)}
