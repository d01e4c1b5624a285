"""Every policy against the same promises: shapes, masks, seeds, sums, ties, permutations, one program for every exploration."""

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from recbayes import plugins, policies
from recbayes.densities import BetaMixture
from recbayes.policies import Policy
from recbayes.policies.control import shuffled
from recbayes.predictive import Predictive
from recbayes.types import Clock, UserError

Q, S, K, R, B, A = 3, 2, 2, 2, 7, 5
SEED = [3, 4]


class Case(NamedTuple):
    """A policy and what is special about it: sampled, its probabilities are random; knob, it takes an exploration."""

    policy: Policy
    sampled: bool = False
    knob: bool = True


CASES = {
    case.policy.kind + case.policy.settings.get("stddev", ""): case
    for case in (
        Case(policies.uniform(), knob=False),
        Case(policies.greedy(), knob=False),
        Case(policies.epsilon_greedy(exploration=0.3)),
        Case(policies.boltzmann(exploration=0.01)),
        Case(policies.square_cb(exploration=0.01)),
        Case(policies.thompson(draws=40), sampled=True),
        Case(policies.ucb()),
        Case(policies.ucb(stddev="total")),
        Case(policies.quantile_ucb()),
        Case(policies.knowledge_gradient()),
    )
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def predictive(seed=0, means=None):
    """Click rates of [R, B, A] candidates, uneven weights on every axis before."""
    rng = np.random.default_rng(seed)
    shape = (Q, S, R, B, A, K)
    means = 1 / (1 + np.exp(3 - 0.5 * rng.normal(size=shape))) if means is None else np.broadcast_to(means, shape)
    density = BetaMixture(
        *(tf.constant(x, tf.float32) for x in (np.log(rng.dirichlet(np.ones(K), shape[:-1])), means, np.full(shape, 200.0)))
    )
    nodes = np.log(np.moveaxis(rng.dirichlet(np.ones(Q), (S, R, B)), -1, 0))
    return Predictive(density, tf.constant(nodes, tf.float32), tf.math.log([0.3, 0.7]), tf.ones([R, B, A], tf.bool))


def candidates(seed=1):
    allowed = np.random.default_rng(seed).random((R, B, A)) < 0.6
    allowed[..., 2] = True
    return tf.constant(allowed)


CLOCK = Clock(tf.fill([R, B], 4.0), tf.fill([R, B], 600.0), tf.fill([R, B], 20.0))


def test_no_policy_is_left_out():
    """A policy that is not in the list would escape every promise below."""
    assert {case.policy.kind for case in CASES.values()} == set(plugins.kinds("policies:Policy"))
    exported = {name for name in policies.__all__ if name not in ("Policy", "Slate", "best_share", "choose", "slate", "with_floor")}
    assert exported == {case.policy.kind for case in CASES.values()}


@EVERY
def test_probabilities_are_probabilities_over_the_candidates(case):
    """What may not be shown would be, or propensities would not sum to 1."""
    allowed = candidates()
    shares = case.policy.probabilities(predictive(), allowed, CLOCK, SEED).numpy()
    assert shares.shape == (R, B, A)
    assert shares.dtype == np.float32
    assert (shares[~allowed.numpy()] == 0.0).all()
    assert (shares >= 0.0).all()
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=3e-7)


@EVERY
def test_same_seed_same_answer(case):
    """A decision could not be replayed; a sampled policy that ignores its seed would show the same draw for ever."""
    first, second, other = (case.policy.probabilities(predictive(), candidates(), CLOCK, seed).numpy() for seed in (SEED, SEED, [8, 8]))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any() == case.sampled


@EVERY
def test_one_program_for_every_exploration(case):
    """Each value of the knob would be compiled anew, seconds each."""
    traced = []

    @tf.function(jit_compile=True)
    def compiled(means, exploration, seed):
        traced.append(1)
        given = predictive()
        given = given._replace(density=given.density._replace(means=means))
        return case.policy.probabilities(given, candidates(), CLOCK, seed, exploration=exploration)

    for exploration in (0.0, 0.5):
        got = compiled(predictive().density.means, tf.constant(exploration), tf.constant(SEED)).numpy()
        knob = tf.constant(exploration) if case.knob else None
        np.testing.assert_allclose(got, case.policy.probabilities(predictive(), candidates(), CLOCK, SEED, exploration=knob), atol=1e-6)
    assert len(traced) == 1


@EVERY
def test_without_exploration_it_is_greedy(case):
    """0 on the one knob must mean greedy, not uniform."""
    if not case.knob:
        assert case.policy.exploration == 0.0
        return
    got = case.policy.probabilities(predictive(), candidates(), CLOCK, SEED, exploration=0.0)
    np.testing.assert_array_equal(got, policies.greedy().probabilities(predictive(), candidates(), CLOCK, SEED))


@EVERY
def test_ties_share_equally(case):
    """Equal candidates must not be told apart by their place, and not by float32's last bit."""
    wobble = 0.05 * (1.0 + 5e-8 * np.arange(A)[:, None])  # float32's spacing is 7e-8 of it
    shares = case.policy.probabilities(predictive(means=wobble), candidates(), CLOCK, SEED).numpy()
    allowed = candidates().numpy()
    even = allowed / allowed.sum(-1, keepdims=True)
    if case.sampled:  # no two draws tie, so frequencies are even up to 40 draws' noise: alarm 1e-5, sees a place preferred by .3
        assert np.abs(shares - even).max() < 5 * np.sqrt(0.25 / 40)
        assert np.abs((shares - even).mean((0, 1))).max() < 5 * np.sqrt(0.25 / 40 / (R * B))
    else:
        np.testing.assert_allclose(shares, even, atol=1e-6)


