"""Ray: the same results bit for bit, each once, whatever is killed; on the cluster of two workers that conftest.py starts on loopback."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import small
import yaml
from engine.tasks import process, slow, squared
from evaluation import logs
from helpers import recbayes
from replay.worlds import Model, pages

import recbayes as rb
from recbayes.engine import Work, results
from recbayes.replay import jobs as chunks
from recbayes.replay.jobs import Study, fingerprint, jobs
from recbayes.runtime import start
from recbayes.types import UserError

pytest.importorskip("ray", reason="ray is not installed: pip install 'recbayes[ray]'")
MAIN = "from recbayes.cli import main; main()"


@pytest.fixture(scope="module")
def studied():
    """A world, policies that make three programs, and what this process finds."""
    policies = [rb.uniform(), rb.greedy(rb.counts()), rb.thompson(rb.counts(), exploration=[0.5, 1.0])]
    given = {"world": rb.queue(pages(), steps=10), "policies": policies, "seeds": 7, "replica_chunk": 2}
    return given, rb.replay(**given)


def same(one, other):
    """Whether two replays found the same, bit for bit."""
    totals = all(np.array_equal(one.expected[name], other.expected[name]) for name in one.expected)
    return totals and one.rows.equals(other.rows) and one.arms.equals(other.arms) and one.to_json() == other.to_json()


def workers(engine):
    """Processes of an engine's two workers, once both are at work."""
    while len(found := {pid for _, pid in results(engine, Work(process, 0.2), 4)}) < 2:
        pass
    return found


def test_results_are_those_of_this_process(studied, ray_engine):
    """Bit for bit per replica: a study may move to a cluster and back, and its numbers stay. Progress counts every chunk."""
    given, local = studied
    seen = []
    spread = rb.replay(**given, engine=ray_engine, progress=lambda *told: seen.append(told))
    assert same(spread, local)
    assert [done for done, *_ in seen] == list(range(1, seen[0][1] + 1))


def test_one_engine_serves_many_studies(ray_engine):
    """Halving replays round after round: workers and their compiled programs stay."""
    first = workers(ray_engine)
    assert dict(results(ray_engine, Work(squared, list(range(20))), 20)) == {n: n * n for n in range(20)}
    assert workers(ray_engine) == first
    assert len(first) == 2


def test_a_killed_workers_chunk_is_done_again(studied, ray_engine, tmp_path):
    """kill -9 of a worker in the middle of its work: the same numbers, each chunk kept once, and progress goes on to the end."""
    given, local = studied
    victims, seen = list(workers(ray_engine)), []

    def progress(done, total, name):
        seen.append((done, total))
        if done == 2:
            os.kill(victims[0], signal.SIGKILL)

    assert same(rb.replay(**given, engine=ray_engine, checkpoint=tmp_path, progress=progress), local)
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))
    assert len(list(tmp_path.iterdir())) == seen[0][1], "a chunk is kept twice, or a part of a file is left"
    assert victims[0] not in workers(ray_engine)
    assert same(rb.replay(**given, checkpoint=tmp_path), local), "what workers found is what this process goes on from"


def test_a_task_that_was_begun_is_begun_again_and_counts_once(ray_engine, tmp_path):
    """The task that a killed worker was at is done by another; no result is lost and none comes twice."""
    workers(ray_engine)
    found, killed = [], None
    for number, (told, pid) in results(ray_engine, Work(slow, tmp_path), 8):
        found.append((number, told, pid))
        if killed is None:
            at_work = [path for path in tmp_path.iterdir() if not path.name.startswith(f"{number}-")]
            killed = int(max(at_work, key=lambda path: path.stat().st_mtime_ns).name.split("-")[1])  # who began last is at it still
            os.kill(killed, signal.SIGKILL)
    assert sorted(number for number, *_ in found) == list(range(8))
    assert all(number == told for number, told, _ in found)
    begun = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert len(begun) > 8, "the killed worker had begun a task"


def test_a_mistake_of_the_user_is_told_as_such(ray_engine):
    """Not as a failure of Ray, with pages of another process's traceback."""

    def wrong(shared, number):
        raise UserError("simulate: this is yours to mend")

    with pytest.raises(UserError, match=r"^simulate: this is yours to mend$"):
        list(results(ray_engine, Work(wrong), 3))
    assert dict(results(ray_engine, Work(squared, [3]), 1)) == {0: 9}, "the engine goes on serving"


