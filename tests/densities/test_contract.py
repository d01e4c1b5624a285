"""One matrix over all families of densities: what every one of them promises."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from exact import log_integral
from scipy import stats
from scipy.special import logsumexp

from recbayes import densities
from recbayes.densities import Density, Family
from recbayes.plugins import kinds

CLICKS, IMPRESSIONS = np.array([3.0, 0.0, 60.0, 2000.0, 0.0, 1.0]), np.array([200.0, 40.0, 2000.0, 90_000.0, 0.0, 1.0])


class Case(NamedTuple):
    """A family with the settings to test; chains: whether conditioning and log_marginal are parts of one model."""

    family: Family
    chains: bool = True
    spread: bool = True
    zero_is_exact: bool = True


CASES = {
    "beta_mixture": Case(densities.beta_mixture(components=2)),
    "beta_mixture of 1": Case(densities.beta_mixture(components=1)),
    "beta_mixture of 4": Case(densities.beta_mixture(components=4)),
    "gaussian_mixture": Case(densities.gaussian_mixture(components=2), zero_is_exact=False),
    "gaussian_mixture MDN": Case(densities.gaussian_mixture(components=2, measurement_noise=False), chains=False, zero_is_exact=False),
    "gaussian_mixture REG": Case(densities.gaussian_mixture(1, False, constant_sigma=0.5), chains=False, zero_is_exact=False),
    "logit_normal_mixture": Case(densities.logit_normal_mixture(components=2)),
    "logit_normal_mixture of 1": Case(densities.logit_normal_mixture(components=1)),
    "point": Case(densities.point(), spread=False),
}
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def outputs_of(family, shape=(6,), dtype=tf.float64, seed=0):
    """Outputs about the start of a log with a rate of .02, [*shape, P]."""
    rng = np.random.default_rng(seed)
    start = family.start_at(0.02, 500.0).astype(np.float64)
    return tf.constant(start + 0.3 * rng.normal(size=(*shape, family.size)), dtype)


def leaves(density):
    return [np.asarray(leaf) for leaf in density]


def test_every_family_is_in_the_matrix():
    assert {name.split()[0] for name in CASES} == set(kinds("densities:Family"))


@each
def test_protocols_and_settings(case):
    """A saved model builds its family again from name and settings."""
    family = case.family
    assert isinstance(family, Family)
    assert getattr(densities, family.name)(**family.settings()) == family
    assert set(family.location) < set(range(family.size)) or family.size == 1
    density = family.density(outputs_of(family))
    assert isinstance(density, Density)
    for leaf in density:
        assert leaf.shape[:-1] == (6,)


@each
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_shapes_and_types(case, dtype):
    density = case.family.density(outputs_of(case.family, (3, 6), dtype))
    after = density.condition(tf.constant(CLICKS, dtype), tf.constant(IMPRESSIONS, dtype))
    for one in (density, after, density.shift(tf.constant(0.3, dtype))):
        assert type(one) is type(density)
        answers = [one.mean, one.variance, one.stddev, one.quantile(0.2), one.sample([1, 2]), one.log_marginal(CLICKS, IMPRESSIONS)]
        for answer in answers:
            assert answer.shape == (3, 6)
            assert answer.dtype == dtype
            assert np.isfinite(answer).all()
        assert one.sample([1, 2], [5, 2]).shape == (5, 2, 3, 6)
        assert one.locations.shape[:-1] == (3, 6)


@each
def test_uncompiled_and_compiled_agree(case):
    def everything(outputs: Any, clicks: Any, impressions: Any) -> Any:
        density = case.family.density(outputs)
        after = density.condition(clicks, impressions).shift(0.1)
        answers = [density.log_marginal(clicks, impressions), after.mean, after.stddev, after.quantile(0.9)]
        return answers, tuple(after)

    arguments = (outputs_of(case.family, dtype=tf.float32), tf.constant(CLICKS, tf.float32), tf.constant(IMPRESSIONS, tf.float32))
    compiled = tf.function(everything, jit_compile=True, autograph=False)
    for one, other in zip(tf.nest.flatten(everything(*arguments)), tf.nest.flatten(compiled(*arguments)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)
    compiled(*arguments)
    assert compiled.experimental_get_tracing_count() == 1


@each
def test_moments_and_quantiles_are_those_of_the_tfp_distribution(case):
    density = case.family.density(outputs_of(case.family))
    other = density.distribution()
    np.testing.assert_allclose(density.mean, other.mean(), rtol=1e-6)
    np.testing.assert_allclose(density.variance, other.variance(), rtol=1e-6, atol=1e-18)
    if case.spread:
        for q in (0.001, 0.05, 0.5, 0.95, 0.999):
            np.testing.assert_allclose(other.cdf(density.quantile(q)), q, atol=1e-3)


@each
def test_draws_have_the_densitys_moments_and_quantiles(case):
    """Alarm below 1e-6 for right code (6 standard errors, 42 comparisons); sees a mean off by 2% of the standard deviation."""
    density = case.family.density(outputs_of(case.family))
    mean, stddev = density.mean.numpy(), density.stddev.numpy()
    draws = density.sample([5, 6], [100_000]).numpy()
    assert (np.abs(draws.mean(0) - mean) <= 6 * stddev / np.sqrt(1e5) + 1e-12).all()
    np.testing.assert_allclose(draws.std(0), stddev, rtol=0.05, atol=1e-12)
    if case.spread:
        assert (np.abs((draws < density.quantile(0.9).numpy()).mean(0) - 0.9) < 6 * 0.3 / np.sqrt(1e5) + 1e-3).all()


@each
def test_conditioning_chains_and_order_does_not_matter(case):
    """Acceptance 2: what is learned in two portions is what is learned at once. MDN has no measurement noise to learn with."""
    density = case.family.density(outputs_of(case.family))
    clicks, impressions = tf.constant([3.0, 7.0, 60.0, 2000.0, 1.0, 1.0], tf.float64), tf.constant(IMPRESSIONS + 2.0, tf.float64)
    more, shown = (
        tf.constant([1.0, 9.0, 4.0, 100.0, 2.0, 5.0], tf.float64),
        tf.constant([90.0, 120.0, 500.0, 9000.0, 40.0, 900.0], tf.float64),
    )
    first, second = density.condition(clicks, impressions), density.condition(more, shown)
    one, other = first.condition(more, shown), second.condition(clicks, impressions)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    if case.chains:
        joint = density.log_marginal(clicks, impressions) + first.log_marginal(more, shown)
        np.testing.assert_allclose(
            joint, density.log_marginal(more, shown) + second.log_marginal(clicks, impressions), rtol=1e-6, atol=1e-7
        )


@each
def test_nothing_shown_nothing_learned(case):
    density = case.family.density(outputs_of(case.family))
    np.testing.assert_allclose(density.log_marginal(tf.zeros(6), tf.zeros(6)), 0.0, atol=1e-6)
    for before, after in zip(density, density.condition(tf.zeros(6), tf.zeros(6)), strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-6, atol=1e-7)


@each
def test_conditioning_moves_towards_the_observed_rate_and_narrows(case):
    if not case.spread:
        pytest.skip("a point learns nothing, by definition")
    density = case.family.density(outputs_of(case.family))
    shown = tf.fill([6], tf.constant(1e6, tf.float64))
    after = density.condition(0.05 * shown, shown)
    np.testing.assert_allclose(after.mean, 0.05, rtol=0.05)
    assert (after.stddev.numpy() < 0.2 * density.stddev.numpy()).all()


@each
def test_shift_moves_the_logit_of_every_location(case):
    density = case.family.density(outputs_of(case.family))
    moved = density.shift(tf.constant(0.7, tf.float64))
    before, after = (np.log(d.locations / (1 - d.locations)) for d in (density, moved))
    np.testing.assert_allclose(after - before, 0.7, atol=1e-9)
    for same, still in zip(density.shift(tf.constant(0.0, tf.float64)), density, strict=True):
        np.testing.assert_allclose(same, still, rtol=1e-12)
    apart = density.shift(tf.constant([[0.0], [0.7]], tf.float64))
    np.testing.assert_allclose(apart.mean[1], moved.mean, rtol=1e-12)


@each
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_training_gradient_is_finite_everywhere(case, dtype):
    """One NaN in a batch ends a training run."""
    for scale in (1.0, 30.0):
        outputs = scale * outputs_of(case.family, dtype=dtype)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = case.family.density(outputs).log_marginal(CLICKS, IMPRESSIONS)
        assert np.isfinite(value).all()
        assert np.isfinite(tape.gradient(value, outputs)).all()


@each
def test_gradient_is_the_derivative(case):
    """Against central differences; MDN and DDN hold the noise's rate constant, so theirs is that of the density's leaves."""
    density = case.family.density(outputs_of(case.family))
    moving = [leaf for name, leaf in zip(density._fields, density, strict=True) if not (name == "rates" and len(density) > 1)]

    def value(leaves: Any) -> Any:
        rest = density[len(leaves) :]
        return type(density)(*leaves, *rest).log_marginal(CLICKS, IMPRESSIONS)

    for i, leaf in enumerate(moving):
        with tf.GradientTape() as tape:
            tape.watch(leaf)
            total = tf.reduce_sum(value([*moving[:i], leaf, *moving[i + 1 :]]))
        step = 1e-5 * leaf[..., :1]
        only_first = tf.concat([step, tf.zeros_like(leaf[..., 1:])], -1)
        high, low = (value([*moving[:i], leaf + sign * only_first, *moving[i + 1 :]]) for sign in (1.0, -1.0))
        np.testing.assert_allclose(tape.gradient(total, leaf)[:, 0] * step[:, 0] * 2, high - low, rtol=1e-3, atol=1e-9)


@each
def test_start_is_the_feature_free_fit(case):
    rng = np.random.default_rng(0)
    impressions = np.full(4000, 3000.0)
    clicks = rng.binomial(3000, rng.beta(8.0, 392.0, size=4000)).astype(float)
    start = case.family.start(clicks, impressions)
    assert start.shape == (case.family.size,)
    assert start.dtype == np.float32
    density = case.family.density(tf.constant(start))
    if case.family.settings().get("constant_sigma"):
        return
    np.testing.assert_allclose(density.mean, 0.02, rtol=0.02)
    if case.spread:
        np.testing.assert_allclose(density.stddev, np.sqrt(0.02 * 0.98 / 401), rtol=0.2)


@pytest.mark.parametrize("components", [1, 2, 3])
def test_both_orders_of_outputs_give_one_beta_mixture(components):
    """Predictions take [3 K, ...], training [..., 3 K]: mixed-up axes would give each row another's rate."""
    family = densities.beta_mixture(components=components)
    outputs = tf.constant(np.random.default_rng(components).normal(0.0, 9.0, (5, 4, family.size)), tf.float32)  # beyond all bounds too
    one, other = family.density(outputs), family.density_of_parts(tf.transpose(outputs, (2, 0, 1)))
    for mine, theirs in zip(one, other, strict=True):
        assert mine.shape == theirs.shape == (5, 4, components)
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-5)


