"""Reading: files, folders and globs; column types; quarantine; streaming."""

import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log.logs import ROLES, frame, upworthy

from recbayes.log import attribution, example_names, example_path, fingerprint, read_log
from recbayes.log import counts as counting
from recbayes.log import source as reading


def test_a_file_a_folder_and_a_glob_hold_the_same_rows(tmp_path):
    """Where the rows lie must not change what is read."""
    parts = tmp_path / "parts"
    (parts / "deep").mkdir(parents=True)
    frame().iloc[:3].to_parquet(parts / "a.parquet")
    frame().iloc[3:].to_parquet(parts / "deep" / "b.parquet")
    (parts / "_SUCCESS").touch()
    (parts / ".hidden.parquet").touch()
    frame().to_parquet(tmp_path / "whole.parquet")
    logs = [
        read_log(source, **ROLES)
        for source in (tmp_path / "whole.parquet", parts, f"{parts}/**/*.parquet", frame(), pa.Table.from_pandas(frame()))
    ]
    assert all(log.table.equals(logs[0].table) for log in logs)


def test_folders_give_columns(tmp_path):
    """Logs written by day keep the day in the folder's name."""
    for day in ("2024-01-01", "2024-01-02"):
        (tmp_path / f"day={day}" / "hour=3").mkdir(parents=True)
        frame().to_parquet(tmp_path / f"day={day}" / "hour=3" / "part-0.parquet")
    log = read_log(tmp_path, **ROLES, features=["day", "hour"])
    assert log.column("day").to_pylist() == ["2024-01-01"] * 6 + ["2024-01-02"] * 6
    assert log.column("hour").to_pylist() == [3] * 12


def test_only_named_columns_are_kept():
    """A wide log does not fill the memory with columns that nobody reads."""
    assert read_log(frame(), **ROLES, features=["colour"]).table.column_names == ["clicks", "shown", "item", "test", "at", "colour"]
    assert read_log(frame(), clicks="clicks", impressions="shown", features=[]).table.column_names == ["clicks", "shown"]
    assert read_log(frame(), clicks="clicks", impressions="shown").columns.features == ("item", "test", "at", "colour")


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int32(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(10, 2), pa.int64()], ids=str
)
def test_counts_of_any_number_type(kind):
    """Nullable integers arrive as floats, sums as decimals: whole numbers are counts all the same."""
    values = [decimal.Decimal(v) for v in (1, 2, 0)] if pa.types.is_decimal(kind) else [1, 2, 0]
    log = read_log(
        pa.table({"clicks": pa.array(values, kind), "shown": pa.array([9, 9, 9], pa.int32())}), clicks="clicks", impressions="shown"
    )
    assert log.clicks.dtype == log.impressions.dtype == np.int64
    assert log.clicks.tolist() == [1, 2, 0]


def test_strings_and_lists_of_any_encoding():
    """Dictionary, large and view strings, and lists of them, read as the same values."""
    words = pa.array(["a", None, "b", "a"])
    table = pa.table(
        {
            "clicks": [1, 0, 1, 0],
            "dictionary": words.dictionary_encode(),
            "large": words.cast(pa.large_string()),
            "view": words.cast(pa.string_view()),
            "tags": pa.array([["a", "b"], [], None, ["c"]]),
            "fixed": pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32(), 2)),
        }
    )
    log = read_log(table, clicks="clicks")
    for name in ("dictionary", "large", "view"):
        assert log.column(name).to_pylist() == ["a", None, "b", "a"]
        assert log.column(name).type == pa.large_string()
    assert log.column("tags").to_pylist() == [["a", "b"], [], None, ["c"]]
    assert log.column("fixed").to_pylist() == [[1.0, 2.0]] * 4


def test_dictionaries_that_differ_between_row_groups(tmp_path):
    """Each row group has its own dictionary; codes must not be taken for values."""
    schema = pa.schema([("clicks", pa.int64()), ("word", pa.dictionary(pa.int32(), pa.string()))])
    with pq.ParquetWriter(tmp_path / "log.parquet", schema) as writer:
        for word in ("a", "b", "c"):
            writer.write_table(pa.table({"clicks": [1, 0], "word": pa.array([word, "z"]).dictionary_encode()}, schema=schema))
    assert read_log(tmp_path / "log.parquet", clicks="clicks").column("word").to_pylist() == ["a", "z", "b", "z", "c", "z"]


