"""fit and Fitted: what a user gets from a log, saved and loaded, held against a fine grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import betaln, expit, gammaln, logit, logsumexp
from small import features, frame, log

import recbayes as rb
from recbayes.types import UserError

QUICK = {"epochs": 4, "batch_size": 64, "held_out": 0.0}


@pytest.fixture(scope="module")
def fitted() -> rb.Fitted:
    return rb.fit(log(), features=features(), posterior=rb.last_layer(draws=5), **QUICK)


def test_log_likelihood_is_that_of_a_fine_grid(fitted: rb.Fitted) -> None:
    """Joint over a page, draws averaged, binomial coefficients in: against float64 sums over 401 page effects."""
    test = log(groups=7, seed=9)
    density, tau = fitted.densities(test), float(fitted.group_effect.tau)
    z = np.linspace(-8, 8, 401)
    prior = -0.5 * z**2 - logsumexp(-0.5 * z**2)
    clicks, shown, segments = test.clicks, test.impressions, test.segments[0]
    weights, means, sizes = (np.asarray(leaf, np.float64) for leaf in density)  # [S, N, K]
    m = expit(logit(means)[None] + tau * z[:, None, None, None])  # [Z, S, N, K]
    c, r = clicks[:, None], shown[:, None]
    choose = gammaln(r + 1) - gammaln(c + 1) - gammaln(r - c + 1)
    rows = logsumexp(weights + choose + betaln(m * sizes + c, (1 - m) * sizes + r - c) - betaln(m * sizes, (1 - m) * sizes), axis=-1)
    for g, got in enumerate(fitted.log_likelihood(test)):
        joint = logsumexp(rows[:, :, segments == g].sum(axis=-1) + prior[:, None], axis=0)  # [S]
        assert got == pytest.approx(logsumexp(joint) - np.log(len(joint)), abs=2e-3)


def test_a_saved_fit_answers_the_same(fitted: rb.Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again, test = rb.load(tmp_path), log(groups=5, seed=3)
    for a, b in zip(fitted.densities(test), again.densities(test), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(again.group_effect.tau) == float(fitted.group_effect.tau)


def test_predict_gives_a_decision_a_row(fitted: rb.Fitted) -> None:
    test = log(groups=5, seed=3)
    predictive = fitted.predict(test)
    assert predictive.mean.shape == (20, 1)
    data, model = predictive.split()
    np.testing.assert_allclose(data**2 + model**2, predictive.stddev**2, rtol=1e-4)
    assert float(np.asarray(model).min()) > 0.0


def test_same_seed_same_fit_other_seed_another() -> None:
    one, two, other = (rb.fit(log(), features=features(), posterior=rb.map(), seed=s, **QUICK) for s in (1, 1, 2))
    test = log(groups=4, seed=5)
    np.testing.assert_array_equal(one.densities(test).means, two.densities(test).means)
    assert np.abs(np.asarray(one.densities(test).means) - np.asarray(other.densities(test).means)).max() > 0


def test_it_learns_which_words_are_clicked() -> None:
    """Held-out order of pairs of headlines: 200 pages at these effects give about 80% right; chance is 50% +- 1.5."""
    train = log(groups=300, impressions=4000)
    model = rb.fit(train, features=features(), model=rb.ddn(wide_stddev=0.3), posterior=rb.map(), epochs=15, held_out=0.0)
    test = frame(groups=200, impressions=4000)  # the same worth of words: the same seed
    rates = np.asarray(
        model.densities(rb.read_log(test, clicks="clicked", impressions="shown", group="page", features=("headline", "image", "at"))).mean
    )[0]
    seen = (test.clicked / test.shown).to_numpy()
    pages = test.page.to_numpy().reshape(200, 4)[:, 0]
    order = np.sign(np.diff(rates.reshape(200, 4)[:, :2])) == np.sign(np.diff(seen.reshape(200, 4)[:, :2]))
    assert len(pages) == 200
    assert order.mean() > 0.7


def test_group_effect_is_off_where_groups_are_small_and_when_told() -> None:
    assert rb.fit(log(impressions=20), features=features(), posterior=rb.map(), **QUICK).group_effect is None
    assert rb.fit(log(), features=features(), posterior=rb.map(), group_effect=False, **QUICK).group_effect is None
    asked = rb.fit(log(impressions=20), features=features(), posterior=rb.map(), group_effect="page", **QUICK)
    assert asked.group_effect is not None


def test_early_stopping_never_sees_the_test_log() -> None:
    """Epochs are chosen on the newest training pages; the history says how they did."""
    fitted = rb.fit(log(groups=80), features=features(), posterior=rb.map(), epochs=5, batch_size=64, patience=2)
    assert 1 <= fitted.record["epochs"] <= 5
    assert all("held_out" in record for record in fitted.history)


@pytest.mark.parametrize("family", ["beta_mixture", "gaussian_mixture", "logit_normal_mixture", "point"])
def test_every_density_trains_with_and_without_a_page_effect(family: str) -> None:
    for group in ("page", False):
        fitted = rb.fit(log(), features=features(), density=getattr(rb, family)(), posterior=rb.map(), group_effect=group, **QUICK)
        rates = np.asarray(fitted.predict(log(groups=3, seed=2)).mean)
        assert ((rates > 0.001) & (rates < 0.2)).all()


def test_an_interrupted_fit_goes_on_where_it_was(tmp_path: Path) -> None:
    def killed(done: int, of: int, figures: dict[str, float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {"features": features(), "posterior": rb.map(), **QUICK}
    with pytest.raises(KeyboardInterrupt):
        rb.fit(log(), **arguments, checkpoint=tmp_path, progress=killed)
    done: list[int] = []
    resumed = rb.fit(log(), **arguments, checkpoint=tmp_path, progress=lambda d, n, f: done.append(d))
    assert done == [3, 4]
    straight = rb.fit(log(), **arguments)
    np.testing.assert_array_equal(resumed.densities(log(seed=4)).means, straight.densities(log(seed=4)).means)


def test_no_features_and_no_model_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no features.*rb\.text"):
        rb.fit(log(), features=[])
    with pytest.raises(UserError, match="no fitted model here"):
        rb.load(tmp_path)


def test_recalibration_is_fitted_on_groups_set_aside_and_saved(tmp_path: Path) -> None:
    """The map is of the held-out groups alone, changes no weight, and comes back with the model."""
    arguments: dict[str, Any] = {"features": features(), "posterior": rb.map(), **QUICK, "epochs": 2, "held_out": 0.25}
    settings = {key: value for key, value in arguments.items() if value is not None}
    plain, mapped = rb.fit(log(groups=80), **settings), rb.fit(log(groups=80), recalibrate=True, **settings)
    assert plain.recalibration is None
    assert mapped.recalibration is not None
    assert mapped.recalibration.groups == 20
    np.testing.assert_array_equal(plain.densities(log(groups=3)).means, mapped.densities(log(groups=3)).means)
    mapped.save(tmp_path)
    assert rb.load(tmp_path).recalibration == mapped.recalibration


def test_recalibration_without_enough_groups_is_refused() -> None:
    """Before an hour of training, not after it."""
    with pytest.raises(UserError, match=r"held_out sets 6 groups aside, the map needs 20\. Raise train\.held_out"):
        rb.fit(log(groups=60), features=features(), recalibrate=True, held_out=0.1)
