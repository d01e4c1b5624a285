"""The linear learner: exact against NumPy, action for action, in float32 too after many updates; forgetting; draws by law."""

import functools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from replay.worlds import pages
from scipy import stats

import recbayes as rb
from recbayes import random
from recbayes.policies.shares import TIE
from recbayes.replay import numbers, regression, scores, stream
from recbayes.replay.jobs import jobs, play, streams
from recbayes.replay.learner import Prior
from recbayes.replay.linear import Form, Settings
from recbayes.replay.world import Events

EVENTS, ARMS = 80, 4


@functools.cache
def small():
    """A table of three numbers and four labels; every (arm, label) pays another number, so that pay tells what was shown."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")).assign(label=rng.integers(0, ARMS, 60))
    pays = rng.normal(size=(ARMS, ARMS)) + 2.0 * np.eye(ARMS)
    payoffs = {f"arm {a}": {label: float(pays[label, a]) for label in range(ARMS)} for a in range(ARMS)}
    return table, pays, rb.classification(table, label="label", payoffs=payoffs, events=EVENTS)


def reference(seeds, exploration, thompson):
    """LinUCB and LinTS as one writes them, an inverse an arm, in float64: pay of each decision."""
    table, pays, _ = small()
    x = table[list("abc")].to_numpy()
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))].astype(np.float32).astype(float)
    lanes = [u.numpy()[0] for u in stream.luck(tf.constant(seeds[None, 0]), tf.range(EVENTS), 3)]
    precision, moments, earned = np.tile(0.5 * np.eye(4), (ARMS, 1, 1)), np.zeros((ARMS, 4)), []
    for t in range(EVENTS):
        u = [lane[t] for lane in lanes]
        row = int(u[0] * len(x))
        inverses = np.linalg.inv(precision)
        means = np.einsum("kij,kj,i->k", inverses, moments, x[row])
        spread = np.sqrt(np.einsum("kij,i,j->k", inverses, x[row], x[row]))
        z = np.full(ARMS, exploration)
        if thompson:
            uniform = numbers.uniforms(random.fold(tf.constant(seeds[1]), t), [1, 1, ARMS])[0].numpy().astype(float)
            z = exploration * stats.norm.ppf(uniform[0, 0])
        score = means + z * spread
        best = score >= score.max() - TIE * abs(score.max())
        arm = int((np.cumsum(best / best.sum()) <= u[1]).sum())
        reward = np.float32(pays[table.label[row], arm]).astype(float)
        precision[arm] += np.outer(x[row], x[row])
        moments[arm] += x[row] * reward
        earned.append(reward)
    return np.array(earned)


@functools.cache
def played(kind, exploration, seeds):
    """Pay of each decision, [T, R], of the learner in float64."""
    world, learner = small()[2], rb.linear_learner(precision=0.5, noise=1.0, dtype="float64")
    given = {"draws": 1} if kind == "thompson" else {}
    policy = getattr(rb, kind)(learner, exploration=exploration, **given)
    (job,) = jobs(world, [policy], {policy.name: learner.bind(world)}, len(seeds), 0, len(seeds))
    curves = play(world, job._replace(seeds=streams(0, 8)[list(seeds)]), "/CPU:0").curves
    return np.diff(curves["clicks"], axis=0, prepend=0.0)


@pytest.mark.parametrize(("kind", "exploration"), [("ucb", 1.0), ("thompson", 1.0)])
def test_equals_the_sequential_reference(kind, exploration):
    """LinUCB and LinTS, one decision at a time: the same action in every decision, given the same normals."""
    got = played(kind, exploration, (0, 1))
    for replica in range(2):
        want = reference(streams(0, 8)[replica], exploration, kind == "thompson")
        np.testing.assert_allclose(got[:, replica], want, rtol=1e-6)
    assert len(np.unique(got.round(6))) > ARMS  # several arms and labels were met


def test_what_cannot_be_is_said():
    """A forgetting that never comes would be an option that does nothing; a context too wide for memory would end the machine's work."""
    with pytest.raises(
        rb.UserError, match="forget_every is 100, the classification world has 80 steps, so nothing would ever be forgotten"
    ):
        rb.replay(small()[2], [rb.ucb(rb.linear_learner(discount=0.9))])
    wide = rb.classification(pd.DataFrame({"word": range(2000), "label": range(2000)}).astype(str), label="label", events=10)
    with pytest.raises(rb.UserError, match=r"the learner of linear/ucb keeps 8,012,004,000 numbers a replica"):
        rb.replay(wide, [rb.ucb(rb.linear_learner())])


