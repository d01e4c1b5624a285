"""Training on rows that stay on disk: the rows of memory, each once, in whole groups; the numbers of a run that nothing disturbed."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from small import ROLES, features, frame

import recbayes as rb
from recbayes import streamed
from recbayes.features import Encoder
from recbayes.fitting import on_disk, part_of, prepare_rows
from recbayes.log.pieces import pieces
from recbayes.training import Schedule, train
from recbayes.types import UserError

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tensorflow", "recbayes.fitted"])
"""A process of its own, forked from one that has read TensorFlow's modules and started nothing."""
HOW = {"features": features(), "model": rb.linear(), "posterior": rb.map(), "batch_size": 64}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts of 300 pages in two files of row groups that cut pages."""
    home = tmp_path_factory.mktemp("streamed")
    made = frame(groups=300)
    for number, part in enumerate((made[:500], made[500:])):
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), home / f"{number}.parquet", row_group_size=90)
    return home


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 300 rows; row groups of more than 40 are cut, through pages too."""
    monkeypatch.setattr(streamed, "WINDOW_ROWS", 300)
    monkeypatch.setattr("recbayes.log.pieces.PIECE_ROWS", 40)


def feed_of(files: Path, group: str | bool, share: float = 1.0) -> tuple[Any, Any]:
    """The feed, and all its rows in memory."""
    log = rb.read_log(files, **ROLES, features=["headline", "image"])
    encoder = Encoder.fit(features(), {f.name: log.column(f.name) for f in features()})
    part = on_disk(rb.stream_log(files, **ROLES), group, share)
    return part.feed(encoder, Schedule()), prepare_rows(log, encoder, group or None)  # type: ignore[arg-type]  # True is not given


def listed(batches: Any) -> list[tuple[Any, ...]]:
    """Rows of batches as sortable tuples."""
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        columns = [batch.clicks, batch.impressions, *(batch.inputs[name] for name in sorted(batch.inputs))]
        rows += list(map(tuple, np.concatenate([np.asarray(c, np.float64).reshape(len(batch.clicks), -1) for c in columns], 1)))
    return sorted(rows)


@pytest.mark.parametrize("group", ["page", False])
@pytest.mark.usefixtures("small_windows")
def test_every_row_comes_once_as_in_memory(files: Path, group: str | bool) -> None:
    """A row lost or doubled, or encoded otherwise than when the model is served."""
    feed, rows = feed_of(files, group)
    expected = listed([rows])
    assert listed(feed.once(64)) == expected
    epochs = [list(feed.epoch(Schedule(batch_size=64, oov_share=0.0), epoch, (0, 0))) for epoch in range(2)]
    for found in epochs:
        assert listed(batch for batch, _ in found) == expected
    first = [found[0][0].impressions.numpy().tolist() for found in epochs]
    assert first[0] != first[1], "every epoch in the same order"


@pytest.mark.usefixtures("small_windows")
def test_pages_stay_whole_across_row_groups(files: Path) -> None:
    """A page cut in two would learn two page effects for one page; a bootstrap would draw its halves apart."""
    feed, _ = feed_of(files, "page")
    seen: dict[int, int] = {}
    for batch, _ in feed.epoch(Schedule(batch_size=50, oov_share=0.0), 0, (0, 0)):
        assert 1 <= len(batch.clicks) <= 56
        sizes = np.bincount(batch.segments)
        seen |= dict(zip(batch.groups.numpy().tolist(), sizes.tolist(), strict=True))
        np.testing.assert_array_equal(batch.groups, batch.clusters)
    assert seen == dict.fromkeys(range(300), 4)


