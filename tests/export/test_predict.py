"""Predictions of a whole Parquet file: streamed, in order, whole or not at all."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from recbayes.export import predict, predicting, rates
from recbayes.types import UserError

COLUMNS = ["mean", "data_stddev", "model_stddev", "stddev", "lower", "upper"]


@pytest.fixture
def parquet(rows, tmp_path):
    """A file of three row groups with a dictionary column and a null."""
    frame = rows.assign(headline=rows.headline.where(rows.id != 5))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.set_column(table.schema.get_field_index("country"), "country", table["country"].dictionary_encode())
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=17)
    return tmp_path / "rows.parquet"


def test_rows_keep_their_order_and_columns(plain, parquet, tmp_path):
    """Predictions stand beside other rows' ids."""
    done = []
    count = predict(plain, parquet, tmp_path / "out.parquet", batch_rows=7, progress=lambda *now: done.append(now))
    out = pd.read_parquet(tmp_path / "out.parquet")
    before = pd.read_parquet(parquet)
    assert count == len(out) == 40
    assert done[-1] == (40, 40)
    assert len(done) >= 6
    assert list(out.columns) == [*before.columns, *COLUMNS]
    pd.testing.assert_series_equal(out.id, before.id)
    alone = plain.predict({name: before[name] for name in ("headline", "image-id")})
    np.testing.assert_allclose(out["mean"], alone.mean[:, 0], rtol=1e-5)
    assert out[COLUMNS].notna().all().all()
    assert ((out.lower <= out["mean"]) & (out["mean"] <= out.upper)).all()


def test_the_run_folder_predicts_what_its_model_does(run_folder, fitted, parquet, tmp_path):
    """`recbayes predict` answers otherwise than the fitted model."""
    predict(run_folder, parquet, tmp_path / "out.parquet")
    out, before = pd.read_parquet(tmp_path / "out.parquet"), pq.read_table(parquet)
    exact = fitted.predict({feature.name: before[feature.name] for feature in fitted.encoder.features})
    np.testing.assert_allclose(out["mean"], exact.mean[:, 0], rtol=1e-3)
    np.testing.assert_allclose(out["stddev"], exact.stddev[:, 0], rtol=2e-3)
    np.testing.assert_allclose(out.data_stddev**2 + out.model_stddev**2, out["stddev"] ** 2, rtol=1e-4)


def test_a_killed_prediction_leaves_the_old_file_and_goes_on(plain, parquet, tmp_path, monkeypatch):
    """Half a file looks like a whole one, or hours of work are lost; or another model's half is taken for this one's."""
    out = tmp_path / "out.parquet"
    out.write_text("old")

    def stop(done, _):
        if done > 20:
            raise KeyboardInterrupt

    seen, score = [], predicting.Scored.__call__
    monkeypatch.setattr(predicting.Scored, "__call__", lambda self, table: seen.extend(table["id"].to_pylist()) or score(self, table))
    with pytest.raises(KeyboardInterrupt):
        predict(plain, parquet, out, batch_rows=10, progress=stop)
    assert out.read_text() == "old"
    assert set(seen) >= set(range(30))
    predict(plain, parquet, out, batch_rows=10)
    assert sorted(seen) == list(range(40))  # the last batch in whichever call it was begun
    whole = pd.read_parquet(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "rows.parquet"]
    with pytest.raises(KeyboardInterrupt):
        predict(plain, parquet, out, batch_rows=10, progress=stop)
    seen.clear()
    moved = dataclasses.replace(plain, state=tf.nest.map_structure(lambda t: t + 0.1, plain.state))
    predict(moved, parquet, out, batch_rows=10)
    assert sorted(seen) == list(range(40))
    again = pd.read_parquet(out)
    assert (again["mean"] != whole["mean"]).all()
    pd.testing.assert_series_equal(again.id, whole.id)


def test_what_was_predicted_is_kept_on_a_machine_of_more_cores(plain, parquet, tmp_path, monkeypatch):
    """Batches are cut for the cores that there are: parts of a killed call are thrown away, or stand beside other rows."""
    seen, score = [], predicting.Scored.__call__
    monkeypatch.setattr(predicting.Scored, "__call__", lambda self, table: seen.extend(table["id"].to_pylist()) or score(self, table))
    monkeypatch.setattr(predicting, "SLICE", 4)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting, "_cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        predict(plain, parquet, tmp_path / "out.parquet", progress=stop)
    monkeypatch.setattr(predicting, "_cores", lambda: 7)
    predict(plain, parquet, tmp_path / "out.parquet")
    assert sorted(seen) == list(range(40))
    predict(plain, parquet, tmp_path / "whole.parquet")
    out, whole = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("out", "whole"))
    np.testing.assert_array_equal(out.id, whole.id)
    np.testing.assert_allclose(out[COLUMNS], whole[COLUMNS], rtol=2e-5)


def test_two_calls_do_not_write_one_file(plain, parquet, tmp_path, monkeypatch):
    """A job that is started twice mixes up its parts, or takes those of another version or another encoder for its own."""
    out = tmp_path / "out.parquet"
    with pytest.raises(UserError, match=r"out.parquet: another predict is writing it"):
        predict(plain, parquet, out, progress=lambda *_: predict(plain, parquet, out))
    first = predicting.Scored(plain).model
    coding = plain.encoder.codings["headline"]
    monkeypatch.setattr(coding, "length", coding.length + 1)
    other = predicting.Scored(plain).model
    monkeypatch.setattr(predicting, "__version__", "0.0.1")
    assert len({first, other, predicting.Scored(plain).model}) == 3


