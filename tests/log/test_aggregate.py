"""Aggregation on disk: the same counts as in memory, days that add up, bad rows kept, and faults that leave the old file as it was."""

import itertools
import resource
import signal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recbayes as rb
from recbayes.log import sql
from recbayes.log.stream import stream_log
from recbayes.types import UserError

ROLES = {"clicks": "click", "item": "item", "group": "page", "time": "at", "features": ("kind", "price", "tags", "kind")}


def events(rows=4000, seed=0):
    """Events of few distinct kinds, with nulls, NaN, lists, dictionaries, and clicks as bools."""
    random = np.random.default_rng(seed)
    kind = random.choice(np.array(["red", "blue", None, "it's"], object), rows)
    price = random.choice([1.5, np.nan, 2.0], rows)
    return pa.table(
        {
            "click": pa.array(random.random(rows) < 0.3),
            "item": random.integers(0, 9, rows).astype(np.int32),
            "page": pa.array(random.choice(np.array(["p1", "p2", None], object), rows)).dictionary_encode(),
            "at": pa.array(random.integers(0, 10**6, rows), pa.timestamp("s", "UTC")),
            "kind": pa.array(kind.tolist(), pa.string()),
            "price": pa.array([None if random.random() < 0.1 else p for p in price], pa.float64()),
            "tags": pa.array([[["a", "b"], ["a"], [], None][i] for i in random.integers(0, 4, rows)], pa.list_(pa.string())),
            "unused": random.random(rows),
        }
    )


def written(table, path, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **settings)
    return path


def in_order(table):
    """Rows as a sorted list of texts: counts are a set of rows."""
    return sorted(map(str, table.to_pylist()))


def counts_of(path, roles):
    """What `aggregate` wrote, read as a log."""
    return rb.read_log(path, **roles | {"impressions": "impressions"}).table