@pytest.mark.parametrize(
    "learner",
    [
        lambda: rb.counts(window=2),
        lambda: rb.density(Model(), counts_scope="item"),
        lambda: rb.linear_learner(),
        lambda: rb.neural_linear_learner(),
        lambda: rb.refit(Model(), pages(seed=1), lambda log, seed: Model(), every=3),
    ],
)
def test_every_learner_travels(learner):
    """A learner whose functions hold a lock or an open file would work here and fail on a cluster."""
    import ray.cloudpickle as pickle

    made = learner()
    world = rb.wheel(events=8) if made.kind in ("linear", "neural_linear") else rb.queue(pages(), steps=8)
    policy = rb.greedy(made)
    study = Study(world, jobs(world, [policy], {policy.name: made.bind(world)}, 2, 0, 2), "/CPU:0")
    there = pickle.loads(pickle.dumps((chunks.played, study)))[1]
    assert fingerprint(there.world, there.work[0]) == fingerprint(study.world, study.work[0])
    assert chunks.program_of(there, 0) == chunks.program_of(study, 0)


def test_posteriors_are_fitted_the_same(ray_engine):
    """A comparison on workers: every figure but seconds is that of this process, for fits there compute on as many threads as here."""
    start("cpu")
    train, test = small.log(groups=24).split(by="time", test_fraction=0.25)
    settings = {"features": small.features()[1:], "model": rb.linear(), "density": rb.beta_mixture(components=1), "group_effect": False}
    problem = rb.Problem(train, test, {**settings, "epochs": 2, "held_out": 0.0, "oov_share": 0.0})
    methods, seen = {"last_layer": rb.last_layer(draws=8)}, []
    local = rb.compare(problem, methods)
    spread = rb.compare(problem, methods, engine=ray_engine, progress=lambda *told: seen.append(told[:2]))
    for one, other in zip(local.rows, spread.rows, strict=True):
        timed = {name for name in one if "seconds" in name or name.endswith("_ratio")}
        assert {name: one[name] for name in one.keys() - timed} == {name: other[name] for name in one.keys() - timed}
        assert other["train_seconds"] > 0
    assert local.errors == spread.errors
    assert seen == [(0, 1), (1, 1)]


def test_click_models_and_bootstraps_of_an_evaluation_are_the_same(ray_engine):
    """Though a worker's BLAS has other threads, and with a notebook's own function; bootstraps take the workers that are there."""
    log, seen, staff = logs.read(logs.frame(3333), features=["item", "slot"]), [], []
    settings = {"features": [rb.categorical("item"), rb.categorical("slot", side="context")], "model": rb.linear(), "posterior": rb.map()}

    def fit(train):
        return rb.fit(train, **settings, density=rb.point(), epochs=1, held_out=0.0)

    def progress(*told):
        seen.append(told)
        staff.append(list(ray_engine._hands))

    def found(engine, **tell):
        given = {"reward_model": rb.modelled(fit, folds=2, engine=engine, **tell), "interval": "bootstrap", "engine": engine}
        return rb.evaluate(log, [rb.table(logs.table(), name="t"), rb.logged()], **given, **tell).to_json()

    assert found(ray_engine, progress=progress) == found("local")
    rows, bootstraps = [(3333, 3333, "rows")], [(done, 6, "bootstraps") for done in range(1, 7)]
    assert seen == [(1, 2, "click models"), (2, 2, "click models"), *rows, *bootstraps]
    assert staff[1] == staff[-1]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A config that needs no log, and the files of its run in this process."""
    home = tmp_path_factory.mktemp("sweep")
    policies = ["uniform", {"kind": "greedy", "learner": "linear"}, {"kind": "thompson", "learner": "linear"}]
    simulate = {"world": {"kind": "wheel", "events": 200, "batch": 10}, "seeds": 16, "choose_seeds": 2, "policies": policies}
    (home / "config.yaml").write_text(yaml.safe_dump({"simulate": simulate, "runtime": {"replica_chunk": 1}}))
    assert run(home, "whole").exit_code == 0
    return home


def run(home, out, *options):
    return recbayes("simulate", home / "config.yaml", "--out", home / out, *options)


def lives(process):
    """Whether a process is there and no zombie; Ray's two agents, which look for their raylet for a minute, are left out."""
    try:
        agent = process.name().startswith(("ray::DashboardA", "ray::RuntimeEnv"))
        return not agent and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_head_goes_on_from_what_is_there(desk):
    """kill -9 of the command itself: its cluster ends with it, and the rerun (here without Ray) gives the same figures."""
    command = [sys.executable, "-c", MAIN, "simulate", str(desk / "config.yaml"), "--out", str(desk / "killed"), "--engine", "ray"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(finished := list((desk / "killed").glob(".work/simulate-*/checkpoints/**/*.npz"))) < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    again = run(desk, "killed")
    assert again.exit_code == 0, again.stderr
    assert finished
    pd.testing.assert_frame_equal(*(pd.read_parquet(desk / out / "simulation.parquet") for out in ("killed", "whole")), check_exact=True)
    figures = [json.loads((desk / out / "simulation.json").read_text()) for out in ("killed", "whole")]
    assert figures[0] == figures[1]
    assert "simulate up to date" in run(desk, "killed", "--engine", "local").stderr
    assert started
    until = time.monotonic() + 60
    while (left := [part for part in started if lives(part)]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left, "parts of Ray outlived the command that started them"
