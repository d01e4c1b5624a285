"""Training on several workers: whole groups, the steps of one worker, and the same weights whoever is killed. Two processes on loopback."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import closing, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import psutil
import pytest
import small
import tensorflow as tf
import yaml
from engine.tasks import Deadly
from helpers import recbayes
from small import network

import recbayes as rb
from recbayes import fitted
from recbayes.engine import engine
from recbayes.engine.member import Lost
from recbayes.fitting import part_of
from recbayes.pipelines.engines import trainers
from recbayes.runtime import optimizer_skipped, skip_optimizer
from recbayes.training import Memory, Schedule, Trained, train
from recbayes.types import UserError
from recbayes.workers import TakenBy, cut, held_apart, must_agree, stepping

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tensorflow", "recbayes.fitted"])
"""A process of its own, forked from one that has read TensorFlow's modules and started nothing."""
SCHEDULE = Schedule(epochs=4, batch_size=16, patience=2)
POINT, MEMBERS = rb.map(), rb.ensemble(members=3)
ROUNDING = 1e-5
"""Of weights and log likelihoods near 1, after a few dozen float32 steps whose sums are taken in another order."""


def flat(state: Any) -> list[Any]:
    return [np.asarray(tensor) for tensor in tf.nest.flatten(state)]


def members() -> list[psutil.Process]:
    """Processes of teams that this process's Ray has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith("ray::Member") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_every_row_is_one_workers_and_groups_stay_whole(workers: int) -> None:
    """A group cut in two would learn two page effects; a row left out, or taken twice, would bias the weights."""
    generator = np.random.default_rng(workers)
    for groups in (1, 2, 6, 40):
        segments = np.repeat(np.arange(groups), generator.integers(1, 9, groups))
        parts = [cut(segments, rank, workers) for rank in range(workers)]
        mine = [part for part in parts if part.weight > 0]
        assert [part.rows[0] for part in mine] == [0, *(part.rows[1] for part in mine[:-1])]
        assert mine[-1].rows[1] == len(segments)
        for part in parts:
            assert set(segments[slice(*part.rows)]) == set(range(*part.groups)), "a worker has no rows, or a part of a group"
            assert np.isin(segments, range(*part.groups)).sum() == part.rows[1] - part.rows[0]
        assert sum(part.weight for part in parts) == pytest.approx(1.0)
        assert max(part.rows[1] - part.rows[0] for part in mine) <= len(segments) / workers + 8


def on_workers(team: Any, folder: Path | None, judged: int, posterior: Any = POINT, **deadly: Any) -> Trained:
    """A training of three steps an epoch on two workers, a batch of it deadly; the first epoch is the best: it ends with the third."""
    net, rows = network(rows=36)
    feed, figures = Memory(rows), count(-judged, -1)
    given = {"held_out": lambda state: float(next(figures)), "checkpoint": folder, "checkpoint_steps": 2}
    return train(net, posterior, Deadly(feed, **deadly) if deadly else feed, SCHEDULE, stepper=TakenBy(team), **given)


def ask(address: str, folder: Path, settings: dict[str, str], skipped: bool) -> None:
    """A process that asks for two workers of a cluster that is there, and is killed by one of them in the second epoch's last step."""
    os.environ.update(settings)
    skip_optimizer(skipped)  # which rounds otherwise
    with closing(engine("ray", address=address)) as there, there.team(2) as team:
        on_workers(team, folder / "kept", 0, epoch_batch=(1, 2), victim=os.getpid(), mark=folder / "asker")


def none_left() -> bool:
    """Whether all members have ended, after a minute at most."""
    until = time.monotonic() + 60
    while members() and time.monotonic() < until:
        time.sleep(0.1)
    return not members()


