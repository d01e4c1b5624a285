"""The reference sampler: against quadrature, what it says of chains that did not converge, and of models too large for it."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import oracle
import pytest
import tensorflow as tf
from small import Two, network, whole

import recbayes as rb
from recbayes.posteriors import nuts as method
from recbayes.posteriors.nuts import Convergence, joined, whitening
from recbayes.types import UserError

SEED = tf.constant([5, 6], tf.int32)


@pytest.fixture(scope="module")
def fitted() -> Any:
    """Overdispersed counts and their four free weights, of six: two columns that the likelihood ignores keep their prior."""
    problem, sampler = oracle.beta_binomial(), rb.nuts(draws=800, warmup=100, samples=200)
    return problem, sampler, *oracle.trained(problem, sampler, epochs=5)


@pytest.fixture(scope="module")
def right(fitted: Any) -> Any:
    """Mean and standard deviation of the free weights."""
    return oracle.reference(fitted[0])


def distance(problem: Any, drawn: Any, right: Any) -> tuple[float, float]:
    """Of draws of the head, [S, H + 1, P]; see `oracle.distance`."""
    free = np.stack([drawn[:, row, column] for row, column in problem.free], axis=1)
    return oracle.distance(oracle.Reference(free.mean(axis=0), free.std(axis=0)), right)


def test_the_posterior_is_the_exact_one(fitted: Any, right: Any) -> None:
    """800 draws worth some 400: a mean's error is .05, a standard deviation's 3.5%; alarm below 1e-3, sees a prior or a row left out."""
    problem, sampler, net, state = fitted
    drawn = oracle.head_draws(net, state, sampler, 800)
    mean, stddev = distance(problem, drawn, right)
    assert mean < 0.2
    assert stddev < 0.15
    assert drawn[:, :, 0].std() == pytest.approx(oracle.PRIOR_STDDEV, rel=0.15)


def test_convergence_is_reported(fitted: Any) -> None:
    _, sampler, net, state = fitted
    found = sampler.diagnostics(state)
    assert 0.99 < found["r_hat"] < 1.05
    assert 100.0 < found["effective_draws"]
    assert found["divergent_share"] == 0.0
    assert sampler.warnings(net, state) == []


@pytest.fixture
def finished(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(sampler, workers) -> the state after the chains, however few the rows are."""
    problem, _, net, state = fitted
    rows = whole(oracle.network(problem)[1])
    monkeypatch.setattr(sys.modules[Convergence.__module__], "LEAST_ROWS", 0)

    def finish(sampler: Any, workers: Any) -> Any:
        begun = sampler.init(net, SEED)._replace(fitted=state.fitted)
        return sampler.finish_on(net, begun, [rows], workers)

    return finish


def test_chains_of_two_workers_are_of_the_exact_posterior(fitted: Any, right: Any, finished: Any) -> None:
    """400 draws worth some 200: a mean's error is .07, a standard deviation's 5%; alarm below 1e-3, sees warm-up counted as draws."""
    problem, _, net, _ = fitted
    sampler = rb.nuts(draws=400, warmup=100, samples=100)
    state = finished(sampler, Two())
    mean, stddev = distance(problem, oracle.head_draws(net, state, sampler, 400), right)
    assert mean < 0.28
    assert stddev < 0.2
    assert sampler.warnings(net, state) == []


def test_chains_of_two_workers_have_random_numbers_of_their_own(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same start they part; chains that shared their numbers would be one, and R-hat would call it agreement."""
    monkeypatch.setattr(sys.modules[Convergence.__module__], "SPREAD", 0.0)
    state = finished(rb.nuts(draws=16, warmup=10, samples=4), Two())
    steps = np.concatenate([np.reshape(deviation, [4, 4, -1]) for deviation in state.deviations], axis=2)  # [T, C, D]
    for one, other in ((0, 2), (1, 3), (0, 1)):
        assert not np.allclose(steps[:, one], steps[:, other], atol=1e-3)


def test_chains_of_two_workers_that_have_not_met_are_told(finished: Any) -> None:
    """R-hat of each worker's own chains would not see it: it is of all, and all are drawn from."""
    sampler = rb.nuts(draws=40, chains=4, warmup=10, samples=50)
    steps = np.random.default_rng(0).normal(size=(2, 50, 2, 6)).astype(np.float32)
    kept = np.zeros([50, 2], bool)
    together, apart = (finished(sampler, Two([(steps[0], kept), (steps[1] + far, ~kept)])) for far in (0.0, 9.0))
    assert sampler.diagnostics(together)["r_hat"] < 1.2
    assert sampler.diagnostics(apart)["r_hat"] > 3.0
    assert sampler.diagnostics(apart)["divergent_share"] == 0.5
    assert len(np.unique(apart.deviations[0], axis=0)) == 40


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((1.4, 500.0, 0.0), r"not converged.*R-hat 1\.40"),
        ((1.0, 12.0, 0.0), r"worth 12 independent"),
        ((1.0, 500.0, 0.2), r"20\.0% of the steps diverged"),
        ((float("nan"), float("nan"), 0.0), r"R-hat nan.*worth nan"),
    ],
)
def test_a_chain_that_did_not_converge_is_told(fitted: Any, bad: tuple[float, ...], says: str) -> None:
    """R-hat that is no number counts as bad too: chains that never moved have none."""
    _, sampler, net, state = fitted
    (told,) = sampler.warnings(net, state._replace(convergence=Convergence(*map(tf.constant, bad))))
    assert told.startswith("nuts: ")
    assert "posterior.warmup" in told
    assert re.search(says, told)


def test_a_model_that_is_too_large_says_what_to_take() -> None:
    with pytest.raises(UserError, match=r"weights, more than 1,000.*model: linear.*posterior: sgld"):
        rb.nuts().init(network(rb.ddn(embedding=40, tower=40))[0], SEED)


def test_settings_that_make_no_chain_are_refused() -> None:
    with pytest.raises(UserError, match=r"chains is 1 \(at least 2\)"):
        rb.nuts(chains=1)
    with pytest.raises(UserError, match=r"draws 5000 \(2 to chains x samples, 2000\)"):
        rb.nuts(draws=5000)


def test_batches_joined_are_the_whole() -> None:
    """A group's number must not run into the next batch's."""
    _, rows = network(rb.linear())
    parts = [whole(rows.take(np.arange(*part))) for part in ((0, 16), (16, 20), (20, 48))]
    one, all_rows = joined(parts), whole(rows)
    np.testing.assert_array_equal(one.segments, all_rows.segments)
    np.testing.assert_array_equal(one.clicks, all_rows.clicks)
    np.testing.assert_array_equal(one.inputs["headline"], all_rows.inputs["headline"])


def test_whitening_stays_finite_where_the_posterior_bends_upwards() -> None:
    curved = np.array([[4.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(np.sqrt(np.diag(whitening(curved) @ whitening(curved).T)), [0.5, 1.0, 10.0])


def test_file_and_function_share_the_name() -> None:
    assert method is rb.nuts
