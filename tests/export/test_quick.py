"""The short cuts of serving, against the full computation they stand for."""

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import betainc, betaln, expit
from scipy.stats import beta

import recbayes as rb
from recbayes.densities import BetaMixture
from recbayes.densities.group_effect import GroupEffect
from recbayes.export import intervals, merging, nodes, page, rates
from recbayes.export.merging import Betas
from recbayes.export.summed import Summed
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


def counts(pages, arms, most, seed=1):
    rng = np.random.default_rng(seed)
    impressions = rng.integers(0, most + 1, (pages, arms))
    rate = 1 / (1 + np.exp(4.2 - rng.normal(0, 0.65, (pages, 1))))
    return tf.constant(rng.binomial(impressions, rate), tf.float32), tf.constant(impressions, tf.float32)


def by_decision(density, pages, arms):
    return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [leaf.shape[0], pages, arms, 2]), density)


def full(density, tau, clicks, impressions):
    """The same by the search of the group effect itself, for every draw."""
    pages, arms = clicks.shape
    segments = tf.repeat(tf.range(pages), arms)
    flat = tf.nest.map_structure(lambda leaf: tf.reshape(leaf, [leaf.shape[0], -1, 2]), density)
    found = GroupEffect(tf.constant(tau)).condition(flat, tf.reshape(clicks, [-1]), tf.reshape(impressions, [-1]), segments, pages)

    def shaped(leaf):
        leaf = leaf if leaf.shape.rank == 4 else leaf[None]
        return tf.reshape(leaf, [leaf.shape[0], leaf.shape[1], pages, arms, 2])

    even = tf.fill([density.means.shape[0]], -np.log(density.means.shape[0]).astype(np.float32))
    return Predictive(tf.nest.map_structure(shaped, found.density), found.log_weights, even, tf.fill([pages, arms], True))


@pytest.mark.parametrize(
    ("pages", "arms", "most", "apart"), [(20, 5, 0, 0.1), (20, 5, 3, 0.1), (20, 1, 50_000, 0.2), (4, 30, 3000, 0.2), (4, 100, 2000, 1.5)]
)
def test_nodes_stand_where_the_page_effect_is(pages, arms, most, apart):
    """A page whose draws lie elsewhere, or whose counts are many, gets a wrong mean; the last case is far from the first guess."""
    density = by_decision(densities(pages, arms, draws=apart)[0], pages, arms)
    seen = counts(pages, arms, most)
    quick = rates.by_draws(density, tf.constant(0.65), *seen, tf.fill([pages, arms], True))
    exact = full(density, 0.65, *seen)
    np.testing.assert_allclose(quick.mean, exact.mean, rtol=1e-3)
    np.testing.assert_allclose(quick.stddev, exact.stddev, rtol=3e-3)
    assert (np.abs(quick.split()[1] - exact.split()[1]) < 1e-2 * exact.split()[1] + 1e-3 * exact.stddev).numpy().all()
    np.testing.assert_allclose(quick.contrast_stddev, exact.contrast_stddev, rtol=1e-2)


def test_a_guess_that_is_off_is_moved(monkeypatch):
    """Counts that contradict the model put every node beside the posterior, and the answer is the outermost node's."""
    density = by_decision(densities(3, 5, draws=0.0)[0], 3, 5)
    one = tf.nest.map_structure(lambda leaf: leaf[:1], density)
    seen = counts(3, 5, 3000)
    monkeypatch.setattr(page, "place", lambda *_: page.Guess(tf.fill([1, 3], -2.0), tf.fill([1, 3], 0.05)))
    found = rates.by_draws(one, tf.constant(0.65), *seen, tf.fill([3, 5], True))
    np.testing.assert_allclose(found.mean, full(one, 0.65, *seen).mean, rtol=1e-3)