def test_two_workers_take_the_steps_of_one_whoever_is_killed(ray_engine: Any, tmp_path: Path) -> None:
    """kill -9 in mid-step of the process that asks, then of a worker: training goes on to an undisturbed run's weights, bit for bit.

    Those are one worker's up to rounding. (That all workers have the same weights is checked whenever a state is handed back.) The last
    batch has one group, so that one worker has none. Of an ensemble one worker has a member and the other two: were their order mixed up,
    or tau's gradient that of some members, the weights would be others.
    """
    import ray

    with ray_engine.team(2):  # starts the cluster if need be, and its CPUs are free
        address = ray.get_runtime_context().gcs_address
    settings = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}  # as where the cluster was started
    asker = FORKED.Process(target=ask, args=(address, tmp_path, settings, optimizer_skipped()))
    asker.start()
    asker.join(timeout=300)
    assert asker.exitcode == -signal.SIGKILL
    assert none_left(), "workers outlived the process that asked for them"
    assert (tmp_path / "kept" / "state.npz").exists()
    with ray_engine.team(2) as team:
        again = on_workers(team, tmp_path / "kept", 1, epoch_batch=(2, 1), victim=0, mark=tmp_path / "worker")
        two = on_workers(team, None, 0)
        chains = walked_by(TakenBy(team))
        members = on_workers(team, None, 0, MEMBERS)
        members_again = on_workers(team, None, 0, MEMBERS, epoch_batch=(0, 2), victim=0, mark=tmp_path / "member")
    assert (tmp_path / "worker").exists()
    assert (tmp_path / "member").exists()
    assert [r["held_out"] for r in again.history] == [0, -1, -2], "the first epoch was done anew"
    assert none_left(), "workers outlived the training that started them"
    for mine, theirs in zip(walked_by(small.Two()), chains, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=0.01)  # chains blow up how threads round; others are 1 apart
    steps_are_equal(POINT, two, again)
    steps_are_equal(MEMBERS, members, members_again)


def walked_by(workers: Any) -> list[Any]:
    """Four short chains of NUTS, two on each of two workers."""
    sampler, problem = rb.nuts(draws=16, warmup=10, samples=4), oracle.beta_binomial(rows=1000)
    net, rows = oracle.network(problem)
    return flat(sampler.finish_on(net, sampler.init(net, tf.constant([5, 6])), [small.whole(rows)], workers))


