"""The Langevin chain: its distance to quadrature, with one batch and with many, and what it says when it moves too slowly."""

from __future__ import annotations

import numpy as np
import oracle
import pandas as pd
import pytest
import tensorflow as tf
from small import network

import recbayes as rb
from recbayes.posteriors.kept_draws import effective_draws
from recbayes.posteriors.sgld import LOST, lost_likelihood
from recbayes.training import batches
from recbayes.types import UserError

SEED = tf.constant([5, 6], tf.int32)


@pytest.mark.parametrize("batch_size", [150, 40], ids=["one batch", "four batches"])
def test_the_posterior_is_the_exact_one_to_within_the_step(batch_size: int) -> None:
    """16 heads x 64 draws, worth some 400: a mean's own error is .05 (of three, alarm 1e-3 at .17), a standard deviation's 3.5%.

    Four batches must not be wider than one: plain SGLD's gradient noise makes them so by a third.
    """
    problem = oracle.logistic(rows=150)
    method = rb.sgld(draws=64, thin=15, burn_in=100)
    found = oracle.posterior_of(problem, method, replicas=16, epochs=60, batch_size=batch_size)
    mean, stddev = oracle.distance(found, oracle.reference(problem))
    assert mean < 0.17
    assert stddev < 0.13


def test_more_draws_than_were_kept_are_refused() -> None:
    """Repeating them would look like more than there is."""
    net = network(rb.linear())[0]
    method = rb.sgld(draws=8)
    with pytest.raises(UserError, match=r"9 weight draws are asked for.*kept 8.*posterior.draws=9"):
        method.sample(net, method.init(net, SEED), 9, SEED)


def test_fewer_draws_lie_evenly_along_the_chain() -> None:
    """The first of them alone would be one corner of the posterior."""
    net = network(rb.linear())[0]
    method = rb.sgld(draws=8)
    state = method.init(net, SEED)
    marked = tuple(d + tf.reshape(tf.range(8.0), [8, *[1] * (len(d.shape) - 1)]) for d in state.deviations)
    places = method.sample(net, state._replace(deviations=marked), 4, SEED).deviations[-1][:, 0].numpy()
    assert sorted(np.diff(np.sort(places))) == [2.0, 2.0, 2.0]


def test_a_chain_that_moves_too_slowly_is_told() -> None:
    """A random walk of 64 steps over 50 weights; independent draws pass."""
    generator = np.random.default_rng(0)
    still, walking = generator.normal(size=(64, 50)), generator.normal(size=(64, 50)).cumsum(axis=0)
    assert effective_draws([still]) > 48
    assert effective_draws([walking]) < 8
    net = network(rb.linear())[0]
    method = rb.sgld(draws=64)
    state = method.init(net, SEED)
    walked = tuple(tf.cumsum(tf.random.stateless_normal(d.shape, [0, i])) for i, d in enumerate(state.deviations))
    (told,) = method.warnings(net, state._replace(deviations=walked))
    assert "Raise posterior.thin" in told


def test_a_chain_that_left_the_posterior_is_told() -> None:
    """Too large a step for a network's curvature: found on the headline tests, where draws lost 16 nats a row and nothing said so."""
    problem = oracle.logistic(rows=150)
    good = rb.sgld(draws=16, thin=2, burn_in=20)
    net, state = oracle.trained(problem, good, epochs=30)
    assert 0.0 < good.diagnostics(state)["lost_likelihood"] < 0.05  # three weights cost 1.5 nats in all, .01 a row
    assert not [told for told in good.warnings(net, state) if "left the posterior" in told]
    far = [w + 20.0 for w in state.fitted.parameters.weights]
    rows = list(batches(oracle.network(problem)[1], 40, np.arange(150)))
    assert float(lost_likelihood(net, state.fitted.parameters, rows)([far])) > LOST
    for bad in (3.0, float("nan")):
        told = good.warnings(net, state._replace(lost=tf.constant(bad)))
        assert "left the posterior" in told[0]


def test_a_step_that_leaves_the_posterior_is_made_shorter() -> None:
    """Ten equal columns have ten times the curvature that each alone shows, so a step of .9 runs away; the draws that are kept must not."""
    generator = np.random.default_rng(3)
    log = pd.DataFrame({"shown": 1000, **{f"x{i}": value for i, value in enumerate([generator.normal(size=60)] * 10)}})
    log["clicked"] = generator.binomial(1000, 1 / (1 + np.exp(3.0 - 0.5 * log["x0"])))
    features = [rb.numeric(f"x{i}") for i in range(10)]
    settings = {"model": rb.linear(), "density": rb.point(), "group_effect": False, "epochs": 60, "held_out": 0.0}
    rows = rb.read_log(log, clicks="clicked", impressions="shown")
    found = rb.fit(rows, features=features, posterior=rb.sgld(draws=16, thin=4, burn_in=60, step=0.9), **settings)
    diagnostics = found.record["diagnostics"]
    assert round(0.9 / diagnostics["step"]) in (4, 16)
    assert diagnostics["lost_likelihood"] < LOST


def test_draws_that_do_not_fit_and_settings_that_make_no_chain_are_refused() -> None:
    with pytest.raises(UserError, match=r"GB, more than 1\.1.*Keep at most"):
        rb.sgld(draws=30_000_000).init(network(rb.linear())[0], SEED)
    with pytest.raises(UserError, match=r"step 0 \(in \(0, 1\]\)"):
        rb.sgld(step=0)
