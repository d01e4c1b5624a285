"""`log.stream`: a run whose training rows stay on disk, and what it says of the rows that it does look at."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from helpers import recbayes
from small import ROLES, frame

import recbayes as rb
from recbayes import training
from recbayes.config import parse
from recbayes.log.sample import sample_of
from recbayes.pipelines import simulate, train
from recbayes.pipelines.inputs import judged_log
from recbayes.types import UserError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """1,200 training rows in four files of row groups of 60, 200 test rows, the cheapest model."""
    made = frame(groups=350)
    (tmp_path / "days").mkdir()
    for number in range(4):
        pq.write_table(
            pa.Table.from_pandas(made[300 * number : 300 * (number + 1)]), tmp_path / f"days/{number}.parquet", row_group_size=60
        )
    made[1200:].to_parquet(tmp_path / "test.parquet")
    about = {
        "log": {"path": str(tmp_path / "days"), "test_path": str(tmp_path / "test.parquet"), "stream": True, "columns": dict(ROLES)},
        "features": [{"name": "image", "kind": "categorical"}],
        "model": "linear",
        "density": {"kind": "point", "group_effect": False},
        "posterior": "mle",
        "train": {"epochs": 1, "held_out": 0.0, "batch_size": 256},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(about))
    return tmp_path / "config.yaml"


def test_a_run_trains_on_all_rows_and_looks_at_some(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that fills memory could not be trained on from a config; figures of a part of it would pass for those of all."""
    monkeypatch.setattr(sample_of, "__kwdefaults__", {"rows": 200, "seed": 0})
    done = recbayes("train", config, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "240 rows of 1,200, some random row groups (log.stream)" in done.output
    assert "baselines and findings look at 240 rows of 1,200" in done.output
    assert rb.load(tmp_path / "run" / "model").record["rows"] == 1200
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["coverage"]
    assert len(pd.read_parquet(tmp_path / "run" / "predictions.parquet")) == 200
    replayed = {"world": {"kind": "queue", "steps": 2}, "seeds": 2, "policies": ["uniform", {"kind": "greedy", "learner": "density"}]}
    asked = [f"simulate={json.dumps(replayed)}", "export={}"]
    whole = recbayes("run", config, *asked, "--out", tmp_path / "run")
    assert whole.exit_code == 0, whole.output
    assert "train    up to date" in whole.output
    assert set(json.loads((tmp_path / "run" / "simulation.json").read_text())["policies"]) == {"uniform", "density/greedy"}
    assert (tmp_path / "run" / "export" / "metadata.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_file_that_vanishes_or_is_cut_in_mid_training_costs_no_epoch(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and which file it is; put back, the same command goes on from the last checkpoint to the weights of a quiet run."""
    shard, save = tmp_path / "days" / "2.parquet", training.save
    content, saved = shard.read_bytes(), list[int]()
    faults: list[Any] = [shard.unlink, lambda: os.truncate(shard, len(content) // 2)]

    def save_then_break(folder: Path, state: Any, best: Any, history: Any) -> None:
        save(folder, state, best, history)
        saved.append(len(history))
        if faults:
            faults.pop()()

    quiet = recbayes("train", config, "--out", tmp_path / "quiet", "train.epochs=3")
    monkeypatch.setattr(training, "save", save_then_break)
    for says in (r"2\.parquet (is damaged.*Copy it again|was written anew)", r"2\.parquet vanished while it was read. Put it back"):
        failed = recbayes("train", config, "--out", tmp_path / "run", "train.epochs=3")
        assert failed.exit_code == 2, failed.output
        assert re.search(says, failed.stderr)
        assert not (tmp_path / "run" / "model").exists()
        shard.write_bytes(content)
    done = recbayes("train", config, "--out", tmp_path / "run", "train.epochs=3")
    assert (quiet.exit_code, done.exit_code) == (0, 0), done.output
    assert saved == [1, 2, 3], "an epoch was begun anew"
    with np.load(tmp_path / "quiet" / "model" / "state.npz") as one, np.load(tmp_path / "run" / "model" / "state.npz") as other:
        assert one.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_what_needs_all_rows_says_so(config: Path) -> None:
    """It would silently be made of the few row groups that are looked at."""
    data = yaml.safe_load(config.read_text())
    with pytest.raises(UserError, match=r"(?s)log\.test_path: a log that stays on disk is not split.*log\.on_bad_rows: a stream stops"):
        parse(data, ["log.test_path=null", "log.on_bad_rows=quarantine"])
    with pytest.raises(UserError, match=r"posterior sgld and recalibrate: .*a stream leaves those of .*days on disk.*log\.stream=false"):
        train.check(parse(data, ["posterior=sgld", "train.recalibrate=true", "train.held_out=0.2"]))
    columns = {**data["log"]["columns"], "propensity": "shown"}
    judged = parse({**data, "log": {**data["log"], "columns": columns}, "evaluate": {"policies": ["logged"]}}, [])
    with pytest.raises(UserError, match=r"evaluate \(evaluate\.rows=test would not\): takes all rows of .*days at once"):
        judged_log(judged, test_only=False)
    refit = {"simulate": {"world": "queue", "policies": ["uniform", {"kind": "greedy", "learner": {"kind": "refit", "every": 2}}]}}
    with pytest.raises(UserError, match=r"trains the network again, and takes all rows of .*days at once"):
        simulate.check(parse({**data, **refit}))


def test_a_sample_is_whole_row_groups_in_their_order(config: Path) -> None:
    """Rows of one file only would pass for the log; another choice at each call would make each audit another one."""
    path = config.parent / "days"
    found = [batch.table.column("item").to_pylist() for batch in sample_of(path, rows=200, seed=3).batches(["item"])]
    assert [len(items) for items in found] == [60] * 4
    whole = [batch.table.column("item").to_pylist() for batch in sample_of(path, rows=1200).batches(["item"])]
    assert [items for items in whole if items in found] == found
    assert sample_of(path, rows=200, seed=3).fingerprint == sample_of(path, rows=200, seed=3).fingerprint
    pq.ParquetWriter(path / "0.parquet", pq.read_schema(next(path.iterdir()))).close()  # a file of no row group comes first
    assert sample_of(path, rows=200, seed=3).rows < 1200
    (path / "0.parquet").unlink()
    assert sample_of(path, rows=200, seed=3).fingerprint != sample_of(path, rows=200, seed=4).fingerprint
