"""The runner: unbiased, on common random numbers, the same whatever shares a chunk, resumable, and equal to a sequential reference."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from replay.worlds import Model, log, pages
from scipy import stats

import recbayes as rb
from recbayes.policies.shares import TIE
from recbayes.replay import jobs as chunks
from recbayes.replay.jobs import jobs, play, streams
from recbayes.replay.layout import blocks
from recbayes.replay.outcomes import uniforms
from recbayes.replay.program import Program, compiled

SHARED = {"replica_chunk": 2}
"""Programs are compiled for a width: one for all tests that do not ask for another."""


@functools.cache
def small(steps=5, delay=0):
    return rb.queue(pages(), steps=steps, delay=delay)


def test_unbiased_on_a_simulator_with_known_value():
    """Greedy on flat counts over 4,000 logs drawn from known rates, two decisions an update: its value by enumeration.

    z of the clicks and of their exact expectation below 4.9 (alarm 1e-6); replaying with replacement is off by 10 standard errors.
    """
    rates, sizes, steps, groups = (0.3, 0.5), (6, 8), 3, 4000
    rng = np.random.default_rng(1)
    drawn = rng.binomial(sizes, rates, (groups, 2))
    world = rb.queue(log(drawn.ravel(), np.tile(sizes, groups), np.repeat(np.arange(groups), 2), item=np.arange(2 * groups)), steps=steps)
    result = rb.replay(world, [rb.greedy(rb.counts())], seeds=2)
    rows = result.rows[result.rows.share == 1.0]

    def value(counts, left):
        """Expected clicks of the updates left, given (clicks, showings) of both arms: a tie shows one each, else the best gets both."""
        if not left:
            return 0.0
        means = [(c + 1) / (n + 2) for c, n in counts]
        shown = (1, 1) if abs(means[0] - means[1]) < TIE else (2, 0) if means[0] > means[1] else (0, 2)
        total = 0.0
        for first in range(shown[0] + 1):
            for second in range(shown[1] + 1):
                chance = stats.binom(shown[0], rates[0]).pmf(first) * stats.binom(shown[1], rates[1]).pmf(second)
                after = ((counts[0][0] + first, counts[0][1] + shown[0]), (counts[1][0] + second, counts[1][1] + shown[1]))
                total += chance * (first + second + value(after, left - 1))
        return total

    truth = value(((0, 0), (0, 0)), steps)
    earned = result.expected["counts/greedy"].mean(0)
    assert abs(earned.mean() - truth) < 4.9 * earned.std() / np.sqrt(groups)
    assert abs(rows.clicks.mean() / groups - truth) < 4.9 * np.sqrt(2.0 / groups)  # a group's six clicks have a variance below 2
    with_replacement = np.mean([_with_replacement(hits, sizes, steps, rng) for hits in drawn])
    assert with_replacement - truth > 0.05


def _with_replacement(hits, sizes, steps, rng):
    """The same greedy, each arm's outcomes drawn with replacement from its observed rate."""
    rates, counts, total = hits / sizes, np.zeros((2, 2)), 0.0
    for _ in range(steps):
        means = (counts[0] + 1) / (counts[1] + 2)
        shown = np.array([1, 1]) if abs(means[0] - means[1]) < TIE else 2 * (means == means.max())
        clicks = rng.binomial(shown, rates)
        total += clicks.sum()
        counts += [clicks, shown]
    return total