def test_equal_rows_are_computed_once(plain, parquet, tmp_path, monkeypatch):
    """A log of a million showings of a hundred items takes as long as a million items; or a row gets its neighbour's answer."""
    table = pq.read_table(parquet)
    pq.write_table(table.take(pa.array([3, 1, 3, 3, 1, 5, 3])), tmp_path / "again.parquet")
    sizes = []
    part = predicting.Scored._slice
    monkeypatch.setattr(predicting.Scored, "_slice", lambda self, raw, *at: sizes.append(len(raw["headline"])) or part(self, raw, *at))
    predict(plain, tmp_path / "again.parquet", tmp_path / "out.parquet")
    predict(plain, parquet, tmp_path / "all.parquet")
    out, alone = pd.read_parquet(tmp_path / "out.parquet"), pd.read_parquet(tmp_path / "all.parquet").set_index("id")
    assert sizes[0] == 3
    np.testing.assert_allclose(out["mean"], alone["mean"].loc[out.id], rtol=1e-5)


def test_rows_that_repeat_after_others_that_differ_keep_their_answers(plain, parquet, tmp_path):
    """Tables that are not compared, as those before had no equal rows, get each other's answers; or the rows of a text change places."""
    table = pq.read_table(parquet)
    order = [*range(40), *[3] * 25, *range(39, -1, -1), *[7, 5] * 10]
    pq.write_table(table.take(pa.array(order)), tmp_path / "long.parquet")
    predict(plain, tmp_path / "long.parquet", tmp_path / "out.parquet", batch_rows=10)
    predict(plain, parquet, tmp_path / "all.parquet")
    out, alone = pd.read_parquet(tmp_path / "out.parquet"), pd.read_parquet(tmp_path / "all.parquet").set_index("id")
    assert out.id.tolist() == table["id"].take(pa.array(order)).to_pylist()
    for name in COLUMNS:
        np.testing.assert_allclose(out[name], alone[name].loc[out.id], rtol=2e-5, err_msg=name)


def test_rows_that_need_every_draw_keep_their_places(fitted, parquet, tmp_path, monkeypatch):
    """The few rows of a slice that are put off, or the many that are not, get each other's answers."""
    predict(fitted, parquet, tmp_path / "quick.parquet")
    monkeypatch.setattr(rates, "PLACE", -1.0)  # no row's draws are alike enough to be merged
    quick, files = pd.read_parquet(tmp_path / "quick.parquet"), []
    for rough in (1, 4, 1000):
        monkeypatch.setattr(predicting, "ROUGH", rough)
        predict(fitted, parquet, tmp_path / "out.parquet")
        files.append(pd.read_parquet(tmp_path / "out.parquet"))
        np.testing.assert_allclose(files[0][COLUMNS], files[-1][COLUMNS], rtol=1e-3)  # ends are searched beside other rows
    out = files[0]
    np.testing.assert_allclose(out["mean"], quick["mean"], rtol=0.01)
    changed = (out[COLUMNS] != quick[COLUMNS]).any(axis=1)
    assert changed.any()


def test_what_can_not_be_predicted_is_said(plain, parquet, tmp_path):
    """A wrong file is a traceback, or an empty output."""
    out = tmp_path / "out.parquet"
    with pytest.raises(UserError, match=r"nothing.parquet: no such file"):
        predict(plain, tmp_path / "nothing.parquet", out)
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(UserError, match=r"text.parquet: not a Parquet file"):
        predict(plain, tmp_path / "text.parquet", out)
    pd.DataFrame({"headlines": ["a"], "image-id": [1]}).to_parquet(tmp_path / "misnamed.parquet")
    with pytest.raises(UserError, match=r"no column 'headline'\. Did you mean 'headlines'"):
        predict(plain, tmp_path / "misnamed.parquet", out)
    pd.DataFrame({"headline": ["a"], "image-id": [1], "mean": [0.5]}).to_parquet(tmp_path / "clash.parquet")
    with pytest.raises(UserError, match="has columns mean, the names of predictions"):
        predict(plain, tmp_path / "clash.parquet", out)
    for nowhere, reason in ((tmp_path / "none" / "out.parquet", "there is no folder"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=reason):
            predict(plain, parquet, nowhere)
    assert not out.exists()


def test_no_rows_is_a_file_without_rows(plain, parquet, tmp_path):
    """An empty day breaks the nightly job."""
    pq.write_table(pq.read_table(parquet).slice(0, 0), tmp_path / "empty.parquet")
    assert predict(plain, tmp_path / "empty.parquet", tmp_path / "out.parquet") == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names[-6:] == COLUMNS


def test_memory_does_not_grow_with_the_file(plain, tmp_path):
    """A file larger than memory can't be predicted. 40 MB of text, of which at most a few batches may be held."""
    plain.save(tmp_path / "run" / "model")
    schema = pa.schema([("headline", pa.string()), ("image-id", pa.int64())])
    with pq.ParquetWriter(tmp_path / "big.parquet", schema) as writer:
        for part in range(20):
            texts = [f"{part} {row} " + "word " * 400 for row in range(1000)]
            writer.write_table(pa.table({"headline": texts, "image-id": list(range(1000))}, schema))
    code = """
import resource, sys
from recbayes.export import predict, predicting
from recbayes.fitted import load
peaks = []
predict(load(sys.argv[1] + "/run/model"), sys.argv[1] + "/big.parquet", sys.argv[1] + "/out.parquet", batch_rows=500,
        progress=lambda done, of: peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
print((peaks[-1] - peaks[len(peaks) // 4]) / 1024)
"""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 25.0
