"""How groups of arms are laid out for the compiled step, densely, with padding, those of similar size together; and their time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.types import Array, Clock, Tensor


class Block(NamedTuple):
    """Groups of similar size, laid out densely with padding: place[a, g] is the arm's row, -1 where there is none.

    place: int32 [A, G'], groups last, so that the compiled step runs along them; groups: the block's groups, int32 [G'], -1 for padding.
    """

    place: Array
    groups: Array

    @property
    def present(self) -> Array:
        """True where there is an arm, [A, G']."""
        return self.place >= 0

    def arms(self, values: Array) -> Array:
        """Values of arms [N, ...] laid out as [..., A, G']; padding repeats the first arm's."""
        return np.moveaxis(np.asarray(values)[np.maximum(self.place, 0)], (0, 1), (-2, -1))

    def counts(self, values: Array) -> Array:
        """Counts of arms [N] as float64 [A, G'], 0 in the padding."""
        return np.where(self.present, self.arms(values), 0).astype(np.float64)

    def of_groups(self, values: Array) -> Array:
        """Values of groups [G] laid out as [G'], 0 in the padding."""
        return np.where(self.groups >= 0, np.asarray(values)[np.maximum(self.groups, 0)], 0).astype(np.asarray(values).dtype)


def before(step: Any, horizon: Any, steps: int) -> Any:
    """Decisions of groups before a step: steps share each horizon evenly, to one decision. NumPy or TensorFlow, int64."""
    return step * horizon // steps


def clock(t: Tensor, horizon: Tensor, steps: int) -> Clock:
    """Where groups stand at step t; horizon: int64 [G], 0 in padding."""
    done, then = (before(tf.cast(step, tf.int64), horizon, steps) for step in (t, t + 1))
    at = tf.fill(horizon.shape, tf.cast(t, tf.float32))
    return Clock(at, tf.cast(horizon - done, tf.float32), tf.cast(then - done, tf.float32))


PAYS = 20_000_000
"""Places saved, times the steps of all replicas, from which a second block pays for its compiling: half a microsecond each."""


def blocks(segments: Array, *, together: bool = False, played: int = 0) -> list[Block]:
    """The groups in one block, or in two where that saves more than half of the places or pays: compiling a block takes seconds.

    Args:
      segments: group of each arm, int32 [N].
      together: one block in any case.
      played: steps of all replicas that the layout is for.
    """
    sizes = np.bincount(segments)
    order = np.argsort(sizes, kind="stable")
    widths = sizes[order]
    counts = np.arange(1, len(sizes))
    cells = np.append(counts * widths[:-1] + (len(sizes) - counts) * widths[-1], len(sizes) * widths[-1])
    cut = int(np.argmin(cells)) + 1
    saved = int(cells[-1] - cells[cut - 1])
    if together or (2 * saved < cells[-1] and saved * played < PAYS):
        cut = len(sizes)
    parts = [part for part in (np.sort(order[:cut]), np.sort(order[cut:])) if len(part)]
    return [_block(segments, sizes, part) for part in parts]


def _block(segments: Array, sizes: Array, groups: Array) -> Block:
    """The named groups laid out. Both sides are rounded up, so that worlds of about one size share compiled programs."""
    width, length = rounded(int(sizes[groups].max()), 2), max(8, rounded(len(groups), 4))
    rows = np.argsort(segments, kind="stable")
    first = np.cumsum(sizes) - sizes
    place = np.full((width, length), -1, np.int32)
    for arm in range(int(sizes[groups].max())):
        there = np.flatnonzero(sizes[groups] > arm)
        place[arm, there] = rows[first[groups[there]] + arm]
    return Block(place, np.pad(groups.astype(np.int32), (0, length - len(groups)), constant_values=-1))


def rounded(number: int, parts: int) -> int:
    """The number rounded up to a multiple of that part of the power of two below it.

    >>> [rounded(n, 2) for n in (3, 4, 10, 11)], [rounded(n, 4) for n in (538, 638)]
    ([3, 4, 12, 12], [640, 640])
    """
    unit = max(1, 2 ** (number.bit_length() - 1) // parts)
    return -(-number // unit) * unit