@pytest.mark.parametrize(("shown", "most"), [(30, 3e-5), (1000, 3e-4), (10_000, 3e-3), (100_000, 3e-2)])
def test_evidence_is_right_whatever_the_concentration(shown, most):
    """Against scipy in float64, apart from what all nodes share. Logs that are rounded before they are subtracted would be off by .1."""
    generator, rows = np.random.default_rng(shown), 500
    for size in (3.0, 300.0, 3e4, 3e5, 8e6):
        means = generator.uniform(0.0, 1.0, rows).clip(1e-3, 0.999)
        impressions = generator.integers(0, shown + 1, rows)
        for clicks, worse in ((generator.binomial(impressions, means), 1.0), (generator.integers(0, impressions + 1), 3.0)):
            density = Betas(*(tf.constant(x, tf.float32)[None, :, None] for x in (np.ones(rows), means, np.full(rows, size))))
            a, b = nodes.shifted(density, tf.constant(np.linspace(-1.0, 1.0, 9)[:, None] * np.ones(rows), tf.float32))
            counts = (tf.constant(x, tf.float32)[:, None] for x in (clicks, impressions))
            found = nodes.evidence(density, *counts)(a, b).numpy()[:, 0, :, 0]  # [Q, N]
            a, b = (x.numpy()[:, 0, :, 0].astype(float) for x in (a, b))
            off = found - (betaln(a + clicks, b + impressions - clicks) - betaln(a, b))
            assert np.abs(off - off.mean(0)).max() < worse * most, size


@pytest.mark.parametrize("size", [0.05, 1.0, 20.0, 200.0, 1e5])
def test_billions_of_impressions_are_answered(size):
    """What rounds to a share of 0 or 1 has a logarithm all the same: a NaN would go to the candidates beside it too."""
    for mean in (1e-6, 0.02, 0.5, 0.98):
        for clicks, shown in ((0, 1e7), (0, 1e9), (1, 1e9), (5e8, 1e9), (1e9 - 64, 1e9), (1e9, 1e9), (1e8, 1e8)):
            two = Betas(
                tf.fill([2, 1, 2], 0.5),
                tf.constant([mean, min(2 * mean, 0.99)])[:, None, None] * tf.ones([2, 1, 2]),
                tf.fill([2, 1, 2], size),
            )
            counts = tf.constant([[clicks, 5.0]]), tf.constant([[shown, 100.0]])
            for law in (nodes.condition(two, tf.constant([0.5]), *counts), nodes.alone(two, *counts)):
                found, spread = (tf.reduce_sum(law.weights[..., None] * moment, 0) for moment in law.moments())
                assert np.isfinite(spread).all()
                assert float(found[0, 0]) == pytest.approx(clicks / shown, abs=1e-3 + size / shown), (mean, clicks)


def test_a_component_that_is_nearly_never_is_found_by_the_counts():
    """1 less the other's share is 0 from 17 on the logit, whatever the clicks then say."""
    family = rb.beta_mixture(components=2)
    outputs = tf.constant([0.0, -18.0, *np.log(np.array([0.02, 0.3]) / np.array([0.98, 0.7])), *np.log([500.0, 20.0])], tf.float32)[
        :, None, None, None
    ]
    served = Betas(*family.by_component(outputs))
    law = nodes.alone(Betas(*(leaf[:, 0] for leaf in served)), tf.constant([[40.0]]), tf.constant([[200.0]]))
    exact = family.density(outputs[:, 0, 0, 0]).condition(tf.constant(40.0), tf.constant(200.0))
    assert float(law.moments()[0][0, 0, 0]) == pytest.approx(float(exact.mean), rel=1e-3)


@pytest.mark.parametrize(
    ("pages", "arms", "most", "middle"), [(20, 5, 0, 0.0), (20, 5, 3, 0.0), (20, 1, 50_000, 0.0), (4, 100, 2000, 0.0), (20, 5, 300, 6.0)]
)
def test_merged_candidates_stand_at_their_nodes(pages, arms, most, middle, monkeypatch):
    """A decision's quadrature misses the page, or its probabilities of counts are rounded away; the last case has rates of .9."""
    some = tf.nest.map_structure(lambda leaf: leaf[:1], by_decision(densities(pages, arms)[0], pages, arms))
    density, seen = some.shift(tf.fill([1, pages, arms], middle)), counts(pages, arms, most)
    seen = (seen[1] - seen[0], seen[1]) if middle else seen
    exact = full(density, 0.65, *seen)

    def held():
        one = Betas(*(leaf[:, 0] for leaf in Betas.of(density)))
        found = Summed.of(nodes.condition(one, tf.fill([pages], 0.65), *seen), tf.fill([pages, arms], True))
        np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-3)
        np.testing.assert_allclose(found.stddev, exact.stddev, rtol=3e-3)
        np.testing.assert_allclose(found.contrast_stddev, exact.contrast_stddev, rtol=1e-2)

    held()
    if arms == 5:
        monkeypatch.setattr(nodes, "scored", lambda *_, **__: (tf.fill([pages], -2.0), tf.fill([pages], 0.1)))
        held()  # the guess is moved to where the page is


