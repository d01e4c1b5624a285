"""Tasks in this process, what is kept of them, who gets which, and what is said where an engine can't be."""

import importlib.util
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from engine.tasks import squared
from helpers import recbayes
from replay.worlds import pages

import recbayes as rb
from recbayes.engine import Kept, Work, results
from recbayes.engine.local import Local
from recbayes.engine.waiting import Waiting
from recbayes.types import UserError


def kept(folder):
    """Squares in a folder."""
    return Kept(folder, lambda number: f"square{number}", lambda result: {"value": result}, lambda saved: int(saved["value"]))


@pytest.mark.parametrize("at_once", [1, 3])
def test_each_result_comes_once_and_is_kept(tmp_path, at_once):
    """A study that was interrupted must do only what is missing, and count nothing twice."""
    asked = []
    found = list(results(Local(), Work(squared, list(range(5)), at_once=at_once), 5, kept=kept(tmp_path)))
    assert sorted(found) == [(n, n * n) for n in range(5)]
    (tmp_path / "square3.npz").unlink()
    (tmp_path / "square3.1.tmp").write_bytes(b"PK")  # as a kill leaves it
    again = list(results(Local(), Work(lambda shared, n: asked.append(n) or n * n, at_once=at_once), 5, kept=kept(tmp_path)))
    assert sorted(again) == sorted(found)
    assert asked == [3]


def test_what_comes_once_comes_before_the_first_task_and_not_where_all_is_kept(tmp_path):
    """A warm-up that every process needs: without tasks nothing may be started or paid for."""
    begun = []
    for _ in range(2):
        dict(results(Local(), Work(squared, [1, 2], once=lambda shared: begun.append(shared)), 2, kept=kept(tmp_path)))
    assert begun == [[1, 2]]


def test_a_program_stays_with_its_worker():
    """Compiling takes seconds: with as many programs as workers, each must be compiled once."""
    waiting, known = Waiting(range(12), lambda number: number % 3), [set() for _ in range(3)]
    for _ in range(4):
        for mine in known:
            waiting.next(mine)
    assert [len(mine) for mine in known] == [1, 1, 1]
    assert not len(waiting)
    assert waiting.next(known[0]) is None
    waiting.back(7)
    assert waiting.next(known[0]) == 7


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "spark"}, "must be one of local, ray"),
        ({"kind": "ray", "workers": 0}, "at least 1"),
        ({"kind": "local", "address": "head:6379"}, "is for ray"),
        ({"kind": "ray", "address": "ray://head:10001"}, "HOST:PORT"),
        ({"kind": "ray", "address": "head"}, "HOST:PORT"),
    ],
)
def test_an_engine_that_cannot_be_says_so(asked, message):
    with pytest.raises(UserError, match=message):
        rb.engine(**asked)


def test_ray_missing_names_the_extra(monkeypatch):
    """Ray is optional: its absence is the user's to mend, and is said before anything is trained."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))
    with pytest.raises(UserError, match=r"pip install 'recbayes\[ray\]'"):
        rb.replay(rb.queue(pages()), [rb.uniform()], engine="ray")


def test_nobody_at_an_address_is_an_error_in_bounded_time(tmp_path):
    """A cluster that is down: exit code 2 at once, and no folder is left, rather than a run that hangs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        begin = time.monotonic()
        done = recbayes("simulate", "quickstart", "--out", tmp_path / "run", "--engine", "ray", "--address", address)
    assert done.exit_code == 2
    assert f"no Ray cluster at {address}" in done.stderr
    assert "ray start --head" in done.stderr
    assert not Path(tmp_path / "run").exists()
    assert time.monotonic() - begin < 60


def test_the_option_is_the_configs_engine(tmp_path):
    done = recbayes("simulate", "quickstart", "--out", tmp_path / "run", "--engine", "spark")
    assert done.exit_code == 2
    assert "runtime.engine" in done.stderr


def test_a_gpu_is_not_promised_to_workers(monkeypatch):
    """Numbers of a GPU differ from a CPU's: what was asked for must not be swapped in silence."""
    engine = Local()
    monkeypatch.setattr(engine, "apart", True, raising=False)
    with pytest.raises(UserError, match="workers of local play on CPUs"):
        rb.replay(rb.queue(pages()), [rb.uniform()], engine=engine, device="gpu")


def test_results_are_those_of_any_number_of_threads():
    """Chunks must not depend on what else runs in their process."""
    world, policies = rb.queue(pages(), steps=5), [rb.uniform(), rb.greedy(rb.counts())]
    one, many = (rb.replay(world, policies, seeds=4, replica_chunk=2, engine=Local(workers)) for workers in (1, 4))
    assert one.rows.equals(many.rows)
    np.testing.assert_array_equal(one.arms.clicks, many.arms.clicks)
