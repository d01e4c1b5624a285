"""The training loop: groups stay whole, a killed run resumes to the same numbers, early stopping goes by what was set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small import network

import recbayes as rb
from recbayes.training import Begun, Schedule, batches, falling, restore, save, train
from recbayes.types import Interrupted, UserError


def same(a: Any, b: Any) -> None:
    for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_batches_hold_every_row_once_and_whole_groups() -> None:
    """A group cut in two would learn two page effects for one page."""
    _, rows = network(rows=90)
    rows = rows._replace(segments=np.append(np.arange(17), np.random.default_rng(0).integers(0, 17, 73)).astype(np.int32))
    order = np.random.default_rng(1).permutation(17)
    seen: list[float] = []
    for batch in batches(rows, 20, order):
        assert set(batch.segments.numpy()) == set(range(len(batch.groups)))
        for local, group in enumerate(batch.groups.numpy()):
            mine = np.sort(batch.impressions.numpy()[batch.segments.numpy() == local])
            np.testing.assert_array_equal(mine, np.sort(rows.impressions[rows.segments == group]))
        seen += batch.impressions.numpy().tolist()
    np.testing.assert_array_equal(np.sort(seen), np.sort(rows.impressions))


def test_clusters_follow_their_groups() -> None:
    _, rows = network(rows=40)
    rows = rows._replace(clusters=(rows.segments * 7 % 5).astype(np.int32))
    for batch in batches(rows, 12, np.random.default_rng(2).permutation(10)):
        np.testing.assert_array_equal(batch.clusters, batch.groups * 7 % 5)


@pytest.mark.parametrize("method", [rb.map(), rb.last_layer(draws=4), rb.ensemble(members=2)], ids=lambda m: m.kind)
def test_a_killed_run_resumes_to_the_same_numbers(method: Any, tmp_path: Path) -> None:
    """Acceptance 16: the rerun's weights are bit for bit those of an uninterrupted run."""
    schedule = Schedule(epochs=4, batch_size=16)

    def killed(done: int, of: int, figures: dict[str, float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    net, rows = network()
    straight = train(net, method, rows, schedule)
    with pytest.raises(KeyboardInterrupt):
        train(net, method, rows, schedule, checkpoint=tmp_path, progress=killed)
    resumed = train(net, method, rows, schedule, checkpoint=tmp_path)
    assert len(resumed.history) == 4
    same(straight.state, resumed.state)
    assert [r["loss"] for r in straight.history] == [r["loss"] for r in resumed.history]


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    """A day of training is not lost: what a rerun goes on from is there, whole. (/dev/full is a disk without room.)"""
    state, begun = {"weights": tf.range(3.0)}, Begun((1, 2), [0.5], [16], 3.0)
    save(tmp_path, state, state, [{"loss": 4.0}], begun)
    (tmp_path / "state.npz.part").symlink_to("/dev/full")
    with pytest.raises(Interrupted, match=rf"{tmp_path}: cannot write state\.npz: the disk is full.*Make room"):
        save(tmp_path, state, state, [], begun)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
    now, best, *rest = restore(tmp_path, state)
    same((state, state), (now, best))
    assert rest == [[{"loss": 4.0}], begun]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """A disk that lost a part of it: what to remove, in place of a traceback at every rerun."""
    save(tmp_path, tf.range(300.0), tf.range(300.0), [])
    whole = (tmp_path / "state.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:400] + bytes(400) + whole[800:]):
        (tmp_path / "state.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"state\.npz: this checkpoint is damaged.*Remove it"):
            restore(tmp_path, tf.range(300.0))


def test_training_stops_when_the_held_out_figure_does_and_returns_the_best_epoch() -> None:
    net, rows = network()
    figures = iter([-5.0, -4.0, -4.5, -4.6, -4.7, -4.8])
    states = []

    def held_out(state: Any) -> float:
        states.append(state)
        return next(figures)

    trained = train(net, rb.map(), rows, Schedule(epochs=6, patience=3), held_out=held_out)
    assert trained.best_epoch == 2
    assert len(trained.history) == 5
    same(trained.state, states[1])


def test_hidden_categories_are_trained_on_once_more() -> None:
    net, rows = network()
    asked = []

    def hide(inputs: dict[str, Any], epoch: int) -> dict[str, Any]:
        asked.append(epoch)
        return {**inputs, "image": np.zeros_like(inputs["image"])}

    with_share = train(net, rb.map(), rows, Schedule(epochs=2, oov_share=0.5), hide=hide)
    assert asked == [0, 1]
    without = train(net, rb.map(), rows, Schedule(epochs=2, oov_share=0.5))
    position = [v.path for v in net.model.trainable_variables].index("wide_image/embeddings")
    moved = [np.abs(t.state.parameters.weights[position].numpy()[0]).max() for t in (with_share, without)]
    assert moved[0] != moved[1]


def test_step_size_falls_to_a_hundredth() -> None:
    schedule = Schedule(epochs=10, learning_rate=1.0)
    rates = [falling(schedule, epoch) for epoch in range(11)]
    assert rates[0] == 1.0
    assert rates[10] == pytest.approx(0.01)
    assert rates == sorted(rates, reverse=True)


def test_a_loss_that_is_no_number_names_the_setting() -> None:
    net, rows = network()
    rows.clicks[0] = np.nan
    with pytest.raises(UserError, match=r"not a number in epoch 1.*learning_rate"):
        train(net, rb.map(), rows, Schedule(epochs=1))
