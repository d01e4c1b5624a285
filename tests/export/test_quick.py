"""The short cuts of serving, against the full computation they stand for."""

import json

import numpy as np
import pytest
import tensorflow as tf

import recbayes as rb
from recbayes.densities import BetaMixture
from recbayes.densities.group_effect import GroupEffect
from recbayes.export import intervals, page
from recbayes.predictive import Predictive

DRAWS = 32


def densities(pages, arms, *, rows=0.2, draws=0.1, wide=0.0, concentration=1000.0, seed=0):
    """Densities [S, N, 2] that differ by row and by draw on the logit, and in log concentration by draw, and the typical one [N, 2]."""
    rng = np.random.default_rng(seed)
    place = -4.2 + rng.normal(0, rows, (pages * arms, 1)) + np.array([-0.1, 0.2])
    moved = place + rng.normal(0, draws, (DRAWS, 1, 1)) + rng.normal(0, draws / 2, (DRAWS, pages * arms, 1))

    def mixture(logits, factor=1.0):
        full = logits.shape
        weights, sizes = np.broadcast_to(np.log([0.6, 0.4]), full), np.broadcast_to(concentration * np.array([1.0, 8.0]) * factor, full)
        return BetaMixture(*(tf.constant(x, tf.float32) for x in (weights, 1 / (1 + np.exp(-logits)), sizes)))

    return mixture(moved, np.exp(rng.normal(0, wide, (DRAWS, 1, 1)))), mixture(place)


def predictive(posterior, pages, arms):
    def shaped(leaf):
        leaf = leaf if leaf.shape.rank == 4 else leaf[None]
        return tf.reshape(leaf, [leaf.shape[0], DRAWS, pages, arms, 2])

    even = tf.fill([DRAWS], -np.log(DRAWS).astype(np.float32))
    return Predictive(tf.nest.map_structure(shaped, posterior.density), posterior.log_weights, even, tf.fill([pages, arms], True))


def counts(pages, arms, most, seed=1):
    rng = np.random.default_rng(seed)
    impressions = rng.integers(0, most + 1, pages * arms)
    rate = 1 / (1 + np.exp(4.2 - np.repeat(rng.normal(0, 0.65, pages), arms)))
    return tf.constant(rng.binomial(impressions, rate), tf.float32), tf.constant(impressions, tf.float32)


@pytest.mark.parametrize(
    ("pages", "arms", "most", "apart"),
    [(20, 5, 0, 0.1), (20, 5, 3, 0.1), (20, 5, 2000, 0.1), (20, 1, 50_000, 0.2), (4, 30, 3000, 0.2), (4, 100, 2000, 1.5)],
)
def test_nodes_placed_once_serve_every_draw(pages, arms, most, apart):
    """Draws whose page lies elsewhere than the typical draw's get a wrong mean; the last case is beyond the nodes of one search."""
    density, typical = densities(pages, arms, draws=apart)
    segments = tf.constant(np.repeat(np.arange(pages), arms), tf.int32)
    given = (*counts(pages, arms, most), segments, pages)
    effect = GroupEffect(tf.constant(0.65))
    quick = predictive(page.condition(effect, density, typical, *given), pages, arms)
    full = predictive(effect.condition(density, *given), pages, arms)
    np.testing.assert_allclose(quick.mean, full.mean, rtol=1e-4)
    np.testing.assert_allclose(quick.stddev, full.stddev, rtol=1e-3)
    np.testing.assert_allclose(quick.split()[1], full.split()[1], rtol=1e-2)
    np.testing.assert_allclose(quick.contrast_stddev, full.contrast_stddev, rtol=1e-2)


def test_the_last_case_needs_the_full_search(monkeypatch):
    """The test above would pass without the full search: then it, or its case, is useless."""
    density, typical = densities(4, 100, draws=1.5)
    given = (*counts(4, 100, 2000), tf.constant(np.repeat(np.arange(4), 100), tf.int32), 4)
    effect = GroupEffect(tf.constant(0.65))
    monkeypatch.setattr(page, "EDGE", 1.0)
    quick = predictive(page.condition(effect, density, typical, *given), 4, 100)
    full = predictive(effect.condition(density, *given), 4, 100)
    assert np.abs(quick.mean / full.mean - 1).max() > 1e-3


