"""The refit learner: the same as fitting again by hand between steps, with what has been told and nothing else."""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from replay.worlds import Model, pages

import recbayes as rb
from recbayes.config import load
from recbayes.pipelines import players
from recbayes.pipelines.export import caveats
from recbayes.random import fold
from recbayes.replay import jobs as chunks
from recbayes.replay.jobs import streams
from recbayes.replay.learner import Prior
from recbayes.replay.refit import joined
from recbayes.replay.tallies import Tallies
from recbayes.replay.world import Feedback
from recbayes.report.sections.export import export as section

STEPS, EVERY = 7, 3


class Moody(Model):
    """A sure model, whose beliefs of the arms are another draw for every log and every seed of the fit."""

    def __init__(self, mood):
        super().__init__(concentrations=(3000.0, 9000.0), rate=0.2)
        self.mood = mood

    def densities(self, rows, *, draws, seed):
        return super().densities(rows, draws=draws, seed=self.mood)


def fit(log, seed):
    """A fit that turns on every click, impression and seed."""
    return Moody((int(log.clicks.sum()) * 7 + int(log.impressions.sum()) * 13 + len(log) + seed) % 1_000_003)


def by_hand(world, train, seeds):
    """UCB step by step, uncompiled; after steps 3 and 6 a fit to the training rows and the arms' counts, put together with pandas."""
    (part,) = world.parts(together=True)
    scene = tf.nest.map_structure(tf.constant, part.scene)
    laid = part.lay(np.arange(len(world.segments)))

    def bound_to(model):
        bound = rb.density(model).bind(world)
        arms = tf.nest.map_structure(lambda leaf: None if leaf is None else tf.constant(part.lay(leaf)), bound.arms)
        return bound, Prior(arms, bound.settings, scene.present)

    bound, prior = bound_to(Model())
    lucks, policy = tf.constant(seeds[None, 0]), rb.ucb(exploration=1.0)
    state, learner, earned = world.rules.start(scene, lucks), bound.start(prior, 1), np.zeros(len(part.groups))
    for t in range(STEPS):
        offer = world.rules.offer(scene, state, lucks, tf.constant(t))
        sees = bound.predictive(tf.nest.map_structure(lambda leaf: leaf[0], learner), prior, offer)
        shares = policy.probabilities(sees, offer.candidates, offer.clock, fold(tf.constant(seeds[1]), t))[None]
        state, feedback, found = world.rules.answer(scene, state, offer, shares, lucks, tf.constant(t))
        learner, earned = bound.update(learner, prior, feedback), earned + found["expected_clicks"].numpy()[0]
        if (t + 1) % EVERY == 0:
            counts = np.zeros((2, len(world.segments)))
            counts[:, laid[scene.present]] = [values.numpy()[0][scene.present] for values in learner]
            arms = world.rows.to_pandas().assign(clicked=counts[0].astype(int), shown=counts[1].astype(int))
            frame = pd.concat([train.to_pandas(), arms[arms.shown > 0]])
            log = rb.read_log(frame, clicks="clicked", impressions="shown", group="page")
            bound, prior = bound_to(fit(log, int(fold(tf.constant(seeds[1]), t + 1)[0]) & 0x7FFFFFFF))
    return earned[part.groups >= 0]


def test_equals_fitting_by_hand(tmp_path, monkeypatch):
    """Every expected click of a replica: a fit that saw too much or too little would choose other arms.

    A fit that gives the same model back is the density learner: spans of steps are the whole horizon, to every point of the curve.
    """
    train, world, model = pages(seed=1), rb.queue(pages(groups=8, seed=2, rate=0.2), steps=STEPS), Model()
    policies = [
        rb.ucb(rb.refit(model, train, fit, every=EVERY)),
        rb.ucb(rb.refit(model, train, lambda log, seed: model, every=EVERY), name="same"),
        rb.ucb(model),
    ]
    run = functools.partial(rb.replay, world, policies, seeds=2, seed=5, replica_chunk=1, checkpoint=tmp_path)
    result = run()
    for replica in range(2):
        np.testing.assert_allclose(result.expected["refit/ucb"][replica], by_hand(world, train, streams(5, 2)[replica]), rtol=1e-5)
    assert (result.expected["refit/ucb"] != result.expected["same"]).any()
    rows = result.rows.set_index("policy")
    np.testing.assert_allclose(rows.loc["same"].expected_clicks, rows.loc["density/ucb"].expected_clicks, rtol=1e-5)
    assert result.compare("same", "density/ucb", early=True).lift == pytest.approx(0.0, abs=1e-6)
    sorted(tmp_path.glob("*.npz"))[0].unlink()  # as a kill leaves it: without one replica, and with part of a file
    (tmp_path / "half.0.0.tmp").write_bytes(b"PK")
    played, original = [], chunks.play
    monkeypatch.setattr(chunks, "play", lambda *given: played.append(1) or original(*given))
    pd.testing.assert_frame_equal(run().rows, result.rows)
    assert len(played) == 1