def reference(world, seed, exploration):
    """UCB on flat counts, one group and one decision at a time, in float64: expected clicks and clicks of each group."""
    stream = tf.constant(seed)
    expected, earned = np.zeros((2, world.groups))
    for group in range(world.groups):
        rows = np.flatnonzero(world.segments == group)
        hits, left = world.clicks[rows].astype(float), world.impressions[rows].astype(float)
        counts = np.zeros((2, len(rows)))
        for t in range(world.steps):
            batch = (t + 1) * world.horizon[group] // world.steps - t * world.horizon[group] // world.steps
            a, n = counts[0] + 1, counts[1] + 2
            score = a / n + exploration * np.sqrt(a / n * (1 - a / n) / (n + 1))
            best = score >= score.max() * (1 - TIE)
            u = uniforms(stream, tf.constant(len(world.clicks) + group), tf.constant(t)).numpy()
            below = np.floor(batch * np.cumsum(best / best.sum()).round(12) + u)
            shown = np.diff(below, prepend=0.0)
            luck = uniforms(stream[None], tf.constant(rows, tf.int32), tf.constant(t)).numpy()
            clicks = np.array([stats.hypergeom(m, h, k).ppf(x) if k else 0.0 for m, h, k, x in zip(left, hits, shown, luck)])
            expected[group] += (shown * hits / left).sum()
            earned[group] += clicks.sum()
            hits, left, counts = hits - clicks, left - shown, counts + np.stack([clicks, shown])
    return expected, earned


@pytest.mark.parametrize("exploration", [0.0, 1.0])
def test_equals_the_sequential_reference(exploration):
    """One decision an update where the horizon allows it: the same showings and clicks as a plain loop over SciPy, to rounding."""
    made = pages(groups=3, impressions=(25, 40), rate=0.2, seed=5)
    world = rb.queue(made, steps=25)
    result = rb.replay(world, [rb.ucb(rb.counts(), exploration=exploration)], seeds=2, seed=3)
    for replica in range(2):
        stream = streams(3, 2)[replica, 0]
        expected, earned = reference(world, stream, exploration)
        np.testing.assert_allclose(result.expected["counts/ucb"][replica], expected, rtol=1e-9)
        last = result.rows[(result.rows.seed == replica) & (result.rows.share == 1.0)]
        assert last.clicks.item() == earned.sum()


def chunk(policy, seeds):
    """The chunk of these replicas of a policy over the small world."""
    world = small()
    (job,) = jobs(world, [policy], {policy.name: policy.learner.bind(world)}, len(seeds), 0, len(seeds))
    return play(world, job._replace(seeds=streams(0, 8)[list(seeds)]), "/CPU:0")


def test_a_replica_does_not_depend_on_its_chunk():
    """The same bits whatever shares the chunk and wherever it stands in it; across widths 1e-5."""
    policy = rb.thompson(rb.density(Model()), draws=16)
    one, other, wider = chunk(policy, [0, 1, 2]), chunk(policy, [5, 0, 7]), chunk(policy, [0, 1, 2, 3, 4])
    for name, curve in one.curves.items():
        np.testing.assert_array_equal(curve[:, 0], other.curves[name][:, 1])
    for ours, theirs in zip((one.total, one.early), (other.total, other.early)):
        np.testing.assert_array_equal(ours["expected_clicks"][0], theirs["expected_clicks"][1])
    np.testing.assert_allclose(wider.total["expected_clicks"][:3], one.total["expected_clicks"], rtol=1e-5)


def test_width_of_chunks_changes_nothing():
    """seeds that do not fill the last chunk, and one chunk for all."""
    policies = [rb.uniform(), rb.ucb(rb.counts())]
    narrow, wide = (rb.replay(small(), policies, seeds=5, replica_chunk=width) for width in (2, 5))
    np.testing.assert_allclose(narrow.rows.expected_clicks, wide.rows.expected_clicks, rtol=1e-5)


def test_policies_meet_the_same_luck():
    """Two names for one policy earn the same to the bit; another seed is other luck."""
    learner = rb.counts()
    result = rb.replay(small(), [rb.greedy(learner, name="one"), rb.ucb(learner, exploration=0.0, name="other")], seeds=3, **SHARED)
    np.testing.assert_array_equal(result.expected["one"], result.expected["other"])
    assert result.compare("one", "other") == (0.0, (0.0, 0.0), (0.0, 0.0))
    again = rb.replay(small(), [rb.greedy(learner, name="one")], seeds=3, seed=1, **SHARED)
    assert (result.expected["one"] != again.expected["one"]).mean() > 0.5