@pytest.mark.usefixtures("small_windows")
def test_a_place_says_what_comes_next(files: Path) -> None:
    """What an interrupted epoch goes on from: neither a batch again nor one left out, those with hidden categories too."""
    feed, _ = feed_of(files, False, share=0.9)
    schedule = Schedule(batch_size=64, oov_share=0.3)
    whole = list(feed.epoch(schedule, 3, (0, 0)))
    assert sum(len(batch.clicks) for batch, _ in whole) > 1300
    for stop in (3, 6, 11):
        rest = list(feed.epoch(schedule, 3, whole[stop][1]))
        assert [place for _, place in rest] == [place for _, place in whole[stop + 1 :]]
        for (one, _), (other, _) in zip(rest, whole[stop + 1 :], strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def same(a: Any, b: Any) -> None:
    for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@dataclasses.dataclass(frozen=True)
class Killed:
    """A feed that ends with a Ctrl-C."""

    feed: Any
    after: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.feed, name)

    def epoch(self, schedule: Schedule, epoch: int, start: tuple[int, int]) -> Any:
        for number, found in enumerate(self.feed.epoch(schedule, epoch, start)):
            if epoch == 1 and number == self.after:
                raise KeyboardInterrupt
            yield found


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.usefixtures("small_windows")
def test_a_run_killed_within_an_epoch_goes_on_to_the_same_numbers(files: Path, tmp_path: Path, where: str) -> None:
    """Of a billion rows an epoch takes a day: a rerun must not begin it anew, nor end with other weights."""
    from recbayes.fitted import network_at_start
    from recbayes.training import Memory

    feed, rows = feed_of(files, False)
    feed = Memory(rows) if where == "memory" else feed
    part = on_disk(rb.stream_log(files, **ROLES), False, 1.0)
    encoder = feed_of(files, False)[0].encoder
    network = network_at_start(part, encoder, rb.beta_mixture(components=1), rb.linear(), None)
    schedule = Schedule(epochs=2, batch_size=64)
    straight = train(network, rb.map(), feed, schedule)
    with pytest.raises(KeyboardInterrupt):
        train(network, rb.map(), Killed(feed, 13), schedule, checkpoint=tmp_path, checkpoint_steps=5)
    left = Killed(feed, 10**9)
    resumed = train(network, rb.map(), left, schedule, checkpoint=tmp_path, checkpoint_steps=5)
    same(straight.state, resumed.state)
    assert [record["loss"] for record in straight.history] == [record["loss"] for record in resumed.history]


def fit_in_steps(files: str, checkpoint: str | None, epochs: int = 4) -> rb.Fitted:
    """A fit that writes a checkpoint every third step, in windows of few rows."""
    streamed.WINDOW_ROWS = 300
    stream = rb.stream_log(files, **ROLES)
    how = HOW | {"epochs": epochs, "held_out": 0.0, "batch_size": 16, "group_effect": False, "density": rb.point()}
    return rb.fit(stream, **how, checkpoint=checkpoint, checkpoint_steps=3)


@pytest.mark.usefixtures("small_windows")
def test_kill_9_within_an_epoch_changes_nothing(files: Path, tmp_path: Path) -> None:
    """A power cut costs the steps since the last checkpoint, and the rerun's weights are bit for bit those of a run without one."""
    process, seen = FORKED.Process(target=fit_in_steps, args=(str(files), str(tmp_path))), set()
    process.start()
    while len(seen) < 4:
        assert process.is_alive()
        seen |= {path.stat().st_mtime_ns for path in tmp_path.glob("final_*/state.npz")}
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed, straight = fit_in_steps(str(files), str(tmp_path)), fit_in_steps(str(files), None)
    same(resumed.state, straight.state)
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in straight.history]