@EVERY
def test_order_of_candidates_does_not_matter(case):
    """Exactly for deterministic policies; a sampled one's frequencies move with the candidates (alarm 1e-6, sees a shift of .1)."""
    order = np.array([3, 0, 4, 1, 2])
    given = predictive()
    moved = given._replace(density=tf.nest.map_structure(lambda leaf: tf.gather(leaf, order, axis=-2), given.density))
    ask = functools.partial(case.policy.probabilities, clock=CLOCK, seed=SEED)
    before, after = ask(given, candidates()).numpy()[..., order], ask(moved, tf.gather(candidates(), order, axis=-1)).numpy()
    if case.sampled:
        many = policies.thompson(draws=4000)
        before = many.probabilities(given, candidates(), CLOCK, SEED).numpy()[..., order]
        after = many.probabilities(moved, tf.gather(candidates(), order, axis=-1), CLOCK, [9, 9]).numpy()
        assert np.abs(before - after).max() < 5.5 * np.sqrt(2 * 0.25 / 4000)
    else:
        np.testing.assert_array_equal(before, after)


@EVERY
def test_a_decision_without_candidates_is_named(case):
    """An empty question must not be answered with a number."""
    allowed = candidates().numpy()
    allowed[1, 3] = False
    with pytest.raises(ValueError, match=r"decision \[1, 3\] has no candidate \(1 of 14"):
        case.policy.probabilities(predictive(), allowed, CLOCK, SEED)


@pytest.mark.parametrize("build", [policies.greedy, policies.epsilon_greedy, policies.thompson, policies.ucb])
def test_floor_is_a_share_of_uniform(build):
    """Off-policy evaluation needs every candidate's probability above the floor's."""
    allowed = candidates().numpy()
    shares = build(floor=0.1).probabilities(predictive(), allowed, CLOCK, SEED).numpy()
    plain = build().probabilities(predictive(), allowed, CLOCK, SEED).numpy()
    np.testing.assert_allclose(shares, 0.9 * plain + 0.1 * allowed / allowed.sum(-1, keepdims=True), atol=1e-6)


@EVERY
def test_what_looks_at_uncertainty_says_so(case):
    """Policies that do get a control in simulations: exchanged uncertainty must change them, and no other."""
    given, allowed = predictive(), candidates()
    control = case.policy._replace(settings={**case.policy.settings, "shuffled": True})
    plain, exchanged = (policy.probabilities(given, allowed, CLOCK, SEED).numpy() for policy in (case.policy, control))
    assert (plain != exchanged).any() == case.policy.uncertain
    assert (exchanged[~allowed.numpy()] == 0.0).all()
    np.testing.assert_allclose(exchanged.sum(-1), 1.0, atol=3e-7)
    if case.policy.uncertain:
        assert shuffled(case.policy)._replace(name=control.name) == control


def test_names_tell_learner_and_policy():
    """Results are told apart by these names: they are the contract of simulation.json."""

    class Model:
        """A fitted model, by its looks."""

    assert policies.thompson(Model()).name == "density/thompson"
    assert policies.greedy("counts").name == "counts/greedy"
    assert policies.uniform().name == "uniform"
    assert policies.ucb(Model(), name="mine").name == "mine"


def test_a_grid_is_a_policy_an_exploration():
    """One entry in a config gives the whole cost-of-exploration curve; as a choice, it would be no choice."""
    grid = policies.ucb("counts", exploration=[0, 0.5, 2])
    assert [(one.name, one.exploration) for one in grid.members] == [("counts/ucb@0", 0.0), ("counts/ucb@0.5", 0.5), ("counts/ucb@2", 2.0)]
    assert [one.settings["stddev"] for one in grid.members] == ["contrast"] * 3
    assert policies.thompson("counts", exploration=[0.25], name="mine").members[0].name == "mine@0.25"
    alone = policies.greedy("counts")
    assert alone.members == [alone]
    with pytest.raises(UserError, match=r"counts/ucb: exploration is a grid, \[0.0, 0.5, 2.0\], and one choice needs one number"):
        grid.probabilities(predictive(), candidates(), CLOCK, SEED)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (policies.ucb, {"exploration": -1.0}, "exploration is -1.0"),
    (policies.ucb, {"exploration": float("nan")}, "exploration is nan"),
    (policies.ucb, {"exploration": []}, "ucb: exploration is an empty list"),
    (policies.ucb, {"exploration": [1.0, -2.0]}, "exploration is -2.0"),
    (policies.ucb, {"stddev": "model"}, "contrast or total"),
    (policies.epsilon_greedy, {"exploration": 1.5}, "a probability"),
    (policies.epsilon_greedy, {"exploration": [0.1, 1.5]}, "exploration is 1.5, a probability"),
    (policies.boltzmann, {"exploration": -0.1}, "boltzmann: exploration is -0.1"),
    (policies.greedy, {"floor": 1.5}, r"floor is 1.5, must be in \[0, 1\]"),
    (policies.thompson, {"draws": 0}, "draws is 0"),
    (policies.quantile_ucb, {"log_power": -1.0}, "log_power is -1.0"),
]


@pytest.mark.parametrize(("build", "settings", "message"), WRONG)
def test_settings_out_of_range_say_so(build, settings, message):
    """The command line shows these lines to its user."""
    with pytest.raises(UserError, match=message):
        build(**settings)
