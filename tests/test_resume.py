"""kill -9 in the middle of a stage: the folder stays usable, and the rerun gives the numbers of a run that was not killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import listing

MAIN = "from recbayes.cli import main; main()"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A small log, its config, and the files of a run that nothing disturbed."""
    home = tmp_path_factory.mktemp("resume")
    random = np.random.default_rng(5)
    rows = np.arange(1200)
    word = random.integers(0, 30, (len(rows), 3))
    rate = 0.02 * np.exp(0.3 * random.normal(size=30)[word].sum(1) / 3 + 0.4 * random.normal(size=300)[rows // 4])
    log = pd.DataFrame({"arm": rows, "page": rows // 4, "at": 1.6e9 + rows // 4, "shown": 1000, "clicked": random.binomial(1000, rate)})
    log["headline"] = [" ".join(f"w{i}" for i in three) for three in word]
    log.to_parquet(home / "log.parquet")
    config = {
        "log": {
            "path": str(home / "log.parquet"),
            "columns": {"clicks": "clicked", "impressions": "shown", "item": "arm", "group": "page", "time": "at"},
        },
        "features": [{"name": "headline", "kind": "text"}],
        "posterior": {"kind": "last_layer", "draws": 8},
        "train": {"epochs": 60, "batch_size": 64, "patience": 60, "held_out": 0.2},
        "simulate": {
            "world": {"kind": "queue", "steps": 20},
            "seeds": 8,
            "policies": ["uniform", {"kind": "greedy", "learner": "counts"}, {"kind": "ucb"}, {"kind": "thompson"}],
        },
        "runtime": {"replica_chunk": 2},
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    finish(home, "whole")
    return home


def start(home, out, *overrides):
    command = [sys.executable, "-c", MAIN, "simulate", str(home / "config.yaml"), "--out", str(home / out), *overrides]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(home, out, *overrides):
    process = start(home, out, *overrides)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def stop(home, out, stage, with_signal, *overrides):
    """Starts a run and ends it once the stage has written its second checkpoint; returns the exit code."""
    process, seen = start(home, out, *overrides), set()
    while len(seen) < 2:
        assert process.poll() is None, process.communicate()[1]
        found = (home / out).glob(f".work/{stage}-*/checkpoints/**/*")
        seen |= {(path, path.stat().st_mtime_ns) for path in found if path.is_file() and not path.name.startswith(".")}
        time.sleep(0.01)
    process.send_signal(with_signal)
    process.communicate()
    return process.returncode


def figures(folder):
    """What must be the same: everything but times."""
    training = pd.read_csv(folder / "training.csv").drop(columns=["seconds", "rows_per_second"])
    simulation = json.loads((folder / "simulation.json").read_text())
    return training, pd.read_parquet(folder / "predictions.parquet"), pd.read_parquet(folder / "simulation.parquet"), simulation["policies"]


def same(one, other):
    for a, b in zip(figures(one), figures(other), strict=True):
        if isinstance(a, dict):
            assert a == b
        else:
            pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.parametrize("stage", ["train", "simulate"])
def test_a_killed_run_goes_on_to_the_same_numbers(desk, stage):
    """A power cut must cost minutes, not the run, and must not change its result."""
    assert stop(desk, stage, stage, signal.SIGKILL) == -signal.SIGKILL
    said = finish(desk, stage)
    assert ("train    up to date" in said) == (stage == "simulate")
    same(desk / stage, desk / "whole")


def test_a_kill_leaves_the_old_files(desk):
    """A second run with other settings is killed: the first run's files are all there and belong together."""
    finish(desk, "old")
    before = {path: content for path, content in listing(desk / "old").items() if ".work" not in path.parts}
    stop(desk, "old", "train", signal.SIGKILL, "train.learning_rate=0.01")
    assert {path: content for path, content in listing(desk / "old").items() if ".work" not in path.parts} == before
    assert "train    up to date" in finish(desk, "old")


def test_ctrl_c_exits_130(desk):
    assert stop(desk, "interrupted", "train", signal.SIGINT) == 130
    assert os.listdir(desk / "interrupted" / ".work")