@pytest.mark.parametrize("limit", ["1GB", "40MB"])
def test_counts_on_disk_are_those_in_memory(tmp_path, limit):
    """A model trained on aggregated counts must be that of the events, whatever memory there was."""
    source = written(events(), tmp_path / "events.parquet", row_group_size=700)
    done = rb.aggregate(source, tmp_path / "counts.parquet", memory_limit=limit, **ROLES)
    expected = rb.read_log(source, **ROLES).counts()
    found = counts_of(done.out, ROLES)
    assert in_order(found) == in_order(expected.table)
    assert found.column_names == expected.table.column_names
    assert (done.rows, done.events, done.bad, done.quarantine) == (len(expected), 4000, {}, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["counts.parquet", "events.parquet"]


def test_equal_input_gives_equal_files(tmp_path):
    """Training follows the order of rows: threads must not change it. Rows of a page lie together."""
    source = written(events(), tmp_path / "events.parquet", row_group_size=300)
    files = [rb.aggregate(source, tmp_path / f"{i}.parquet", threads=1 + i, **ROLES).out for i in range(2)]
    assert str(pq.read_table(files[0]).to_pylist()) == str(pq.read_table(files[1]).to_pylist())
    pages = pq.read_table(files[0]).column("page").to_pylist()
    assert sum(a != b for a, b in itertools.pairwise(pages)) == 2


def test_a_day_can_be_added(tmp_path):
    """Counts of Monday and of Tuesday are the counts of both; a day twice would count its clicks twice."""
    days = [written(events(seed=day), tmp_path / f"day={day}" / "part.parquet") for day in range(3)]
    out = tmp_path / "counts" / "all.parquet"
    for day in days:
        rb.aggregate(day, out, onto=out if out.exists() else None, **ROLES)
    expected = rb.read_log(tmp_path / "day=*" / "part.parquet", **ROLES).counts()
    assert in_order(counts_of(out, ROLES)) == in_order(expected.table)
    before = out.read_bytes()
    with pytest.raises(UserError, match=r"part\.parquet was added already"):
        rb.aggregate(days[1], out, onto=out, **ROLES)
    with pytest.raises(UserError, match="Name the same columns"):
        rb.aggregate(days[1], out, onto=out, clicks="click", item="item")
    with pytest.raises(UserError, match=r"not written by rb\.aggregate"):
        rb.aggregate(days[1], out, onto=days[0], **ROLES)
    assert out.read_bytes() == before


def test_counts_are_summed_further_and_folders_name_columns(tmp_path):
    """Counts of shards, whose column of the day stands in folders' names and whose types differ."""
    shards = []
    for day, kind in ((1, pa.int32()), (2, pa.int64())):
        table = pa.table({"item": ["a", "b", "a"], "n": [5, 7, 6 * day], "c": pa.array([1, 0, day], kind)})
        shards.append(written(table, tmp_path / f"day={day}" / "counts.parquet"))
    roles = {"clicks": "c", "impressions": "n", "item": "item", "features": ("day",)}
    done = rb.aggregate(tmp_path / "day=*" / "*.parquet", tmp_path / "out.parquet", **roles)
    assert pq.read_table(done.out, columns=["c", "n", "item", "day"]).to_pylist() == [
        {"c": 2, "n": 11, "item": "a", "day": 1},
        {"c": 3, "n": 17, "item": "a", "day": 2},
        {"c": 0, "n": 7, "item": "b", "day": 1},
        {"c": 0, "n": 7, "item": "b", "day": 2},
    ]


def bad_events():
    """Every rule broken, some rows by two of them."""
    table = pa.table(
        {
            "c": [1.0, None, -1.0, 0.5, 9.0, float("inf"), float("nan"), 2.0, 1.0, -0.5],
            "n": [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, None, -3.0, 1e300],
            "item": ["a", "b", None, "d", "e", None, "g", "h", "i", "j"],
            "at": [1.0, 2.0, float("nan"), 4.0, 5.0, 6.0, 7.0, 8.0, None, 10.0],
        }
    )
    return pa.concat_tables([table] * 3)


def test_bad_rows_are_kept_with_their_reasons(tmp_path):
    """Nothing is dropped unseen: reasons, files and row numbers are those of `read_log`."""
    for i in range(2):
        written(bad_events(), tmp_path / "log" / f"{i}.parquet")
    roles = {"clicks": "c", "impressions": "n", "item": "item", "time": "at"}
    log = rb.read_log(tmp_path / "log", on_bad_rows="quarantine", **roles)
    done = rb.aggregate(tmp_path / "log", tmp_path / "out.parquet", on_bad_rows="quarantine", **roles)
    assert in_order(pq.read_table(done.out)) == in_order(log.counts().table)
    assert done.quarantine == tmp_path / "_out.quarantine.parquet"
    assert in_order(pq.read_table(done.quarantine)) == in_order(log.quarantined)
    assert done.bad["c is null"] == 12
    assert done.events == len(log)
    with pytest.raises(UserError, match=r"54 of 60 rows are bad[^$]*c is null: 12 rows \(0\.parquet row 1;"):
        rb.aggregate(tmp_path / "log", tmp_path / "none.parquet", **roles)
    assert not (tmp_path / "none.parquet").exists()


def test_one_impression_has_one_click_at_most(tmp_path):
    """The footer's range says that no row can be bad, or that they must be looked at."""
    good, two = (written(pa.table({"c": [0, 1, top], "item": [1, 2, 3]}), tmp_path / f"{top}.parquet") for top in (1, 2))
    for path, proven in ((good, True), (two, False)):
        stream = stream_log(path, clicks="c", item="item")
        assert sql.proven_good(stream.opened, stream.columns) is proven
    with pytest.raises(UserError, match="without an impressions column a row is one impression"):
        rb.aggregate(two, tmp_path / "out.parquet", clicks="c", item="item")


def test_what_cannot_be_summed_is_refused(tmp_path):
    source = written(events(), tmp_path / "events.parquet")
    with pytest.raises(UserError, match=r"no column 'clik'.*Did you mean 'click'"):
        rb.aggregate(source, tmp_path / "out.parquet", clicks="clik", item="item")
    with pytest.raises(UserError, match="there is nothing to sum"):
        rb.aggregate(source, tmp_path / "out.parquet", clicks="click", impressions="item")


def test_a_full_disk_leaves_the_old_counts(tmp_path):
    """The limit on a file's size stands for a full disk: the old file is whole and nothing half written stays."""
    random = np.random.default_rng(0)
    table = pa.table({"click": [0, 1] * 50_000, "item": random.integers(0, 10**9, 100_000)})
    source = written(table, tmp_path / "events.parquet")
    out = written(pa.table({"old": [1]}), tmp_path / "counts.parquet")
    before, limits = out.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    heed = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(UserError, match=r"counts\.parquet cannot be written: the disk is full"):
            rb.aggregate(source, out, clicks="click", item="item")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heed)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["counts.parquet", "events.parquet"]