def test_a_fit_from_disk_is_that_of_memory(files: Path) -> None:
    """Another order of rows and nothing else: the same model to what an order can change. Groups are set aside in both."""
    log = rb.read_log(files, **ROLES, features=["headline", "image"])
    how = HOW | {"epochs": 12, "group_effect": False}
    disk, memory = rb.fit(rb.stream_log(files, **ROLES), **how), rb.fit(log, **how)
    assert "held_out" in disk.history[0]
    assert disk.record["rows"] == 1200
    means = [np.asarray(fitted.predict(log).mean)[:, 0] for fitted in (disk, memory)]
    assert np.corrcoef(np.log(means))[0, 1] > 0.95
    assert np.abs(np.log(means[0] / means[1])).mean() < 0.1


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """60,000 events of three kinds, whose rates are 2%, 5% and 20%."""
    random = np.random.default_rng(1)
    kind = random.integers(0, 3, 60_000)
    rate = np.array([0.02, 0.05, 0.2])
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    table = pa.table({"click": (random.random(len(kind)) < rate[kind]).astype(np.int8), "kind": kind, "item": kind})
    pq.write_table(table, path, row_group_size=8000)
    clicks = np.bincount(kind, table.column("click").to_numpy()) / np.bincount(kind)
    return path, clicks


def test_rates_are_right_though_most_rows_without_a_click_are_left_out(events: tuple[Path, Any]) -> None:
    """Without the correction the rates would come out four times as high.

    The observed rates stand 3% or less from the truth; leaving out three of four unclicked rows adds under 1% an epoch. # alarm < 1e-6
    """
    path, observed = events
    stream = rb.stream_log(path, clicks="click", item="item")
    how = {"features": [rb.categorical("kind")], "model": rb.linear(wide_stddev=3.0), "density": rb.point(), "posterior": rb.map()}
    fitted = rb.fit(stream, **how, epochs=8, batch_size=1024, held_out=0.0, oov_share=0.0, learning_rate=0.05, negative_share=0.25)
    found = np.asarray(fitted.predict({"kind": np.arange(3)}).mean)[:, 0]
    np.testing.assert_allclose(found, observed, rtol=0.1)
    kept = on_disk(stream, False, 0.25).feed(fitted.encoder, Schedule())
    rows = sum(len(batch.clicks) for batch, _ in kept.epoch(Schedule(batch_size=1024, oov_share=0.0), 0, (0, 0)))
    assert abs(rows - kept.kept) < 6 * np.sqrt(60_000 * 0.25 * 0.75)
    assert rows < 21_000


def test_a_log_in_memory_can_leave_rows_out_too() -> None:
    """The same setting wherever rows are; rows of a page are put together first."""
    log = rb.read_log(frame(groups=40).sample(frac=1.0, random_state=0), **ROLES, features=["headline", "image"])
    fitted = rb.fit(log, **HOW | {"epochs": 1, "held_out": 0.0, "density": rb.point()}, negative_share=0.5)
    assert fitted.group == "page"
    with pytest.raises(UserError, match=r"negative_share is 0\.0"):
        rb.fit(log, **HOW, negative_share=0.0)


def test_faults_of_a_stream_are_named(files: Path, tmp_path: Path) -> None:
    """Each says which file or column, and what to do."""
    stream = rb.stream_log(files, **ROLES)
    for posterior in (rb.nuts(), rb.sgld()):
        with pytest.raises(UserError, match=f"posterior {posterior.kind}: all rows must be in memory"):
            rb.fit(stream, **HOW | {"posterior": posterior})
    with pytest.raises(UserError, match="recalibrate: all rows must be in memory"):
        rb.fit(stream, **HOW, recalibrate=True)
    with pytest.raises(UserError, match=r"has no column 'imag'. Did you mean 'image'"):
        rb.fit(stream, **HOW | {"features": [rb.categorical("imag")]})
    apart = pa.table({"c": [0, 1, 0], "n": [200, 200, 200], "g": ["a", "b", "a"]})
    pq.write_table(apart, tmp_path / "apart.parquet")
    with pytest.raises(UserError, match=r"rows of 1 groups of column 'g' lie apart.*rb\.aggregate"):
        pieces(rb.stream_log(tmp_path / "apart.parquet", clicks="c", impressions="n"), "g")
    pq.write_table(pa.table({"c": [0, 9], "n": [5, 5], "x": [1, 2]}), tmp_path / "bad.parquet")
    with pytest.raises(UserError, match=r"(?s)cannot be right.*c > n"):
        rb.fit(rb.stream_log(tmp_path / "bad.parquet", clicks="c", impressions="n"), **HOW | {"features": [rb.numeric("x")]})


