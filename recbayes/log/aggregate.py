"""Events of any number into counts on disk: one grouped sum by DuckDB, whose memory is bounded, and a day added to older counts.

    counts[key] = (sum of clicks, sum of impressions, earliest time),   key = (cluster, group, item, every feature)

Sums of sums are sums, so counts merge: what `onto` holds and a new day's events give what all events together would have given. Rows
are those of `Log.counts`, sorted by their key: equal input gives equal files, and the rows of a group lie together, as training in a
stream needs them. What memory does not hold is spilled beside the output.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow.parquet as pq

from recbayes.log import sql
from recbayes.log.columns import Columns, check_roles, listed
from recbayes.log.counts import has_repeats, summed_columns
from recbayes.log.faults import check_columns
from recbayes.log.source import Source, open_source
from recbayes.types import UserError

_ABOUT = "recbayes"


class Aggregated(NamedTuple):
    """What `aggregate` wrote. rows: counts; events: good rows read; bad: reason -> rows set aside; quarantine: their file, if any."""

    out: Path
    rows: int
    events: int
    bad: dict[str, int]
    quarantine: Path | None


def aggregate(
    source: str | Path,
    out: str | Path,
    *,
    clicks: str,
    impressions: str | None = None,
    item: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    time: str | None = None,
    features: Sequence[str] = (),
    onto: str | Path | None = None,
    on_bad_rows: Literal["fail", "quarantine"] = "fail",
    memory_limit: str = "1GB",
    threads: int | None = None,
) -> Aggregated:
    """Sums a log of any size to counts: one row for all rows that agree in cluster, group, item and every feature.

    Where the footers of the files prove every row possible (whole numbers, no nulls, clicks of 0 or 1 an impression) the log is read
    once; else the columns of counts, item and time are read before it, to set bad rows aside.

    Args:
      source: a Parquet file, a folder, a glob or `example:NAME`.
      out: the Parquet file to write; written beside and renamed. Read it with `impressions="impressions"`.
      clicks: column of clicks.
      impressions: column of impressions; without it a row is one impression.
      item: column of what was shown.
      group: column of rows that compete.
      cluster: column of rows that stay together.
      time: column of the rows' times; counts get the earliest, unless it is a feature.
      features: columns that a model will use.
      onto: counts of an earlier call (`out` itself, say), to which the source is added. The same files are not added twice.
      on_bad_rows: "fail" stops with all of them; "quarantine" writes them to `_OUT.quarantine.parquet` with reason, file and row number.
      memory_limit: what DuckDB may take; beyond it, it spills into a folder beside `out`.
      threads: at most so many; by default all cores.

    Returns: what was written.
    Raises: UserError for files, columns or rows that can't be, for files that are in `onto` already, and for a full disk; then `out` is as
      it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...     done = aggregate("example:open_bandit", f"{home}/counts.parquet", clicks="click", item="item_id", features=["position"])
    ...     done.rows, done.events, done.bad
    (240, 10000, {})
    """
    roles = Columns(clicks=clicks, impressions=impressions, item=item, group=group, cluster=cluster, time=time, features=tuple(features))
    check_roles(roles)
    if on_bad_rows not in ("fail", "quarantine"):
        raise UserError(f"aggregate: on_bad_rows is {on_bad_rows!r}, must be fail or quarantine.")
    if not has_repeats(roles):
        raise UserError("aggregate: a row of counts without an item column is an item of its own: there is nothing to sum. Name `item`.")
    opened, out = open_source(source), Path(out)
    check_columns(opened, roles)
    summed = summed_columns(roles)
    added = _all_added(_added(onto, summed), _marks(opened))
    aside = out.with_name(f"_{out.stem}.quarantine.parquet")
    with _beside(out, aside) as (part, part_aside, spill), sql.connected(opened, out, spill, memory_limit, threads) as database:
        bad = {} if sql.proven_good(opened, roles) else sql.set_aside(database, opened, roles, part_aside)
        if bad and on_bad_rows == "fail":
            raise UserError(sql.message(database, opened, bad, part_aside))
        about = json.dumps({"columns": dataclasses.asdict(summed), "added": added})
        sql.write_counts(database, opened, roles, summed, onto, bool(bad), part, about)
        rows = pq.read_metadata(part).num_rows
        _publish(part, out)
        if bad:
            _publish(part_aside, aside)
    return Aggregated(out, rows, opened.rows - sql.total(bad), sql.by_reason(bad), aside if bad else None)


def _marks(source: Source) -> list[dict[str, str]]:
    """Which files they are."""
    return [{"file": part.file, "digest": part.mark()} for part in source.parts]


def _added(onto: str | Path | None, summed: Columns) -> list[dict[str, str]]:
    """The files that older counts are of.

    Raises: UserError if the file holds no counts, or counts of other columns.
    """
    if onto is None:
        return []
    held = pq.read_metadata(open_source(onto).parts[0].rows.path).metadata or {}
    if _ABOUT.encode() not in held:
        raise UserError(f"aggregate: {onto} was not written by rb.aggregate. Give the counts of an earlier call, or leave onto out.")
    about = json.loads(held[_ABOUT.encode()])
    columns = Columns(**about["columns"] | {"features": tuple(about["columns"]["features"])})
    if columns != summed:
        raise UserError(
            f"aggregate: {onto} holds counts of {listed(columns.used)}, asked for are {listed(summed.used)}. Name the same columns."
        )
    return list(about["added"])


def _all_added(before: Sequence[dict[str, str]], new: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The files that the counts will be of; UserError where one would be counted twice."""
    known = {mark["digest"]: mark["file"] for mark in before}
    for mark in new:
        if mark["digest"] in known:
            was = known[mark["digest"]]
            raise UserError(f"aggregate: {mark['file']} was added already (as {was}): its clicks would count twice. Leave it out.")
    return [*before, *new]


@contextmanager
def _beside(out: Path, aside: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Where the files are written until they are whole, and where DuckDB spills to; what is left there is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    places = tuple(path.with_name(f".{path.name}.{os.getpid()}.{what}") for path, what in ((out, "part"), (aside, "part"), (out, "spill")))
    try:
        yield places[0], places[1], places[2]
    finally:
        for place in places[:2]:
            place.unlink(missing_ok=True)
        shutil.rmtree(places[2], ignore_errors=True)


def _publish(part: Path, target: Path) -> None:
    """Puts a whole file on the disk and into its place."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