def test_log_marginals_against_quadrature():
    """Acceptance 1 for whole mixtures: beta mixture, Gaussian mixture and point, in float64."""
    rng = np.random.default_rng(2)
    impressions = np.round(10 ** rng.uniform(0, 6, 40))
    clicks = rng.binomial(impressions.astype(int), 0.03).astype(float)
    log_weights, means = np.log(rng.dirichlet([1.0, 1.0], 40)), rng.uniform(0.01, 0.1, (40, 2))
    betas = densities.BetaMixture(log_weights, means, 10 ** rng.uniform(0.5, 6, (40, 2)))
    a, b = betas.means * betas.concentrations, (1 - betas.means) * betas.concentrations
    each = log_integral(a + clicks[:, None], b + (impressions - clicks)[:, None]) - log_integral(a, b)
    choose = stats.binom.logpmf(clicks, impressions, 0.5) + impressions * np.log(2.0)
    exact = logsumexp(betas.log_weights + each, axis=1) + choose
    found = densities.BetaMixture(*map(tf.constant, betas)).log_marginal(tf.constant(clicks), tf.constant(impressions))
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-7)

    density = densities.gaussian_mixture(2).density(outputs_of(densities.gaussian_mixture(2), (40,)))
    noise = density.noise(tf.constant(impressions)[:, None]).numpy()[..., None]
    weights, means, stddevs = (leaf.numpy()[..., None] for leaf in density[:3])
    y = means + stddevs * np.linspace(-12, 12, 4001)  # [40, 2, 4001]
    shown = np.where(clicks > 0, clicks, 0.5) / impressions
    error = (np.log(shown)[:, None, None] - y) / np.sqrt(noise)
    observed = np.where(clicks[:, None, None] > 0, stats.norm.logpdf(error) - 0.5 * np.log(noise), stats.norm.logcdf(error))
    grid = stats.norm.logpdf(y, means, stddevs) + observed + np.log(y[..., 1:2] - y[..., :1])
    exact = logsumexp(weights[..., 0] + logsumexp(grid, axis=2), axis=1) - np.log(np.maximum(clicks, 1.0))
    found = density.log_marginal(tf.constant(clicks), tf.constant(impressions))
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=2e-5)

    found = densities.Point(tf.constant([[0.03]], tf.float64)).log_marginal(tf.constant(clicks), tf.constant(impressions))
    np.testing.assert_allclose(found, stats.binom.logpmf(clicks, impressions, 0.03), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: densities.beta_mixture(components=0), "components is 0, must be at least 1"),
        (lambda: densities.gaussian_mixture(components=0), "components is 0, must be at least 1"),
        (lambda: densities.gaussian_mixture(constant_sigma=-1.0), "constant_sigma is -1.0, must be positive"),
        (lambda: densities.beta_mixture(1).density(tf.zeros([1, 3])).quantile(1.0), "q is 1.0, must be strictly between"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