def test_policies_that_differ_in_exploration_share_a_program():
    """Compiling takes seconds: once a kind and learner, not once a setting."""
    world, learner = small(), rb.counts()
    bound = learner.bind(world)
    half, whole = (compiled(Program.of(rb.ucb(learner, exploration=e), bound, world, 1)) for e in (0.5, 1.0))
    assert compiled(Program.of(rb.shuffled(rb.ucb(learner)), bound, world, 1)) is not half
    total = compiled(Program.of(rb.ucb(learner, stddev="total"), bound, world, 1))
    assert half is whole
    assert total is not half


def test_a_grid_is_the_whole_curve():
    """One policy with several explorations is replayed as one a value, as if each had been given alone."""
    learner = rb.counts()
    grid = rb.replay(small(), [rb.ucb(learner, exploration=[0, 1])], seeds=2)
    assert grid.policies == ["counts/ucb@0", "counts/ucb@1"]
    assert grid.explorations == {"counts/ucb@0": 0.0, "counts/ucb@1": 1.0}
    np.testing.assert_array_equal(grid.expected["counts/ucb@1"], rb.replay(small(), [rb.ucb(learner)], seeds=2).expected["counts/ucb"])


def test_uniform_earns_its_exact_expectation():
    """Within 4.9 standard errors over replicas (alarm 1e-6): the yardstick of all lifts."""
    result = rb.replay(small(), [rb.uniform()], seeds=200, **SHARED)
    totals = result.expected["uniform"].sum(1)
    assert abs(totals.mean() - result.uniform.sum()) < 4.9 * totals.std() / np.sqrt(200)
    assert abs(result.over_uniform("uniform").lift) < 0.005
    last = result.rows[result.rows.share == 1.0]
    luck = last.clicks - last.expected_clicks  # the clicks drawn and their expectation given the history differ by chance only
    assert 0 < abs(luck.mean()) < 4.9 * luck.std() / np.sqrt(200)
    np.testing.assert_allclose(luck.var(), last.clicks.mean(), rtol=0.5)


def test_feedback_comes_after_its_delay():
    """With feedback later than the horizon a policy learns nothing and ties for ever: it is uniform. Less delay, more clicks."""
    policies = [rb.greedy(rb.counts())]
    never, late, now = (rb.replay(small(delay=delay), policies, seeds=30, **SHARED) for delay in (9, 2, 0))
    uniform = rb.replay(small(), [rb.uniform()], seeds=30, **SHARED)
    np.testing.assert_allclose(never.expected["counts/greedy"], uniform.expected["uniform"], rtol=1e-6)
    assert never.over_uniform("counts/greedy").lift < late.over_uniform("counts/greedy").lift < now.over_uniform("counts/greedy").lift
    first = [result.rows[result.rows.checkpoint == 3].expected_clicks.to_numpy() for result in (late, never)]
    np.testing.assert_allclose(*first, rtol=1e-9)  # the first feedback is known to the fourth batch


def test_a_killed_replay_goes_on(tmp_path, monkeypatch):
    """Ctrl-C after the second chunk, then again: the same numbers as without the kill, and no finished chunk played twice."""
    policies = [rb.uniform(), rb.greedy(rb.counts()), rb.thompson(rb.counts(), draws=8)]
    run = functools.partial(rb.replay, small(), policies, seeds=4, replica_chunk=2)
    whole = run()

    def kill(done, total, name):
        assert total == 6
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path, progress=kill)
    finished = len(list(tmp_path.glob("*.npz")))
    assert 2 <= finished <= 6
    played, original = [], chunks.play
    monkeypatch.setattr(chunks, "play", lambda *given: played.append(1) or original(*given))
    resumed = run(checkpoint=tmp_path)
    assert len(played) == 6 - finished
    np.testing.assert_array_equal(resumed.rows.drop(columns="policy"), whole.rows.drop(columns="policy"))
    assert not list(tmp_path.glob("*.tmp"))