def test_a_kept_replica_is_of_its_fit():
    """More epochs, another setting that the fit holds: a checkpoint of the old one must not answer. The same, made again, goes on."""
    train, world, epochs = pages(seed=1), rb.queue(pages(groups=3), steps=STEPS), 3

    def token(fit):
        return rb.refit(Model(), train, fit, every=EVERY).bind(world).again.token

    first = token(lambda log, seed: (epochs, log))
    assert first == token(lambda log, seed: (epochs, log))
    assert first != token(lambda log, seed: (epochs + 1, log))
    assert token(functools.partial(fit, seed=1)) != token(functools.partial(fit, seed=2))
    epochs = 30
    assert first != token(lambda log, seed: (epochs, log))


def test_a_window_is_of_what_was_told():
    """What is older is neither in the counts nor in the next fit; the training rows stay."""
    train, world, seen = pages(seed=1), rb.queue(pages(groups=3), steps=STEPS), []
    bound = rb.refit(Model(), train, lambda log, seed: seen.append(log) or Model(), every=EVERY, window=2).bind(world)
    (part,) = world.parts(together=True)
    present = np.asarray(part.scene.present)
    prior = Prior(None, (), tf.constant(present))
    state = bound.start(prior, 1)
    for shown in (50.0, 7.0, 4.0):
        cells = tf.constant(np.where(present, shown, 0.0)[None])
        state = bound.update(state, prior, Feedback(cells, cells / 50.0))
    bound.again.made(state, part.lay(np.arange(len(world.segments))), present, 1)
    assert seen[0].impressions.sum() == train.impressions.sum() + 11 * len(world.segments)


def test_rows_are_those_that_were_shown():
    """The training rows as they are, then the arms with impressions; the fingerprint says what was told."""
    train, arms = pages(groups=2, seed=1), pages(groups=2, seed=2)
    shown = np.arange(len(arms)) % 2 * 5
    both = joined(train, arms, shown // 5, shown)
    assert len(both) == len(train) + (shown > 0).sum()
    np.testing.assert_array_equal(both.impressions, np.r_[train.impressions, shown[shown > 0]])
    np.testing.assert_array_equal(both.clicks[len(train) :], 1)
    assert joined(train, arms, 0 * shown, shown).fingerprint != both.fingerprint
    assert joined(train, arms, 0 * shown, 0 * shown) is train


def test_mistakes_say_so():
    """A schedule that never comes, and a world without rows."""
    learner = rb.refit(Model(), pages(), fit, every=7)
    with pytest.raises(rb.UserError, match="every is 7, the queue world has 7 steps, so the model would never be fitted again"):
        learner.bind(rb.queue(pages(), steps=7))
    with pytest.raises(rb.UserError, match="the wheel world has no rows that a click model could be fitted to"):
        learner.bind(rb.wheel())


def test_a_config_is_told_before_the_training():
    """A schedule that never comes costs minutes when it is told after them; neural_linear's `train_every` and others are not meant."""
    policies = "[{kind: ucb, learner: {kind: refit, every: 100}}, {kind: ucb, learner: {kind: counts, window: 30}}]"
    config = load("quickstart", [f"simulate.policies={policies}"])
    players.check_schedules(config, 101)
    with pytest.raises(rb.UserError, match="refit/ucb: every is 100; refit/greedy: every is 100, and the world has 100 updates"):
        players.check_schedules(config, 100)


def test_the_stage_fits_the_configs_own_model(monkeypatch):
    """`learner: {kind: refit}` in a config: the features, density and posterior of its training, for the epochs that were best, seeded."""
    config = load("quickstart", ["simulate.policies=[{kind: ucb, learner: {kind: refit, every: 7}}]", "train.recalibrate=true"])
    (policy,) = (policy for policy in config.simulate.policies if policy.kind == "ucb")
    model, train, seen = Model(), pages(seed=1), {}
    model.record = {"epochs": 5}
    monkeypatch.setattr(rb, "fit", lambda log, **given: seen.update(given, log=log) or model, raising=False)
    learner = players.player(config, policy, train, model).learner
    again = learner.bind(rb.queue(pages(groups=3), steps=20)).again
    state = Tallies(tf.zeros([1, 2, 3]), tf.zeros([1, 2, 3]))
    again.made(state, np.zeros((2, 3), int), np.ones((2, 3), bool), 11)
    assert (again.every, learner.settings["every"]) == (7, 7)
    assert {name: seen[name] for name in ("epochs", "held_out", "recalibrate", "seed", "batch_size")} == {
        "epochs": 5,
        "held_out": 0.0,
        "recalibrate": False,
        "seed": 11,
        "batch_size": 512,
    }
    assert [feature.name for feature in seen["features"]] == ["headline", "eyecatcher_id", "test_created_at"]
    assert (seen["density"].components, seen["posterior"].kind) == (2, "last_layer")
    assert players.needs_model(config)
    (told,) = caveats(policy)  # the export holds one model, and says so in the run, the metadata and the report
    assert told.startswith(
        "refit/ucb was simulated with its model fitted again every 7 updates; the export serves the model as it was trained"
    )
    assert told in str(section(SimpleNamespace(export={"caveats": [told]}, folder=Path("run"))))
    assert caveats(load("quickstart").simulate.policies[0]) == []
    assert players.player(config, policy, train, model).learner.identity == learner.identity  # greedy over it is found to be so
