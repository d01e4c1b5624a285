"""kill -9 in the middle of a stage: the folder stays usable, and the rerun gives the numbers of a run that was not killed."""

import json
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import listing, recbayes

from recbayes.cli import main

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tensorflow", "recbayes.pipelines.audit", "recbayes.pipelines.train", "recbayes.pipelines.simulate"])
"""Processes of their own, forked from one that has read TensorFlow's modules, which takes longer than a stage here, and started nothing."""


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
        "model": "linear",
        "posterior": "map",
        "density": {"kind": "beta_mixture", "group_effect": False},
        "train": {"epochs": 40, "batch_size": 64, "held_out": 0.0},
        "simulate": {
            "world": {"kind": "queue", "steps": 20},
            "seeds": 16,
            "policies": ["uniform", {"kind": "thompson", "learner": "counts"}],
        },
        "runtime": {"replica_chunk": 2},
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    for stage in ("train", "simulate"):
        finish(home, "whole", stage)
    return home


def start(home, out, stage, *overrides):
    """A stage in a process of its own, and the file of what it says."""
    said = home / f"{out}.txt"
    arguments = ["recbayes", stage, str(home / "config.yaml"), "--out", str(home / out), *overrides]
    process = FORKED.Process(target=command, args=(arguments, said))
    process.start()
    return process, said


def command(arguments, said):
    """The command line, heeding Ctrl-C: what a shell puts in the background is deaf to it, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = arguments
    main()


def finish(home, out, stage, *overrides):
    """Runs a stage to its end in this process, which has TensorFlow at hand; returns what it said."""
    done = recbayes(stage, home / "config.yaml", "--out", home / out, *overrides)
    assert done.exit_code == 0, done.stderr
    return done.stderr


def stop(home, out, stage, with_signal, *overrides):
    """Starts a stage and ends it once it has written its second checkpoint; returns the exit code."""
    (process, said), seen = start(home, out, stage, *overrides), set()
    while len(seen) < 2:
        assert process.is_alive(), said.read_text()
        seen |= {(path, stamp) for path in checkpoints(home / out, stage) if (stamp := written(path))}
        time.sleep(0.01)
    os.kill(process.pid, with_signal)
    process.join()
    return process.exitcode


def checkpoints(run, stage):
    """A stage's checkpoints so far; none where a stage before it is just clearing its own folder away."""
    try:
        return [path for path in run.glob(f".work/{stage}-*/checkpoints/**/*") if not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def written(path):
    """When a file was written; None for a folder, or a file that is gone again."""
    try:
        return path.stat().st_mtime_ns if path.is_file() else None
    except FileNotFoundError:
        return None


FIGURES = {
    "train": ["predictions.parquet", "training.csv", "calibration.json", "findings.json"],
    "simulate": ["simulation.parquet", "simulation.json"],
}


def figures(path):
    """What must be the same: everything but times."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path).drop(columns=["seconds", "rows_per_second"])
    return table.to_dict("list")


@pytest.mark.parametrize("stage", FIGURES)
def test_a_killed_stage_goes_on_to_the_same_numbers(desk, stage):
    """A power cut must cost minutes, not the run, and must not change its result."""
    assert stop(desk, stage, stage, signal.SIGKILL) == -signal.SIGKILL
    assert not any((desk / stage / name).exists() for name in FIGURES[stage])
    assert "audit    up to date" in finish(desk, stage, stage)
    for name in FIGURES[stage]:
        assert figures(desk / stage / name) == figures(desk / "whole" / name), name


def test_a_kill_leaves_the_old_files(desk):
    """A second run with other settings is killed: the first run's files are all there and belong together."""
    before = listing(desk / "whole")
    assert stop(desk, "whole", "train", signal.SIGKILL, "train.learning_rate=0.02") == -signal.SIGKILL
    assert {path: content for path, content in listing(desk / "whole").items() if ".work" not in path.parts} == before
    assert "train    up to date" in finish(desk, "whole", "train")


def test_ctrl_c_exits_130(desk):
    """Training is long here, so that it can't end between the second checkpoint and the signal."""
    assert stop(desk, "interrupted", "train", signal.SIGINT, "train.epochs=2000", "train.held_out=0") == 130
    assert list((desk / "interrupted" / ".work").iterdir())