def test_too_little_memory_and_disk_is_said(tmp_path):
    random = np.random.default_rng(0)
    source = written(pa.table({"click": [0] * 200_000, "item": random.integers(0, 10**9, 200_000)}), tmp_path / "events.parquet")
    with pytest.raises(UserError, match=r"1MB of memory are not enough.*Raise memory_limit"):
        rb.aggregate(source, tmp_path / "counts.parquet", clicks="click", item="item", memory_limit="1MB")


def damaged(path):
    """A row group whose bytes were lost, the footer whole."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 2000 : middle + 2000] = bytes(4000)
    path.write_bytes(content)


def test_a_damaged_or_cut_file_is_named(tmp_path):
    """Of a thousand shards the user must learn which one to copy again."""
    for i in range(3):
        written(events(seed=i), tmp_path / "log" / f"{i}.parquet")
    damaged(tmp_path / "log" / "1.parquet")
    with pytest.raises(UserError, match=r"1\.parquet is damaged"):
        rb.aggregate(tmp_path / "log", tmp_path / "out.parquet", **ROLES)
    whole = (tmp_path / "log" / "2.parquet").read_bytes()
    (tmp_path / "log" / "2.parquet").write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"2\.parquet is not a Parquet file, or was cut off.*Copy or write it again"):
        rb.aggregate(tmp_path / "log", tmp_path / "out.parquet", **ROLES)
    assert not (tmp_path / "out.parquet").exists()


def test_a_shard_that_vanishes_is_named(tmp_path, monkeypatch):
    """Another job that tidies up while this one reads."""
    for i in range(2):
        written(events(seed=i), tmp_path / "log" / f"{i}.parquet")
    monkeypatch.setattr(sql, "proven_good", lambda *given: (tmp_path / "log" / "1.parquet").unlink() is None)
    with pytest.raises(UserError, match=r"1\.parquet vanished while it was read. Put it back"):
        rb.aggregate(tmp_path / "log", tmp_path / "out.parquet", **ROLES)


def test_shards_of_another_schema_are_named(tmp_path):
    written(events(), tmp_path / "log" / "a.parquet")
    written(events().drop_columns(["kind"]), tmp_path / "log" / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet lacks column kind that a\.parquet has"):
        rb.aggregate(tmp_path / "log", tmp_path / "out.parquet", **ROLES)
    changed = events().set_column(1, "item", pa.array([["x"]] * 4000))
    written(changed, tmp_path / "log" / "b.parquet")
    with pytest.raises(UserError, match=r"column 'item' is int32 in a\.parquet and .* in b\.parquet"):
        rb.aggregate(tmp_path / "log", tmp_path / "out.parquet", **ROLES)


def test_one_page_of_a_million_rows_is_no_burden(tmp_path):
    """A page that everyone sees: its events are summed like any other's, in 200 MB."""
    rows = 1_000_000
    table = pa.table({"click": np.arange(rows) % 10 == 0, "page": pa.repeat("front", rows), "item": np.arange(rows) % 50})
    source = written(table, tmp_path / "events.parquet")
    done = rb.aggregate(source, tmp_path / "out.parquet", clicks="click", item="item", group="page", memory_limit="200MB")
    assert done.rows == 50
    found = pd.read_parquet(done.out)
    assert (found.impressions == 20_000).all()
    assert found.click.sum() == 100_000