def test_a_page_of_a_million_rows_is_refused_or_no_burden(tmp_path: Path) -> None:
    """A step takes a page whole: one of a million rows would take all memory. Without a page effect it is rows like others."""
    rows = 1_000_000
    table = pa.table({"click": np.zeros(rows, np.int8), "page": pa.repeat("front", rows)})
    pq.write_table(table, tmp_path / "skewed.parquet", row_group_size=100_000)
    stream = rb.stream_log(tmp_path / "skewed.parquet", clicks="click", group="page")
    with pytest.raises(UserError, match=r"a group of column 'page' has more than 65,536 rows.*rb\.aggregate"):
        pieces(stream, "page")
    assert [piece.stop - piece.start for piece in pieces(stream, None)] == [100_000] * 10
    few = np.arange(70_000)
    table = pa.table({"click": few % 2, "shown": few % 2 + 1, "item": few, "page": pa.repeat("front", len(few))})
    log = rb.read_log(table, clicks="click", impressions="shown", item="item", group="page")
    with pytest.raises(UserError, match="a group of column 'page' has more than 65,536 rows"):
        part_of(log, "page", 1.0)
    assert part_of(log, False, 1.0).size == 70_000


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_schema_that_changes_between_files_is_named_before_training(files: Path, tmp_path: Path, order: tuple[int, int]) -> None:
    """A column that a job writes no longer, or as another type, must not be found after a night of training. Wider numbers are fine."""
    lacks = {
        (0, 1): r"1\.parquet lacks column {} that 0\.parquet has",
        (1, 0): r"no column '{}' .*1\.parquet has it and 0\.parquet has not",
    }
    whole = pq.read_table(files / "0.parquet")
    number = whole.set_column(whole.schema.get_field_index("image"), "image", pa.array(np.arange(len(whole))))
    wide = whole.set_column(whole.schema.get_field_index("shown"), "shown", whole.column("shown").cast(pa.float64()))

    def opened(other: Any) -> Any:
        for name, table in zip(order, (whole, other)):
            pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=90)
        return rb.stream_log(tmp_path, **ROLES, features=["image"])

    for column in ("image", "shown"):
        with pytest.raises(UserError, match=lacks[order].format(column)):
            opened(whole.drop_columns([column]))
    with pytest.raises(UserError, match=r"column 'image' is .* in 0\.parquet and .* in 1\.parquet. Write both in one type"):
        opened(number)
    opened(wide)
    feed, rows = feed_of(tmp_path, False)
    assert listed(feed.once(64)) == listed([rows])


@pytest.mark.usefixtures("small_windows")
def test_a_file_that_vanishes_or_is_damaged_between_epochs_is_named(files: Path, tmp_path: Path) -> None:
    """Training goes on from its checkpoint once the file is back."""
    for file in files.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    feed, _ = feed_of(tmp_path, False)
    content = bytearray((tmp_path / "1.parquet").read_bytes())
    middle = len(content) // 3
    (tmp_path / "1.parquet").write_bytes(bytes(content[:middle] + bytes(2 * middle) + content[3 * middle :]))
    with pytest.raises(UserError, match=r"1\.parquet is damaged.*Copy it again before the next run"):
        list(feed.once(64))
    (tmp_path / "1.parquet").write_bytes(bytes(content))
    table, sizes = pq.read_table(tmp_path / "1.parquet"), pq.ParquetFile(tmp_path / "1.parquet").metadata.row_group(0).num_rows
    for changed, size in ((table, 7), (table.take(np.arange(len(table))[::-1]), sizes)):
        pq.write_table(changed, tmp_path / "1.parquet", row_group_size=size)
        with pytest.raises(UserError, match=r"1\.parquet was written anew while it was read. Put the old file back"):
            list(feed.once(64))
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(UserError, match=r"1\.parquet vanished while it was read. Put it back"):
        list(feed.once(64))