def test_quarantine_keeps_the_bad_rows_with_reason_and_number(tmp_path):
    """Rows set aside can be found again in the file that they came from."""
    frame().to_parquet(tmp_path / "a.parquet")
    frame(clicks=[1, 99, 0, None, 1, 0], item=["a", None, "a", "c", "b", "c"]).to_parquet(tmp_path / "b.parquet")
    log = read_log(tmp_path, **ROLES, on_bad_rows="quarantine")
    assert len(log) == 10
    aside = log.quarantined.to_pandas()
    assert aside.quarantine_row.tolist() == [1, 3]
    assert aside.quarantine_file.tolist() == ["b.parquet"] * 2
    assert aside.quarantine_reason.tolist() == ["clicks > shown; item is null", "clicks is null"]
    assert aside.shown.tolist() == [20, 30]
    assert "quarantined 2" in repr(log)
    assert read_log(frame(), **ROLES).quarantined.num_rows == 0


def test_row_numbers_across_batches(monkeypatch):
    """A row number is one of the file, not of the batch that it was read in."""
    monkeypatch.setattr(reading, "BATCH_ROWS", 7)
    clicks = np.zeros(100, int)
    clicks[[3, 50, 99]] = 5
    clicks[0] = 1
    log = read_log(pd.DataFrame({"clicks": clicks}), clicks="clicks", on_bad_rows="quarantine")
    assert log.quarantined.column("quarantine_row").to_pylist() == [3, 50, 99]
    assert len(log) == 97


def test_summed_while_reading_equals_summed_after(monkeypatch):
    """Summing batch by batch must give what summing at once gives, in the same order."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"click": rng.integers(0, 2, 5_000), "item": rng.integers(0, 9, 5_000), "page": rng.integers(0, 5, 5_000)})
    roles = {"clicks": "click", "item": "item", "features": ["page"]}
    whole = read_log(events, **roles).counts()
    monkeypatch.setattr(reading, "BATCH_ROWS", 100)
    monkeypatch.setattr(counting, "PENDING_ROWS", 250)
    streamed = read_log(events, **roles, as_counts=True)
    assert streamed.table.equals(whole.table)
    assert streamed.columns == whole.columns
    assert len(streamed) == 45
    assert streamed.impressions.sum() == 5_000


def test_events_are_never_held_whole_when_summed(monkeypatch, tmp_path):
    """Memory follows the distinct rows: what waits to be summed stays below the limit."""
    monkeypatch.setattr(counting, "PENDING_ROWS", 10_000)
    monkeypatch.setattr(reading, "BATCH_ROWS", 1_000)
    largest = []
    summed = counting._sum_equal
    monkeypatch.setattr(counting, "_sum_equal", lambda table, columns: largest.append(table.num_rows) or summed(table, columns))
    events = pd.DataFrame({"click": np.arange(200_000) % 2, "item": np.arange(200_000) % 50})
    events.to_parquet(tmp_path / "events.parquet", row_group_size=20_000)
    assert len(read_log(tmp_path / "events.parquet", clicks="click", item="item", features=[], as_counts=True)) == 50
    assert max(largest) <= 11_000


def test_fingerprint_follows_the_contents(tmp_path):
    """Stages are skipped by it: it must change with the data and only with the data."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    for folder in ("here", "there"):
        frame().to_parquet(tmp_path / folder / "a.parquet")
    assert fingerprint(tmp_path / "here") == fingerprint(tmp_path / "there")
    first = read_log(tmp_path / "here", **ROLES)
    assert first.fingerprint == read_log(tmp_path / "there", **ROLES).fingerprint
    assert first.fingerprint != read_log(tmp_path / "here", **ROLES, features=[]).fingerprint
    assert first.fingerprint != first.take([0, 1]).fingerprint != first.take([1, 0]).fingerprint
    frame(clicks=[0, 2, 0, 3, 1, 0]).to_parquet(tmp_path / "there" / "a.parquet")
    assert fingerprint(tmp_path / "here") != fingerprint(tmp_path / "there")


def test_every_example_has_its_authors():
    """Nothing is shipped without its licence and citation."""
    assert example_names() == ["open_bandit", "open_bandit_bts", "open_bandit_bts_policy", "upworthy"]
    for name in example_names():
        assert example_path(f"example:{name}").is_file()
        assert "icence" in attribution(f"example:{name}") or "Apache" in attribution(f"example:{name}")
    assert "CC BY 4.0" in (upworthy().attribution or "")
