"""Some row groups of a log that memory does not hold, as a log of its own: what an audit, a baseline and a report look at."""

from __future__ import annotations

import dataclasses
import hashlib
from itertools import groupby

import numpy as np
import pyarrow as pa

from recbayes.log.source import LogSource, Part, Source, open_source

SAMPLE_ROWS = 1 << 17


def sample_of(log: LogSource, *, rows: int = SAMPLE_ROWS, seed: int = 0) -> Source:
    """Whole row groups at random, in their order, as many as it takes to have so many rows; all of a smaller log.

    Its messages name the log's files; row numbers in them count the rows taken. Groups may be cut where a row group ends.

    Args:
      log: what `read_log` reads; the answer is read by it too.
      rows: how many, at least.
      seed: of the choice.

    Raises: UserError as `read_log`.

    >>> sample_of("example:open_bandit", rows=100).rows
    10000
    """
    source = open_source(log)
    if source.rows <= rows or isinstance(source.parts[0].rows, pa.Table):
        return source
    groups = [(number, group, size) for number, part in enumerate(source.parts) for group, size in enumerate(part.groups)]
    order = np.random.default_rng(seed).permutation(len(groups))
    many = 1 + int(np.searchsorted(np.cumsum([groups[i][2] for i in order]), rows))
    chosen = [
        (number, [group for _, group, _ in some]) for number, some in groupby(sorted(groups[i] for i in order[:many]), lambda g: g[0])
    ]
    parts = tuple(some_of(source.parts[number], ids) for number, ids in chosen)

    def digest() -> str:
        return hashlib.sha256(repr([(source.parts[n].file, source.parts[n].mark(), ids) for n, ids in chosen]).encode()).hexdigest()

    return dataclasses.replace(source, parts=parts, digest=digest, rows=sum(sum(part.groups) for part in parts))


def some_of(part: Part, groups: list[int]) -> Part:
    """Some row groups of a file."""
    return part._replace(rows=part.rows.subset(row_group_ids=groups), groups=tuple(part.groups[group] for group in groups))