def disagreeing(pages, arms):
    """400 draws that differ by a shift of all candidates and by less for each, leaves [S, B, A, K]."""
    rng = np.random.default_rng(4)
    place = -4.2 + rng.normal(0, 0.2, (1, pages, arms, 1)) + np.array([-0.1, 0.2])
    moved = place + rng.normal(0, 0.15, (400, 1, 1, 1)) + rng.normal(0, 0.04, (400, pages, arms, 1))
    leaves = (np.broadcast_to(np.log([0.6, 0.4]), moved.shape), 1 / (1 + np.exp(-moved)), np.broadcast_to([1000.0, 8000.0], moved.shape))
    return BetaMixture(*(tf.constant(x, tf.float32) for x in leaves))


def reweighted(density, seen):
    """mean, data and model stddev [B, A] by Bayes' rule: each draw weighed by its probability of the counts."""
    exact, u = full(density, 0.65, *seen), np.linspace(-4, 4, 81).astype(np.float32)[:, None, None] * 0.65
    nodes = density.shift(tf.constant(u)[..., None]).log_marginal(*seen)
    evidence = tf.reduce_logsumexp(tf.reduce_sum(nodes, -1) - 0.5 * (u / 0.65) ** 2, 0)  # [S, B]
    weight, means = tf.nn.softmax(evidence, 0).numpy()[..., None], exact.draw_means().numpy()
    mean = (weight * means).sum(0)
    at_nodes = np.exp(exact.node_log_weights.numpy())[..., None]
    square = (at_nodes * (exact.density.variance.numpy() + exact.density.mean.numpy() ** 2)).sum(0)
    return mean, np.sqrt((weight * (square - means**2)).sum(0)), np.sqrt((weight * (means - mean) ** 2).sum(0))


@pytest.mark.parametrize("most", [0, 30, 2000])
def test_merged_draws_answer_as_bayes_rule_does(most):
    """Merging loses what the draws disagree about, or counts it twice. The oracle weighs each draw by its probability of the counts."""
    density, seen, present = disagreeing(10, 5), counts(10, 5, most), tf.fill([10, 5], True)
    mean, data, model = reweighted(density, seen)
    one = merging.merged(Betas.of(density), present)
    found = Summed.of(rates.joined(one, tf.constant(0.65), *seen)[1], present)
    np.testing.assert_allclose(found.mean, mean, rtol=0.01)
    np.testing.assert_allclose(found.stddev, np.hypot(data, model), rtol=0.02)


@pytest.mark.parametrize("most", [0, 30, 2000])
def test_a_row_s_two_parts_are_those_of_bayes_rule(most):
    """`click_rate` tells data from model wrongly once a row's own counts are in: more impressions look like a better model."""
    density, seen = disagreeing(40, 1), counts(40, 1, most)
    mean, data, model = (x[:, 0] for x in reweighted(density, seen))
    found, _ = rates.merged(Betas.of(density), tf.constant(0.65), seen[0][:, 0], seen[1][:, 0], ())
    np.testing.assert_allclose(found.mean, mean, rtol=0.01)
    np.testing.assert_allclose(found.data_stddev, data, rtol=0.02)
    np.testing.assert_allclose(found.model_stddev, model, rtol=0.05)


def test_identical_candidates_share_and_joint_draws_have_the_stated_moments():
    """Thompson's draws of a served decision are wider or narrower than what is known."""
    density = by_decision(densities(2, 3)[0], 2, 3)
    seen, present = counts(2, 3, 300), tf.constant([[True, True, False], [True, True, True]])
    found = Summed.of(rates.joined(merging.merged(Betas.of(density), present), tf.constant(0.65), *seen)[1], present)
    draws = found.sample(20_000, tf.constant([3, 4])).numpy()
    assert (draws[:, 0, 2] == 0).all()
    # alarm 1e-6 for right code (5 errors of means and 5% of stddevs); sees 4% of a standard deviation
    here = present.numpy()
    assert (np.abs(draws.mean(0) - found.mean)[here] < 5 * (found.stddev.numpy() / np.sqrt(20_000))[here]).all()
    np.testing.assert_allclose(draws.std(0)[here], found.stddev.numpy()[here], rtol=0.05)
    within = np.corrcoef(draws[:, 1].T)
    assert within[0, 1] > 0.2  # one page effect a draw


