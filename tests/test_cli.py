"""The command line: what it prints, its exit codes, and which stages it runs."""

import errno
import json
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from helpers import recbayes

from recbayes import config, pipelines
from recbayes.pipelines import run as runner
from recbayes.types import UserError

CONFIGS = ["compare", "mushroom", "open_bandit", "quickstart", "upworthy", "wheel"]

FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from recbayes.cli import app
app()
"""


@pytest.fixture
def little(tmp_path):
    """A config over the embedded log, on disk."""
    data = {
        "log": {"path": "example:upworthy", "columns": {"clicks": "clicks", "impressions": "impressions", "group": "clickability_test_id"}},
        "features": [{"name": "headline", "kind": "text"}],
    }
    data["log"]["columns"]["time"] = "test_created_at"
    path = tmp_path / "little.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def recipes(monkeypatch):
    """Stages that only write down that they ran; set `.fail` to a stage's error."""
    ran, fail = [], {}

    def recipe(stage):
        real = pipelines.recipe(stage)

        def run(config, folder, console):
            ran.append(stage)
            if stage in fail:
                folder.output(f"{stage}.txt").write_text("half")
                raise fail[stage]
            folder.output(f"{stage}.txt").write_text(f"{config.seed} {config.train.epochs}")
            return {"says": f"{stage} done"}

        return SimpleNamespace(READS=real.READS, wanted=real.wanted, needs=real.needs, check=lambda config: None, run=run)

    monkeypatch.setattr(runner, "recipe", recipe)
    return SimpleNamespace(ran=ran, fail=fail)


def test_help_names_every_command():
    shown = recbayes("--help")
    assert shown.exit_code == 0
    for command in (
        "run",
        "audit",
        "train",
        "simulate",
        "compare",
        "evaluate",
        "export",
        "report",
        "predict",
        "check",
        "monitor",
        "ls",
        "cp",
        "validate",
    ):
        assert command in shown.stdout
        assert recbayes(command, "--help").exit_code == 0


def test_ls_and_cp(tmp_path):
    listed = recbayes("ls")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == CONFIGS
    assert set(json.loads(recbayes("ls", "--json").stdout)) == set(CONFIGS)
    assert recbayes("cp", "quickstart", tmp_path / "mine.yaml").exit_code == 0
    assert config.load(str(tmp_path / "mine.yaml")) == config.load("quickstart")
    again = recbayes("cp", "upworthy", tmp_path / "mine.yaml")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert recbayes("cp", "quikstart", tmp_path / "other.yaml").exit_code == 2
    nowhere = recbayes("cp", "quickstart", tmp_path / "none" / "mine.yaml")
    assert (nowhere.exit_code, "there is no folder" in nowhere.stderr) == (2, True)


def test_ls_waits_for_nothing():
    """It is typed by reflex: it must not load what only other commands need, and its reader may stop reading."""
    code = "import sys; from recbayes.cli import main; sys.argv[1:] = ['ls', *sys.argv[1:]]; main(); assert 'pydantic' not in sys.modules"
    for options in ([], ["--json"]):
        done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == recbayes("ls", *options).stdout
    piped = subprocess.run(f"{sys.executable} -c {shlex.quote(code)} | true", shell=True, capture_output=True, text=True)
    assert piped.stderr == ""


def test_validate_tells_all_faults(little):
    assert recbayes("validate", little).exit_code == 0
    wrong = recbayes("validate", little, "train.epoch=3", "sed=1")
    assert wrong.exit_code == 2
    assert "Did you mean epochs?" in wrong.stderr
    assert "Did you mean seed?" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_stage_runs_after_those_it_needs_and_once(little, recipes, tmp_path):
    out = tmp_path / "run"
    assert recbayes("train", little, "--out", out).exit_code == 0
    assert recipes.ran == ["audit", "train"]
    assert recbayes("run", little, "--out", out).exit_code == 0
    assert recipes.ran == ["audit", "train", "report"]
    again = recbayes("run", little, "--out", out, "--json")
    assert recipes.ran == ["audit", "train", "report"]
    summary = json.loads(again.stdout)
    assert all(stage["skipped"] for stage in summary["stages"].values())
    assert summary["out"] == str(out)


def test_a_changed_setting_runs_its_stage_and_what_follows(little, recipes, tmp_path):
    out = tmp_path / "run"
    recbayes("run", little, "--out", out)
    recipes.ran.clear()
    recbayes("run", little, "--out", out, "train.epochs=3")
    assert recipes.ran == ["train", "report"]
    assert (out / "train.txt").read_text() == "0 3"
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert written["train"]["epochs"] == 3
    assert set(written["resolved"]) == {"versions", "data"}
    recipes.ran.clear()
    recbayes("run", little, "--out", out, "train.epochs=3", "runtime.device=cpu")
    assert recipes.ran == []


def test_a_run_can_be_run_again_from_its_own_config(little, recipes, tmp_path):
    recbayes("run", little, "--out", tmp_path / "run")
    recipes.ran.clear()
    assert recbayes("run", tmp_path / "run" / "config.yaml", "--out", tmp_path / "run").exit_code == 0
    assert recipes.ran == []


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UserError("column 'x': mend it"), 2, "error: column 'x': mend it"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (RuntimeError("boom"), 1, "boom"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), 2, "the disk is read-only"),
        (RuntimeError("RESOURCE_EXHAUSTED: /run/x; No space left on device"), 2, "the disk is full"),
    ],
)
def test_exit_codes(little, recipes, tmp_path, error, code, says):
    """Scripts branch on these; a traceback is for our own failures alone. What was there stays, and the next run goes on."""
    out = tmp_path / "run"
    recbayes("run", little, "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    recipes.fail["train"] = error
    failed = recbayes("run", little, "--out", out, "train.epochs=3")
    assert failed.exit_code == code
    assert says in failed.stderr
    assert ("Traceback" in failed.stderr) == (code == 1)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    recipes.fail.clear()
    assert recbayes("run", little, "--out", out, "train.epochs=3").exit_code == 0
    assert (out / "train.txt").read_text() == "0 3"


def test_a_wrong_option_is_the_users_mistake():
    assert recbayes("run", "quickstart", "--nonsense").exit_code == 2
    assert recbayes("nonsense").exit_code == 2
    assert recbayes("train", "quickstart").exit_code == 2


def test_a_full_disk_is_told(tmp_path):
    """A real one: the process may not write files of more than 4 KB (as on a full disk, the write itself fails)."""
    command = [sys.executable, "-c", FULL_DISK, "audit", "quickstart", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes anywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = recbayes("audit", "quickstart", "--out", tmp_path / "locked" / "run")
    assert done.exit_code == 2
    assert "no permission" in done.stderr


def test_predict_and_check_want_a_finished_run(tmp_path):
    for command in (
        ["predict", tmp_path / "none", "rows.parquet", "out.parquet"],
        ["check", tmp_path / "none"],
        ["monitor", tmp_path / "none", "log.parquet"],
    ):
        done = recbayes(*command)
        assert done.exit_code == 2
        assert "no such run folder" in done.stderr


def test_stages_are_those_that_have_a_file():
    """A stage is added by adding its file: nothing may be listed that is not there."""
    assert list(pipelines.stages()) == [
        stage for stage in ("audit", "train", "simulate", "compare", "evaluate", "export", "report") if stage in pipelines.stages()
    ]
    for stage in pipelines.stages():
        recipe = pipelines.recipe(stage)
        assert all(callable(getattr(recipe, name)) for name in ("wanted", "needs", "check", "run"))
        assert set(recipe.READS) <= set(config.Config.model_fields)
