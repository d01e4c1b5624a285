"""The guard against the usual artefact: uniform, greedy and the shuffled control beside a policy, and what results say of them."""

import functools

import numpy as np
import pytest
from replay.worlds import log

import recbayes as rb
from recbayes.densities import BetaMixture


class Skewed:
    """A model that knows half of each page's arms well and the others hardly at all, and is right about both."""

    group_effect = None
    sizes = (4000.0, 25.0)

    def densities(self, rows, *, draws, seed):
        n = len(rows)
        sizes = np.tile(np.where(np.arange(n) % 2, *self.sizes[::-1]), (1, 1)).T[None]
        return BetaMixture(np.zeros((1, n, 1)), np.full((1, n, 1), 0.05), sizes)


@functools.cache
def world(groups=150):
    """Pages of four arms whose rates are drawn from what the model says."""
    rng = np.random.default_rng(0)
    sizes = np.tile([4000.0, 25.0], 2 * groups)
    rates = rng.beta(0.05 * sizes, 0.95 * sizes)
    shown = np.full(4 * groups, 500)
    made = log(rng.binomial(shown, rates), shown, np.repeat(np.arange(groups), 4), headline=[str(i) for i in range(4 * groups)])
    return rb.queue(made, steps=20)


@functools.cache
def result():
    return rb.replay(world(), [rb.ucb(Skewed(), exploration=1.0)], seeds=4, controls="all")


def test_what_a_policy_is_judged_by_is_added():
    """A replay of one policy alone can tell neither its gain over greedy nor whether its uncertainty helped."""
    assert result().policies == ["density/ucb", "uniform", "density/greedy", "density/ucb~shuffled"]
    assert result().controls == {"density/ucb": "density/ucb~shuffled"}
    assert result().best == "density/ucb"
    assert result().greedy == "density/greedy"
    table = result().summary()
    assert table.uncertainty["density/ucb"] == "helped"
    assert table.against_greedy["density/ucb"] == "better"
    assert "The uncertainty helped density/ucb" in result()._repr_html_()


def test_uncertainty_that_matters_is_seen_to_help():
    """The model is right about which arms are worth a try, by construction: the shuffled control earns less, and the JSON says it."""
    figures = result().to_json()
    told = figures["controls"]["density/ucb"]
    assert told["helps"]
    assert told["control"] == "density/ucb~shuffled"
    assert figures["policies"]["density/ucb~shuffled"]["control_of"] == "density/ucb"
    assert figures["policies"]["density/ucb"]["control_of"] is None
    pairs = {(pair["policy"], pair["other"]): pair for pair in figures["comparisons"]["pairs"]}
    assert set(pairs) == {("density/ucb", "density/greedy"), ("uniform", "density/greedy"), ("density/ucb", "density/ucb~shuffled")}
    assert figures["comparisons"]["multiplicity"] == "Holm, 5% over all 3 comparisons"
    assert all(pair["p_holm"] >= pair["p"] for pair in pairs.values())
    against = pairs["density/ucb", "density/ucb~shuffled"]
    low, high = against["sequence"]["interval"]
    assert low < against["interval"][0] < against["interval"][1] < high  # to look at every moment costs width


def test_uncertainty_that_says_nothing_is_seen_not_to_help():
    """All arms known equally well at first, one update that tells nothing new: shuffling changes nothing, and the words say so."""

    class Even(Skewed):
        sizes = (200.0, 200.0)

    late = rb.queue(world().rows, steps=20, delay=20)
    found = rb.replay(late, [rb.ucb(Even(), name="mine")], seeds=4, controls=["mine"])
    (told,) = found.to_json()["controls"].values()
    assert not told["helps"]
    assert told["says"].startswith("The uncertainty did not help mine: with it shuffled among the candidates it does as well")


def test_sequence_is_over_groups_or_replicas():
    """A world of one group has replicas alone to count."""
    over_groups = result().sequence("density/ucb", "uniform")
    assert len(over_groups.lift) == 150
    np.testing.assert_allclose(over_groups.lift[-1], result().compare("density/ucb", "uniform").lift)
    with pytest.raises(rb.UserError, match="no policy is named 'ucb'"):
        result().sequence("ucb", "uniform")
    one = rb.replay(rb.queue(world().rows.take(np.arange(4)), steps=20), [rb.greedy(rb.counts()), rb.uniform()], seeds=12)
    assert one.to_json()["comparisons"]["over"] == "replicas"
    assert len(one.sequence("counts/greedy", "uniform").lift) == 12


def test_controls_that_cannot_be_say_so():
    """A name that is not replayed, and a policy without uncertainty."""
    with pytest.raises(rb.UserError, match=r"controls names 'ucb', which is not replayed. Replayed are counts/greedy"):
        rb.replay(world(), [rb.greedy(rb.counts())], controls=["ucb"])
    with pytest.raises(rb.UserError, match="counts/greedy looks at means alone"):
        rb.replay(world(), [rb.greedy(rb.counts())], controls=["counts/greedy"])
