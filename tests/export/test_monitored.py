"""From an export's answers to the monitor's page: the command on a log of what was served."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from helpers import recbayes

import recbayes as rb
from recbayes.monitor import served


@pytest.fixture(scope="module")
def log(run_folder, fitted, rows):
    """What `decide` answered on ten pages of four headlines, forty times each, and what came of it."""
    about = json.loads((run_folder / "export" / "metadata.json").read_text())
    decide = tf.saved_model.load(str(run_folder / "export" / "1")).signatures["decide"]
    raw, pages = fitted.encoder.raw(rows), np.tile(np.arange(10), 40)
    request = {}
    for entry in about["signatures"]["decide"]["inputs"]:
        if entry.get("feature"):
            values = raw[entry["feature"]]
            by_page = values.reshape(10, 4, *values.shape[1:])
            request[entry["name"]] = by_page[pages] if entry["shape"][:2] == ["B", "A"] else by_page[pages, 0]
    none, ones = np.zeros((400, 4), np.int64), np.ones(400, np.float32)
    request |= {"clicks": none, "impressions": none, "candidates": none == 0, "remaining": ones, "batch": ones}
    request |= {"exploration": np.float32(1.0), "seed": np.array([1, 2], np.int32)}
    answer = {name: value.numpy() for name, value in decide(**{n: tf.constant(v) for n, v in request.items()}).items()}
    clicks = np.random.default_rng(0).random(400) < answer["mean"][np.arange(400), answer["action"]]
    items, groups = rows.id.to_numpy().reshape(10, 4)[pages], rows.page.to_numpy()[::4][pages]
    return served(about, request, answer, items=items, groups=groups, at=1.7e9 + np.arange(400.0), clicks=clicks)


@pytest.fixture(scope="module")
def folder(run_folder, train_log, fitted):
    """The run folder, with what the command looks up in it."""
    columns = {name: getattr(train_log.columns, name) for name in ("clicks", "impressions", "item", "group", "time")}
    features = [{"name": f.name, "kind": f.kind, "side": f.side, **f.settings} for f in fitted.encoder.features]
    config = {"log": {"path": str(train_log.source), "columns": columns}, "features": features}
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
    (run_folder / "stages.json").write_text(json.dumps({"recbayes": rb.__version__, "stages": {}}))
    return run_folder


def test_the_command_writes_figures_and_a_page(folder, fitted, log, tmp_path):
    """`recbayes monitor` does not run on what an export's answers were logged as."""
    pq.write_table(log, tmp_path / "log.parquet")
    done = recbayes("monitor", folder, tmp_path / "log.parquet", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads((folder / "monitor.json").read_text(), parse_constant=pytest.fail)
    assert found["decisions"] == 400
    assert abs(found["click_rate"]["z"]) < 5  # alarm 1e-6: a page's 40 answers share its rate
    assert found["coverage"]["items"] == len({*zip(log["group"].to_pylist(), log["item"].to_pylist())})
    assert set(found["features"]) == {f.name for f in fitted.encoder.features if f.kind != "time"}
    assert (folder / "monitor.html").stat().st_size > 5000


def test_what_is_no_served_log_is_the_users_mistake(folder, log, tmp_path):
    """A traceback where a file is of another kind."""
    (tmp_path / "text.parquet").write_text("not parquet")
    pq.write_table(log.drop_columns(["mean"]), tmp_path / "cut.parquet")
    for name, reason in (("text", "not a Parquet file"), ("cut", "no column mean"), ("none", "no such file")):
        done = recbayes("monitor", folder, tmp_path / f"{name}.parquet")
        assert (done.exit_code, reason in done.stderr) == (2, True), done.stderr