@pytest.mark.parametrize("draws", [1, 5, 8, 16, 64])
def test_the_priors_grid_has_the_priors_moments(draws):
    """Turned grids put the page effect off its centre, or make it narrower."""
    nodes, log_weights = (np.asarray(x, np.float64) for x in page.prior_nodes(GroupEffect(tf.constant(0.5)), draws))
    weights = np.exp(log_weights)
    np.testing.assert_allclose(weights.sum(0), 1.0, rtol=1e-5)
    np.testing.assert_allclose((weights * nodes).sum(0), 0.0, atol=1e-4)
    np.testing.assert_allclose((weights * nodes**2).sum(0), 0.25, rtol=1e-3)
    assert len(np.unique(nodes.round(6))) >= 60


@pytest.mark.parametrize("most", [0, 2000])
@pytest.mark.parametrize("draws", [0.05, 0.15, 0.6])
def test_quick_quantiles_are_the_exact_ones(draws, most):
    """Lower and upper are not the 5% and 95% quantiles: of draws that agree, and of draws that don't."""
    density, typical = densities(15, 1, draws=draws)
    given = (*counts(15, 1, most), tf.range(15), 15)
    served = predictive(page.condition(GroupEffect(tf.constant(0.65)), density, typical, *given), 15, 1)
    if most == 0:
        exact = Predictive.from_draws(
            tf.nest.map_structure(lambda leaf: leaf[:, :, None], density), group_effect=GroupEffect(tf.constant(0.65)), nodes=201
        )
    else:
        exact = served
    for q, got in zip((0.05, 0.95), intervals.quantiles(served, (0.05, 0.95)), strict=True):
        assert np.abs((got.numpy() - exact.quantile(q)) / exact.stddev).max() < 0.05


@pytest.mark.parametrize("tau", [None, 0.02, 0.1, 0.65])
@pytest.mark.parametrize(("concentration", "wide"), [(30.0, 0.3), (30.0, 0.8), (3000.0, 0.0)])
def test_quick_quantiles_of_draws_that_are_not_smoothed_over(tau, concentration, wide):
    """Draws that disagree about the spread, or more than the page effect spreads, make tails that one beta of their mean and variance
    lacks: .1 to .6 standard deviations."""
    density, _ = densities(15, 1, wide=wide, concentration=concentration)
    effect = GroupEffect(tf.constant(tau)) if tau else None
    exact = Predictive.from_draws(tf.nest.map_structure(lambda leaf: leaf[:, :, None], density), group_effect=effect)
    for q, got in zip((0.05, 0.95), intervals.quantiles(exact, (0.05, 0.95)), strict=True):
        assert np.abs((got.numpy() - exact.quantile(q)) / exact.stddev).max() < 0.05


@pytest.mark.parametrize(
    ("posterior", "density"),
    [(rb.ensemble(members=2), rb.point()), (rb.mc_dropout(draws=3), rb.gaussian_mixture())],
    ids=["ensemble", "dropout"],
)
def test_other_posteriors_and_families_export(train_log, tmp_path, posterior, density):
    """A method works in Python, and its export lacks a variable or draws other masks."""
    features = [rb.text("headline"), rb.categorical("image-id")]
    settings = {"model": rb.ddn(dropout=0.2), "group_effect": False, "epochs": 1, "held_out": 0.0}
    fitted = rb.fit(train_log, features=features, posterior=posterior, density=density, **settings)
    fitted.save(tmp_path / "model")
    rb.export(fitted, rb.thompson(draws=8), tmp_path / "export")
    found = rb.check(tmp_path)
    assert found.ok, str(found)
    assert "trained model" in found.passed
    exact = fitted.predict(fitted.encoder.example(15))
    record = json.loads((tmp_path / "export" / "metadata.json").read_text())["known_answers"][0]
    fresh = np.array(record["inputs"]["impressions"]) == 0
    np.testing.assert_allclose(np.array(record["outputs"]["mean"])[fresh], exact.mean[:, 0].numpy()[fresh], rtol=1e-4)
    np.testing.assert_allclose(np.array(record["outputs"]["upper"])[fresh], exact.quantile(0.95)[:, 0].numpy()[fresh], rtol=1e-3)