def law(density, tau, seen):
    """Rates of rows and the exact predictive they stand for."""
    got = rates.rates(Betas.of(density), None if tau is None else tf.constant(tau), seen[0][:, 0], seen[1][:, 0], (0.05, 0.95))
    return got, rates.by_draws(density, None if tau is None else tf.constant(tau), *seen, tf.fill(seen[0].shape, True))


@pytest.mark.parametrize("most", [0, 2000])
@pytest.mark.parametrize("draws", [0.05, 0.6])
def test_quick_quantiles_are_the_exact_ones(draws, most):
    """Lower and upper are not the 5% and 95% quantiles: of draws that agree, and of draws that don't."""
    density = by_decision(densities(15, 1, draws=draws)[0], 15, 1)
    seen = counts(15, 1, most)
    got, exact = law(density, 0.65, seen)
    if most == 0:
        exact = Predictive.from_draws(density, group_effect=GroupEffect(tf.constant(0.65)), nodes=201)
    for q, ends in zip((0.05, 0.95), got.quantiles, strict=True):
        assert np.abs((ends - exact.quantile(q)[:, 0]) / exact.stddev[:, 0]).max() < 0.05
    np.testing.assert_allclose(got.mean, exact.mean[:, 0], rtol=5e-3)


@pytest.mark.parametrize("tau", [None, 0.1, 0.65])
@pytest.mark.parametrize(("concentration", "wide"), [(30.0, 0.8), (3000.0, 0.0)])
def test_quick_quantiles_of_draws_that_are_not_smoothed_over(tau, concentration, wide):
    """Draws that disagree about the spread, or more than the page effect spreads, make tails that one beta of their mean and variance
    lacks: .1 to .6 standard deviations."""
    density = by_decision(densities(15, 1, wide=wide, concentration=concentration)[0], 15, 1)
    got, _ = law(density, tau, counts(15, 1, 0))
    exact = Predictive.from_draws(density, group_effect=GroupEffect(tf.constant(tau)) if tau else None, nodes=101)
    for q, ends in zip((0.05, 0.95), got.quantiles, strict=True):
        assert np.abs((ends - exact.quantile(q)[:, 0]) / exact.stddev[:, 0]).max() < 0.05


@pytest.mark.parametrize(("spread", "settings"), [(0.1, {}), (0.5, {"steps": 6, "verified": True}), (1.0, {"steps": 6, "verified": True})])
def test_normal_scores_tell_a_mixtures_quantiles(spread, settings):
    """Ends that are said to be good are not: Paulson's scores against scipy's incomplete beta function; laws of one hump, and of many."""
    rng = np.random.default_rng(6)
    shares, rate = rng.dirichlet(np.ones(40), 1000).T, expit(rng.normal(-3, 1, 1000) + rng.normal(0, spread, (40, 1000)))
    a = np.exp(rng.uniform(np.log(0.5), np.log(200), 1000)) * rate / rate.mean(0)
    b = a * (1 - rate) / rate
    mean = (shares * rate).sum(0)
    variance = (shares * (rate * (1 - rate) / (a + b + 1) + (rate - mean) ** 2)).sum(0)
    law = intervals.Law.of(*(tf.constant(x, tf.float32) for x in (shares, rate, a + b, mean, variance)))
    for level in (0.05, 0.95):
        (ends,), settled = intervals.quantiles(law, [level], **settings)
        good = np.asarray(settled & intervals.smooth(law, tf.zeros(1000)))
        assert good.sum() > 400
        around = (np.clip(np.asarray(ends, np.float64) + side * 0.05 * np.sqrt(variance), 0, 1) for side in (-1, 1))
        below, above = ((shares * betainc(a, b, p)).sum(0) for p in around)
        assert ((below < level) & (level < above))[good].all()


def test_skewed_laws_are_told_without_a_search():
    """Betas of few clicks, which a model without a page effect has, were sent draw by draw, a hundred times the work; or told wrongly."""
    a, b = np.array([0.75, 1.2, 2.0, 5.0, 20.0]), np.array([40.0, 60.0, 100.0, 250.0, 1000.0])
    mean, variance = a / (a + b), beta(a, b).var()
    law = intervals.Law.of(*(tf.constant(x, tf.float32) for x in (np.ones((1, 5)), mean[None], (a + b)[None], mean, variance)))
    ends, settled = intervals.quantiles(law, (0.05, 0.95))
    assert (settled & intervals.smooth(law, tf.zeros(5))).numpy().all()
    for level, end in zip((0.05, 0.95), ends, strict=True):
        assert np.abs((end - beta(a, b).ppf(level)) / np.sqrt(variance)).max() < 0.05


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
