"""The run folder: nothing half done, nothing done twice, one run at a time."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import listing

from recbayes import __version__
from recbayes.run_folder import RunFolder, digest
from recbayes.types import Interrupted, UserError


def make(folder, inputs=None, text="old", name="stage"):
    with RunFolder.open(folder) as run, run.stage(name, inputs or {"log": "1"}, also={"config.yaml": "seed: 0\n"}) as summary:
        run.output("figures.json").write_text(text)
        run.output("model").mkdir()
        (run.output("model") / "weights").write_text(text)
        summary["says"] = text


def test_a_stage_puts_its_files_and_its_record_into_place(tmp_path):
    make(tmp_path / "run")
    run = RunFolder.read(tmp_path / "run")
    record = run.stages["stage"]
    assert set(record) == {"inputs", "outputs", "started", "seconds", "summary"}
    assert record["outputs"] == {"figures.json": digest(run.path / "figures.json"), "model": digest(run.path / "model")}
    assert {path.name for path in run.path.iterdir()} == {".lock", "config.yaml", "figures.json", "model", "stages.json"}
    assert json.loads((run.path / "stages.json").read_text())["recbayes"] == __version__


def test_fresh_only_with_the_same_inputs_and_untouched_files(tmp_path):
    """A stage that is skipped wrongly shows a user old figures under new settings."""
    make(tmp_path)
    assert RunFolder.read(tmp_path).is_fresh("stage", {"log": "1"})
    assert not RunFolder.read(tmp_path).is_fresh("stage", {"log": "2"})
    assert not RunFolder.read(tmp_path).is_fresh("stage", {"log": "1", "config.train": "3"})
    assert not RunFolder.read(tmp_path).is_fresh("other", {"log": "1"})
    (tmp_path / "model" / "weights").write_text("touched")
    assert not RunFolder.read(tmp_path).is_fresh("stage", {"log": "1"})
    make(tmp_path)
    (tmp_path / "figures.json").unlink()
    assert not RunFolder.read(tmp_path).is_fresh("stage", {"log": "1"})


def test_files_that_a_stage_no_longer_writes_go(tmp_path):
    """A quarantine file of an earlier run must not stay beside a log without bad rows."""
    make(tmp_path)
    with RunFolder.open(tmp_path) as run, run.stage("stage", {"log": "2"}):
        run.output("figures.json").write_text("new")
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "figures.json").read_text() == "new"


def interrupted(folder, inputs, error):
    """A stage that fails half way; returns the checkpoints it found."""
    found = []
    try:
        with RunFolder.open(folder) as run, run.stage("stage", inputs):
            found = [path.name for path in run.checkpoints.iterdir()]
            (run.checkpoints / "epoch").write_text("3")
            run.output("figures.json").write_text("half")
            raise error
    except error:
        return found


@pytest.mark.parametrize("error", [UserError, RuntimeError, KeyboardInterrupt, OSError])
def test_a_stage_that_fails_leaves_the_old_files(tmp_path, error):
    make(tmp_path)
    before = listing(tmp_path)
    interrupted(tmp_path, {"log": "2"}, error)
    assert {path: content for path, content in listing(tmp_path).items() if ".work" not in path.parts} == before


def test_checkpoints_outlive_an_interruption_and_belong_to_their_inputs(tmp_path):
    for inputs, found in [({"log": "1"}, []), ({"log": "1"}, ["epoch"]), ({"log": "2"}, [])]:
        assert interrupted(tmp_path, inputs, KeyboardInterrupt) == found
    make(tmp_path)
    assert not (tmp_path / ".work").exists()


def test_checkpoints_outlive_what_came_from_outside(tmp_path):
    """A full disk, a file that was moved: what says "put it back, a rerun goes on" must not throw away what it goes on from."""
    for found in ([], ["epoch"]):
        assert interrupted(tmp_path, {"log": "1"}, Interrupted) == found


def test_a_mistake_leaves_nothing_behind(tmp_path):
    make(tmp_path)
    before = listing(tmp_path)
    interrupted(tmp_path, {"log": "2"}, UserError)
    assert listing(tmp_path) == before


HOLDER = """
import sys, time
from recbayes.run_folder import RunFolder
with RunFolder.open(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_run_folder import make
print("go", flush=True)
for i in range(10_000):
    make(Path(sys.argv[1]), {"log": str(i)}, 100_000 * sys.argv[2])
"""


@contextmanager
def process(code, *arguments):
    """A Python process that has said its first line; killed with SIGKILL at the end of the block."""
    with subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline()
        try:
            yield
        finally:
            running.kill()


def test_two_runs_at_once_are_refused_and_the_lock_dies_with_its_process(tmp_path):
    """A lock file that outlives a killed run would lock its user out."""
    folder = tmp_path / "run"
    with process(HOLDER, folder), pytest.raises(UserError, match="another recbayes run is at work"), RunFolder.open(folder):
        pass
    make(folder)


def test_killed_at_any_moment_old_or_new(tmp_path):
    """kill -9 while a stage writes and renames: what is left is whole, and the next run goes through."""
    for trial in range(8):
        with process(WRITER, tmp_path, "ab"[trial % 2], Path(__file__).parent):
            time.sleep(0.02 + 0.013 * trial)
        with RunFolder.open(tmp_path) as run:
            for file in [run.path / "figures.json", run.path / "model" / "weights"]:
                assert not run.stages or file.read_text() in (100_000 * "a", 100_000 * "b")
        assert not list(tmp_path.glob(".old-*"))


def test_a_kill_between_the_two_renames_is_mended(tmp_path):
    """A folder cannot be replaced in one rename: its old version steps aside first."""
    make(tmp_path)
    (tmp_path / "model").rename(tmp_path / ".old-model")
    with RunFolder.open(tmp_path) as run:
        assert run.is_fresh("stage", {"log": "1"})
    (tmp_path / ".old-model").mkdir()
    with RunFolder.open(tmp_path) as run:
        assert run.is_fresh("stage", {"log": "1"})
    assert not (tmp_path / ".old-model").exists()


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ('{"recbayes": "0.0.3", "stages": {}}', "written by recbayes 0.0.3"),
        ('{"recbayes": "99.1.0", "stages": {}}', "written by recbayes 99.1.0"),
        ('{"stages": {}}', "not a run's record"),
        ("[]", "not a run's record"),
        ("", "not a run's record"),
    ],
)
def test_folders_of_other_versions_are_refused_untouched(tmp_path, stages, says):
    (tmp_path / "stages.json").write_text(stages)
    before = listing(tmp_path)
    with pytest.raises(UserError, match=says), RunFolder.open(tmp_path):
        pass
    with pytest.raises(UserError, match=says):
        RunFolder.read(tmp_path)
    assert listing(tmp_path) == before


def test_other_peoples_folders_are_refused_untouched(tmp_path):
    """`--out ~` must not write into a home."""
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"letter\.txt"), RunFolder.open(tmp_path):
        pass
    with pytest.raises(UserError, match="a file, not a run folder"), RunFolder.open(tmp_path / "letter.txt"):
        pass
    with pytest.raises(UserError, match="no such run folder"):
        RunFolder.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a file, not a run folder"):
        RunFolder.read(tmp_path / "letter.txt")
    with pytest.raises(UserError, match="a file stands where"), RunFolder.open(tmp_path / "letter.txt" / "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_outputs_outside_a_stage_are_a_mistake_of_ours(tmp_path):
    with RunFolder.open(tmp_path) as run, pytest.raises(RuntimeError, match="no stage is running"):
        run.output("x")