def test_checkpoints_know_what_they_are_of(tmp_path):
    """Another seed, exploration or world must not be answered with a kept chunk."""
    run = functools.partial(rb.replay, seeds=2, checkpoint=tmp_path)
    run(small(), [rb.ucb(rb.counts())])
    run(small(), [rb.ucb(rb.counts())], seed=1)
    run(small(), [rb.ucb(rb.counts(), exploration=2.0)])
    run(small(delay=2), [rb.ucb(rb.counts())])
    assert len(list(tmp_path.glob("*.npz"))) == 4
    run(small(), [rb.ucb(rb.counts(), name="another name")])
    assert len(list(tmp_path.glob("*.npz"))) == 4


def test_exact_draws_agree_in_law():
    """Thompson with exact betas and with one normal: lifts within 4.9 paired standard errors (alarm 1e-6)."""
    world = rb.queue(pages(groups=100), steps=5)
    policies = [rb.thompson(rb.counts(exact=exact), name=str(exact)) for exact in (True, False)]
    result = rb.replay(world, policies, seeds=12)
    apart = result.expected["True"].sum(1) - result.expected["False"].sum(1)
    assert abs(apart.mean()) < 6.5 * apart.std(ddof=1) / np.sqrt(12)


def test_the_model_beats_what_knows_nothing():
    """A density learner whose model is right, from its first batch on; a fitted model is a learner as it is."""
    rng = np.random.default_rng(0)
    good = np.tile([0.02, 0.08], 40)
    made = log(rng.binomial(400, good), [400] * 80, np.repeat(np.arange(40), 2), headline=[str(i) for i in range(80)])

    class Oracle(Model):
        def densities(self, rows, *, draws, seed):
            ours = super().densities(rows, draws=draws, seed=seed)
            rates = np.where(np.arange(len(rows)) % 2, 0.08, 0.02)
            return ours._replace(means=tf.constant(np.broadcast_to(rates[None, :, None], ours.means.shape), tf.float32))

    result = rb.replay(rb.queue(made, steps=10), [rb.greedy(rb.counts()), rb.greedy(Oracle())], seeds=4)
    assert result.over_uniform("density/greedy", early=True).lift > 0.5
    assert abs(result.over_uniform("counts/greedy", early=True).lift) < 1e-6
    assert result.best == "density/greedy"


@pytest.mark.parametrize(
    ("policies", "settings", "message"),
    [
        ([], {}, "no policies"),
        ([rb.ucb()], {}, r"ucb has no learner: give it one, say ucb\(counts\(\)\)"),
        ([rb.uniform(), rb.uniform()], {}, "several policies are named uniform"),
        ([rb.uniform()], {"seeds": 0}, "seeds is 0"),
        ([rb.uniform()], {"replica_chunk": 0}, "replica_chunk is 0"),
        ([rb.uniform()], {"device": "tpu"}, "must be auto, cpu or gpu"),
        ([rb.uniform()], {"device": "gpu"}, "TensorFlow finds none"),
        ([rb.greedy("neural")], {}, "has the learner 'neural'"),
        ([rb.quantile_ucb(rb.linear_learner())], {}, "linear/quantile_ucb: quantile_ucb reckons with click rates in .0, 1., and linear"),
        ([rb.knowledge_gradient(rb.neural_linear_learner())], {}, "neural_linear learns a reward of any size. Use ucb or thompson"),
    ],
)
def test_mistakes_say_so(policies, settings, message):
    """The command line shows these lines to its user."""
    if settings.get("device") == "gpu" and tf.config.list_logical_devices("GPU"):
        return
    with pytest.raises(rb.UserError, match=message):
        rb.replay(small(), policies, **settings)


def test_two_blocks_are_one_world():
    """Groups of very different sizes are compiled apart; every group is still played to its horizon."""
    rng = np.random.default_rng(0)
    page = np.r_[np.repeat(np.arange(40), 2), np.full(16, 40)]
    made = log(rng.binomial(100, 0.1, 96), rng.integers(100, 120, 96), page, headline=[str(i) for i in range(96)])
    world = rb.queue(made, steps=4)
    assert len(blocks(world.segments)) == 2
    result = rb.replay(world, [rb.uniform()], seeds=50)
    np.testing.assert_allclose(result.expected["uniform"].mean(0), result.uniform, rtol=0.1)