def test_a_replica_does_not_depend_on_its_chunk():
    """The same bits wherever it stands in a chunk."""
    np.testing.assert_array_equal(played("ucb", 1.0, (0, 1))[:, 0], played("ucb", 1.0, (5, 0))[:, 1])


@pytest.mark.parametrize(("batch", "many"), [(100_000, np.inf), (1000, 1)])
def test_float32_holds_after_1e5_updates(batch, many, monkeypatch):
    """Against the closed form in float64: a drift would turn a long replay's bonus into noise. Mean to .05 of a deviation.

    One after another, and a thousand together a hundred times.
    """
    rng = np.random.default_rng(0)
    events, width = 100_000, 6
    x = rng.normal(size=(events, width)).astype(np.float32)
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]  # two that nearly agree
    reward = (x @ rng.normal(size=width) + 0.3 * rng.normal(size=events)).astype(np.float32)

    @tf.function(jit_compile=True, autograph=False)
    def learnt():
        rows, rewards = tf.reshape(x, [-1, 1, batch, width]), tf.reshape(reward, [-1, 1, batch])
        which, weight = tf.zeros([1, batch], tf.int32), tf.ones([1, batch])

        def step(t, *state):
            return t + 1, *regression.told(regression.Regression(*state), which, rows[t], rewards[t], weight)

        start = (tf.constant(0), *regression.unseen(1, 1, width, tf.constant(0.25)))
        return regression.Regression(*tf.while_loop(lambda t, *_: t < events // batch, step, start)[1:])

    monkeypatch.setattr(regression, "MANY", many)
    got, wide = learnt(), x.astype(float)
    inverse = np.linalg.inv(0.25 * np.eye(width) + wide.T @ wide)
    mean = inverse @ wide.T @ reward
    errors = 0.5 * (np.square(reward.astype(float)).sum() - mean @ np.linalg.solve(inverse, mean))
    root = got.root.numpy()[0, 0].astype(float)
    np.testing.assert_allclose(((wide[:50] @ root.T) ** 2).sum(1), np.einsum("bi,ij,bj->b", wide[:50], inverse, wide[:50]), rtol=1e-4)
    deviation = np.sqrt(np.diag(inverse) * errors / (0.5 * events))
    assert np.abs((got.mean.numpy()[0, 0] - mean) / deviation).max() < 0.05
    np.testing.assert_allclose(got.errors.numpy()[0, 0], errors, rtol=1e-3)


def told(state, x, reward, weight):
    """A batch to the second of two regressions."""
    shape = [1, len(x)]
    return regression.told(state, tf.ones(shape, tf.int32), x[None], tf.reshape(reward, shape), tf.reshape(weight, shape))


def test_forgetting_is_a_weight():
    """Decisions before count `share`, those after 1, the prior its own: the closed form of weighted regression."""
    rng = np.random.default_rng(1)
    x, reward, weight = rng.normal(size=(5, 3)), rng.normal(size=5), np.array([1.0, 1.0, 0.0, 2.0, 1.0])
    precision, share = tf.constant(0.5, tf.float64), tf.constant(0.7, tf.float64)
    state = told(regression.unseen(1, 2, 3, precision), x[:3], reward[:3], weight[:3])
    state = told(regression.forgotten(state, share, precision), x[3:], reward[3:], weight[3:])
    w = weight * np.where(np.arange(5) < 3, 0.7, 1.0)
    inverse = np.linalg.inv(0.5 * np.eye(3) + (x.T * w) @ x)
    mean = inverse @ (x.T * w) @ reward
    root = state.root.numpy()[0, 1]
    np.testing.assert_allclose(root.T @ root, inverse, rtol=1e-10)
    np.testing.assert_allclose(state.mean[0, 1], mean, rtol=1e-10)
    np.testing.assert_allclose(state.events[0], [0.0, w.sum()])
    np.testing.assert_allclose(state.errors[0, 1], 0.5 * ((w * reward**2).sum() - mean @ np.linalg.solve(inverse, mean)), rtol=1e-10)
    mean, square = regression.seen(state, tf.constant(x[None]))
    np.testing.assert_allclose(square[0, :, 1], np.einsum("bi,ij,bj->b", x, inverse, x), rtol=1e-10)
    np.testing.assert_allclose(mean[0, :, 0], 0.0)
    _, many = regression.seen(state, tf.constant(np.tile(x, (27, 1))[None]))  # 135 decisions: in blocks, the last one padded
    np.testing.assert_allclose(many[0, :, 1], np.tile(square[0, :, 1], 27), rtol=1e-12)


@pytest.mark.parametrize("late", [False, True])
def test_many_decisions_together_are_one_after_another(late, monkeypatch):
    """Two batches of 70 over three regressions, one of which hears of nothing, weights and clicks that join and all, in float64.

    Wider than a strip of the factor, more decisions than a block's rows; a batch that told another posterior would change every policy.
    """
    rng = np.random.default_rng(4)
    which, x, reward, weight = (
        rng.integers(0, 2, (2, 2, 70)),
        rng.normal(size=(2, 2, 70, 10)),
        rng.normal(size=(2, 2, 70)),
        rng.random((2, 2, 70)),
    )
    joins = rng.random((2, 2, 70)) < 0.3

    def learnt(many):
        monkeypatch.setattr(regression, "MANY", many)
        state = regression.unseen(2, 3, 10, tf.constant(0.5, tf.float64))
        for batch in range(2):
            given = [tf.constant(values[batch]) for values in (which.astype(np.int32), x, reward, np.where(weight < 0.2, 0.0, weight))]
            state = regression.told(state, *given, *([tf.constant(joins[batch] & bool(batch))] if late else []))
        return state

    together, want = learnt(1), learnt(np.inf)
    for ours, theirs in zip(together[1:], want[1:]):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(*(np.einsum("rkji,rkjl->rkil", one.root, one.root) for one in (together, want)), atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_a_window_is_the_last_decisions(shared):
    """Seven batches of two, forgetting every second: regressions equal those of the window's decisions alone, in float64."""
    rng = np.random.default_rng(3)
    form = Form(shared, False, True, 0, 2, 3)
    settings = Settings(*(tf.constant(value, tf.float64) for value in (0.5, 6.0, 6.0, 1.0, 1.0)))
    x, which, reward = (
        rng.normal(size=(7, 1, 2, 3)),
        rng.integers(0, 1 if shared else 2, (7, 1, 2)).astype(np.int32),
        rng.normal(size=(7, 1, 2)),
    )
    number = 1 if shared else 2
    state = form.start(settings, 1, number, 3, lanes=2)
    for t in range(7):
        events = Events(tf.ones([1, 2]), tf.constant(which[t]), tf.constant(reward[t]))
        state = form.told(state, events.arm, tf.constant(x[t]), events, settings)
        first = max(0, t - 2 - (t % 2 == 0))
        rows = (tf.constant(np.concatenate(v[first : t + 1], 1)) for v in (which, x, reward, np.ones((7, 1, 2))))
        want = regression.told(regression.unseen(1, number, 3, settings.precision), *rows)
        for ours, theirs in zip(state.regression[1:], want[1:]):
            np.testing.assert_allclose(ours, theirs, atol=1e-10)
        covariances = [np.einsum("rkji,rkjl->rkil", one.root, one.root) for one in (state.regression, want)]
        np.testing.assert_allclose(*covariances, atol=1e-10)


def test_draws_with_learnt_noise_are_students():
    """Thompson over 14 degrees of freedom explores by the t's tails. KS against scipy, alarm 1e-6; a normal would be found."""
    freedom = tf.fill([1, 2], 14.0)
    seen = scores.Apart(tf.constant([[1.0, 0.0]]), tf.constant([[2.0, 1.0]]), freedom)
    draws = seen.sample(40_000, tf.constant([0, 1])).numpy()
    assert stats.kstest((draws[:, 0, 0] - 1.0) / 2.0, stats.t(14).cdf).pvalue > 1e-6
    assert stats.kstest(draws[:, 0, 1], stats.t(3).cdf).pvalue < 1e-6
    assert abs(np.corrcoef(draws[:, 0].T)[0, 1]) < 4.9 / np.sqrt(40_000)
    np.testing.assert_allclose(seen.stddev[0], np.array([2.0, 1.0]) * stats.t(14).std(), rtol=1e-5)


def test_shared_draws_move_together():
    """One draw of the weights for all candidates: covariances are those of the features; contrasts leave out what all share."""
    spread = tf.constant([[[1.0, 0.5], [1.0, -0.5], [9.0, 9.0]]])
    candidates = tf.constant([[True, True, False]])
    seen = scores.Together(tf.zeros([1, 3]), spread, None, candidates)
    draws = seen.sample(40_000, tf.constant([0, 1])).numpy()[:, 0, :2]
    np.testing.assert_allclose(np.cov(draws.T), [[1.25, 0.75], [0.75, 1.25]], atol=0.05)
    np.testing.assert_allclose(seen.contrast_stddev[0, :2], 0.5, rtol=1e-6)
    learnt = scores.Together(tf.zeros([1, 3]), spread, tf.constant([14.0]), candidates)
    draws = learnt.sample(40_000, tf.constant([0, 1])).numpy()[:, 0, 0]
    assert stats.kstest(draws / np.sqrt(1.25), stats.t(14).cdf).pvalue > 1e-6


def test_shared_regression_is_over_features_times_context():
    """Two events of a log whose items have a size: the closed form on (size, size x hour, 1) for every item, seen or not."""
    frame = pd.DataFrame({"item": list("abcabc"), "click": [1, 0, 0, 1, 1, 0], "hour": [0.0, 1, 2, 3, 4, 5], "size": [1.0, 2, 4] * 2})
    log = rb.read_log(frame, clicks="click", item="item", features=["hour", "size"])
    world = rb.rejection(log, item_features=["size"], order="logged", batch=2)
    scene = tf.nest.map_structure(tf.constant, world.parts()[0].scene)
    bound = rb.linear_learner(shared=True, noise=0.5, precision=2.0, dtype="float64").bind(world)
    prior = Prior(None, tf.nest.map_structure(tf.constant, bound.settings), scene.present)
    offer = world.rules.offer(scene, (), tf.constant([[0, 1]]), tf.constant(0))
    arm, reward = tf.constant([[0, 1]]), tf.constant([[1.0, 0.0]])
    feedback = stream.told(arm, reward, tf.ones([1, 2]), 3, offer.context, tf.gather(scene.data.features, arm))
    known = bound.look(bound.update(bound.start(prior, 1), prior, feedback), prior, offer)
    size, hour = scene.data.features.numpy()[:, 0].astype(float), scene.data.context.numpy()[:2, 0].astype(float)
    x = np.stack([[[s, s * h, 1.0] for s in size] for h in hour])  # [B, A, 3]
    told = x[[0, 1], [0, 1]]
    inverse = np.linalg.inv(2.0 * np.eye(3) + told.T @ told)
    np.testing.assert_allclose(known.mean[0], x @ inverse @ told.T @ [1.0, 0.0], rtol=1e-6)
    one = tf.nest.map_structure(lambda leaf: leaf[0], (known, offer))
    seen = bound.predictive(one[0], prior, one[1])
    np.testing.assert_allclose(seen.stddev, 0.5 * np.sqrt(np.einsum("bai,ij,baj->ba", x, inverse, x)), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": 0.0}, "precision is 0.0, must be above 0"),
        ({"a0": 1.0, "b0": -1.0}, "a0 is 1.0, must be above 1.*; b0 is -1.0"),
        ({"noise": 0.0}, "noise is 0.0, must be above 0, or null"),
        ({"discount": 0.0}, r"discount is 0.0, must be in \(0, 1\]"),
        ({"shared": True, "initial_pulls": 2}, "initial_pulls is for a regression an arm"),
        ({"dtype": "float16"}, "must be float32 or float64"),
    ],
)
def test_settings_out_of_range_say_so(settings, message):
    """All at once, each with its value."""
    with pytest.raises(rb.UserError, match=message):
        rb.linear_learner(**settings)


def test_worlds_that_do_not_fit_say_so():
    """Counts of batches hold no decision to regress on; features of arms must be there to be shared over."""
    with pytest.raises(rb.UserError, match="linear: the queue world counts clicks in batches"):
        rb.linear_learner().bind(rb.queue(pages()))
    with pytest.raises(rb.UserError, match="the wheel world has no features of arms"):
        rb.linear_learner(shared=True).bind(rb.wheel())
    with pytest.raises(rb.UserError, match="counts: the wheel world pays numbers"):
        rb.counts().bind(rb.wheel())
