"""Posteriors against what is known exactly: quadrature in NumPy, a hundredfold log, and simulation-based calibration.

A new method is one more entry in the lists. benchmarks/posteriors.py measures the same figures for every method, good or bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest

import recbayes as rb

EXACT = [
    (oracle.logistic, rb.last_layer(draws=4000)),
    (oracle.rare_clicks, rb.last_layer(draws=4000)),
    (oracle.beta_binomial, rb.last_layer(draws=4000)),
    (oracle.many_clicks, rb.last_layer(draws=4000)),
    (oracle.many_clicks, rb.neural_linear(draws=4000)),
]
SHRINKS = [
    rb.last_layer(draws=1000),
    rb.neural_linear(draws=1000),
    rb.nuts(draws=200, chains=2, warmup=60, samples=150),
    rb.sgld(draws=64, thin=10, burn_in=100),
]
DRAWS = 39
"""Ranks are 0 to 39: five to each of eight bins."""


def test_quadrature_agrees_with_itself_and_with_the_closed_form() -> None:
    """The oracle is not to be believed unseen: more nodes change nothing, and a linear-Gaussian posterior comes out exactly."""
    problem = oracle.beta_binomial()
    few, many = oracle.reference(problem, nodes=9), oracle.reference(problem, nodes=13)
    assert max(oracle.distance(few, many)) < 1e-3
    gaussian = oracle.linear_gaussian()
    features = np.concatenate([gaussian.features, np.ones((len(gaussian.features), 1))], axis=1)
    precision = features.T @ features / oracle.NOISE**2 + np.eye(3) / oracle.PRIOR_STDDEV**2
    mean = np.linalg.solve(precision, features.T @ gaussian.clicks) / oracle.NOISE**2
    found = oracle.reference(gaussian)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    np.testing.assert_allclose(found.stddev, np.sqrt(np.diag(np.linalg.inv(precision))), rtol=1e-6)


@pytest.mark.parametrize(("make", "method"), EXACT, ids=lambda x: getattr(x, "kind", getattr(x, "__name__", "")))
def test_mean_and_spread_are_the_exact_ones(make: Any, method: Any) -> None:
    """Acceptance 4. 4,000 draws: a mean's own error is .016 of a standard deviation, a standard deviation's 1.1%; sees a row left out.

    A Gaussian sits at the mode, which is not the mean: at half the rows the two are .1 apart for single clicks and for rare ones.
    """
    problem = make()
    mean, stddev = oracle.distance(oracle.posterior_of(problem, method), oracle.reference(problem))
    assert mean < 0.1
    assert stddev < 0.1


def test_scores_in_place_of_the_curvature_are_off_where_rows_are_few() -> None:
    """Why last_layer takes the exact curvature where it can: on 60 rows outer products of scores miss by more than a tenth."""
    problem, method = oracle.many_clicks(), rb.last_layer(draws=4000, curvature="scores")
    assert oracle.distance(oracle.posterior_of(problem, method), oracle.reference(problem))[1] > 0.1


@pytest.mark.parametrize("method", SHRINKS, ids=lambda m: m.kind)
def test_a_hundredfold_log_shrinks_the_doubt_tenfold(method: Any) -> None:
    """Acceptance 5. Doubt that does not shrink makes a policy explore for ever. A ratio's own error is below 7%: alarm below 1e-3."""
    heads = 16 if method.kind == "sgld" else 1  # a chain's 64 draws are worth some 16; as many independent heads make up for it
    problem = oracle.rare_clicks(rows=60)
    once, often = (
        oracle.posterior_of(part, method, replicas=heads, epochs=epochs, batch_size=2048).stddev
        for part, epochs in ((problem, 200), (problem.times(100), 30))
    )
    np.testing.assert_allclose(once / often, 10.0, rtol=0.25)


def test_maximum_likelihood_has_no_doubt() -> None:
    assert oracle.posterior_of(oracle.rare_clicks(), rb.mle(), epochs=2).stddev.max() == 0.0


CALIBRATED = [rb.last_layer(draws=DRAWS, curvature="exact"), rb.nuts(draws=DRAWS, chains=2, warmup=80, samples=80)]


@pytest.mark.parametrize("method", CALIBRATED, ids=lambda m: m.kind)
def test_ranks_of_the_truth_are_uniform_and_a_prior_twice_as_wide_is_caught(method: Any) -> None:
    """Acceptance 7: 80 data sets of 8 rows and 4 independent weights each, 320 ranks in 8 bins.

    Alarm 1e-3 for right code; sees the prior doubled (a p-value below 1e-6).
    """
    assert oracle.uniformity(oracle.ranks(method, datasets=80), DRAWS) > 1e-3
    assert oracle.uniformity(oracle.ranks(method, datasets=80, prior_factor=2.0), DRAWS) < 1e-6