def steps_are_equal(posterior: Any, two: Trained, again: Trained) -> None:
    """Those of two workers are one worker's, and bit for bit those of a training in which somebody was killed."""
    net, rows = network(rows=36)
    figures = count(0, -1)
    one = train(net, posterior, rows, SCHEDULE, held_out=lambda state: float(next(figures)))
    for a, b, c in zip(flat(one.state), flat(two.state), flat(again.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING)
        np.testing.assert_array_equal(b, c)
    assert [len(t.history) for t in (one, two, again)] == [3, 3, 3]
    assert [t.best_epoch for t in (one, two, again)] == [1, 1, 1]
    assert [r["loss"] for r in two.history] == [r["loss"] for r in again.history]
    np.testing.assert_allclose([r["loss"] for r in one.history], [r["loss"] for r in two.history], rtol=ROUNDING)


def test_a_part_of_the_last_look_is_done_again_where_a_worker_is_lost() -> None:
    """Chains take minutes: one lost worker must not end the training. A team that has lost one begins anew with what it holds."""

    class Losing:
        size, asked = 2, 0

        def hold(self, build: Any, shared: Any) -> None:
            self.tasks = [build(shared, rank, None) for rank in range(2)]

        def ask(self) -> list[Any]:
            self.asked += 1
            if self.asked < 3:
                raise Lost("a member")
            return [task() for task in self.tasks]

    assert TakenBy(Losing()).each(lambda shared, rank: shared + rank, 5) == [5, 6]


def test_a_config_trains_on_several_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.workers=2` is all that it needs. (The workers are left out here: the test above has them.)"""
    config = {
        "log": small.section(tmp_path),
        "features": [{"name": "image", "kind": "categorical"}],
        "model": "linear",
        "posterior": "map",
        "density": {"kind": "beta_mixture", "components": 1, "group_effect": False},
        "train": {"epochs": 2, "batch_size": 32, "held_out": 0.0, "oov_share": 0.0},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    asked = []
    monkeypatch.setattr(fitted, "stepping", lambda workers, engine: asked.append((workers, engine)) or nullcontext())
    done = recbayes("train", tmp_path / "config.yaml", "--out", tmp_path / "run", "train.workers=2")
    assert done.exit_code == 0, done.stderr
    assert asked == [(2, "ray")]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_feed_with_categories_and_texts_travels(where: str, tmp_path: Path) -> None:
    """TensorFlow's tables do not: training on several workers would end before its first step."""
    pytest.importorskip("ray")
    import ray.cloudpickle as pickle

    small.frame(groups=24).to_parquet(tmp_path / "log.parquet")
    columns = {"clicks": "clicked", "impressions": "shown", "item": "item", "group": "page", "time": "at"}
    read = {"memory": lambda: rb.read_log(tmp_path / "log.parquet", features=["headline", "image"], **columns)}
    part = part_of({**read, "disk": lambda: rb.stream_log(tmp_path / "log.parquet", **columns)}[where](), "page", 1.0)
    schedule = Schedule(batch_size=32, oov_share=0.5)
    feed = part.feed(part.encoder(small.features()), schedule)
    there = pickle.loads(pickle.dumps(feed))
    for (one, place), (other, same) in zip(feed.epoch(schedule, 0, (0, 0)), there.epoch(schedule, 0, (0, 0)), strict=True):
        assert place == same
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_a_training_that_cannot_be_shared_says_so() -> None:
    """Each mistake before anything is started, with its mend."""
    log = small.log(groups=3)
    given = {"features": small.features()[1:2], "group_effect": "page"}
    with pytest.raises(UserError, match=r"workers is 4, but the log has 3 groups.*train\.workers=3"):
        rb.fit(log, **given, workers=4)
    with pytest.raises(UserError, match="workers is 0"):
        rb.fit(log, **given, workers=0)
    with pytest.raises(UserError, match="a step has 1 rows"):
        rb.fit(log, **given, workers=2, batch_size=1)
    with pytest.raises(UserError, match=r"engine local is this process alone.*engine='ray'"), stepping(2, engine("local")):
        pass
    config = rb.config.parse({"log": {"path": "x", "columns": {}}, "train": {"workers": 2}, "runtime": {"device": "gpu"}})
    with pytest.raises(UserError, match="workers compute on CPUs"):
        trainers(config)


def test_members_are_spread_where_there_are_enough() -> None:
    """A worker without a member has no step to take: then rows are cut. What all members share stays on each worker."""
    posterior, (net, _) = rb.ensemble(members=3), network()
    state = posterior.init(net, tf.constant([5, 6]))
    apart = tf.nest.pack_sequence_as(state, held_apart(posterior, state, 3))
    assert all(tf.nest.flatten([apart.parameters.weights, apart.priors, apart.optimizer.mean.weights, apart.seeds]))
    assert not any(tf.nest.flatten([apart.parameters.extras, apart.optimizer.square.extras, apart.optimizer.steps]))
    assert not any(held_apart(posterior, state, 4) + held_apart(POINT, POINT.init(net, tf.constant([5, 6])), 2))
    with pytest.raises(UserError, match="`apart` tells of tensors of 2, 3 parts"):  # they would be cut out of step
        held_apart(posterior, state._replace(seeds=state.seeds[:2]), 2)


def test_a_posterior_whose_steps_are_not_summed_is_refused() -> None:
    """One of the user's own that takes its gradients itself would train as many different models as there are workers, in silence."""
    must_agree("mine", ["same", "same"])
    with pytest.raises(UserError, match=r"posterior mine can't be trained on several.*descend"):
        must_agree("mine", ["same", "other"])
