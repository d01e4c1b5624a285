"""The neural_linear learner: regressions made anew equal those that were told one by one, and features that a line lacks."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from replay.worlds import pages

import recbayes as rb
from recbayes.replay import regression, stream
from recbayes.replay.learner import Prior
from recbayes.replay.linear import Settings
from recbayes.replay.neural_linear import Buffer, refitted


def test_made_anew_equals_told_one_by_one():
    """After a training the posterior must be that of all decisions on the new features."""
    rng = np.random.default_rng(0)
    z, arm = rng.normal(size=(9, 2, 3)).astype(np.float32), rng.integers(0, 2, (9, 2)).astype(np.int32)
    reward, weight = rng.normal(size=(9, 2)).astype(np.float32), np.float32([[1, 1]] * 7 + [[0, 0]] * 2)
    buffer = Buffer(tf.constant(z), *(tf.constant(x) for x in (arm, reward, weight)))
    got = refitted(tf.constant(z), buffer, Settings(*(tf.constant(x) for x in (0.5, 6.0, 6.0, 1.0, 1.0))), 2)
    rows = (np.swapaxes(x, 0, 1) for x in (arm, z, reward, weight))
    want = regression.told(regression.unseen(2, 2, 3, tf.constant(0.5)), *(tf.constant(x) for x in rows))
    covariances = [np.einsum("rkji,rkjl->rkil", state.root, state.root) for state in (got, want)]
    np.testing.assert_allclose(*covariances, atol=1e-5)
    np.testing.assert_allclose(got.mean, want.mean, atol=1e-5)
    np.testing.assert_allclose(got.events, want.events)
    np.testing.assert_allclose(got.errors, want.errors, atol=1e-5)


def test_features_are_learnt():
    """The label is the sign of a product, of which a line knows nothing: the network must find it in some hundred decisions."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(500, 2)), columns=["a", "b"]).assign(
        label=lambda t: (t.a * t.b > 0).map({True: "same", False: "other"})
    )
    world = rb.classification(table, label="label", events=1200, batch=20)
    learner = rb.neural_linear_learner(units=16, train_every=5, train_steps=60)
    result = rb.replay(world, [rb.thompson(learner, draws=1)], seeds=3)
    rows = result.rows.set_index(["checkpoint", "seed"])
    late = rows.regret[20] - rows.regret[10]
    assert (late / 600 < 0.2).all()  # uniform, and a line, are wrong in half of them


def test_a_window_forgets_in_trainings_and_regressions():
    """Six batches of two, a window of two: nothing of the first four is left in the network or in the lines."""
    table = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0], "label": ["x", "y"]})
    world = rb.classification(table, label="label", events=12, batch=2)
    bound = rb.neural_linear_learner(units=4, train_every=6, train_steps=2, batch_size=8, window=2).bind(world)
    prior = Prior(None, tf.nest.map_structure(tf.constant, bound.settings), tf.ones([2, 1], tf.bool))
    rng = np.random.default_rng(0)
    context, arm, reward = rng.normal(size=(6, 2, 1, 2)), rng.integers(0, 2, (6, 2, 1)), rng.random((6, 2, 1))
    state = bound.start(prior, 2)
    for t in range(6):  # the replicas tell other things at first, and the same in the last two batches
        mine = np.array([[0, 0], [1, 1]]) if t >= 4 else np.array([[0, 1], [1, 0]])  # whose of the two, [B, R]
        seen = np.stack([context[t, mine[:, r], 0] for r in range(2)])
        arms, rewards = (np.stack([v[t, mine[:, r], 0] for r in range(2)]) for v in (arm, reward))
        told = stream.told(
            *(tf.constant(v, d) for v, d in ((arms, tf.int32), (rewards, tf.float32))), tf.ones([2, 2]), 2, tf.constant(seen, tf.float32)
        )
        state = bound.update(state, prior, told)
    first, second = (tf.nest.map_structure(lambda leaf, r=r: leaf[r].numpy(), (state.weights, state.lines.regression)) for r in range(2))
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)
    assert (state.buffer.context[:8, 0] != state.buffer.context[:8, 1]).numpy().any()
    np.testing.assert_allclose(first[1].events.sum(), 4.0)
    with pytest.raises(rb.UserError, match="neural_linear: window is 6, the classification world has 6 steps, so nothing would"):
        rb.neural_linear_learner(window=6).bind(world)
    with pytest.raises(rb.UserError, match="neural_linear: train_every is 50, the classification world has 6 steps, so nothing would"):
        rb.neural_linear_learner(window=2).bind(world)
    late = rb.classification(table, label="label", events=12, batch=2, delay={"kind": "geometric", "mean": 1, "late": "clicks"})
    with pytest.raises(rb.UserError, match="neural_linear: clicks that join late"):
        rb.neural_linear_learner(train_every=2, window=2).bind(late)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, "units is 0, must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, must be above 0"),
        ({"precision": -1.0}, "precision is -1.0"),
    ],
)
def test_settings_out_of_range_say_so(settings, message):
    """With their values."""
    with pytest.raises(rb.UserError, match=message):
        rb.neural_linear_learner(**settings)


def test_worlds_without_contexts_say_so():
    """There is nothing to learn features of."""
    with pytest.raises(rb.UserError, match="the queue world has no contexts"):
        rb.neural_linear_learner().bind(rb.queue(pages()))
