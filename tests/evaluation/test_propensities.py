"""Logs without propensities: fitted ones are right where they can be, checked, and marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation import logs

import recbayes as rb
from recbayes.evaluation.propensities import fitted, propensities_of
from recbayes.log.stream import stream_log


def test_fitted_ones_are_near_the_true_ones():
    """The logging policy looked at the position alone: shares by position are its propensities."""
    data = logs.frame(20_000)
    log = logs.read(data, propensity=None)
    made = fitted(stream_log(log), [])
    np.testing.assert_allclose(made.of(log), data.chance, rtol=0.1)
    assert made.about["propensity_model"]["p_value"] > 1e-3
    truth, guess = (
        rb.evaluate(one, [rb.table(logs.table(), name="t")], estimators=["snips"]).estimates[0] for one in (logs.read(data), log)
    )
    assert guess.value == pytest.approx(truth.value, abs=truth.stderr)
    assert guess.verdict == "caution"
    assert "fitted, not logged" in guess.reason


def test_what_the_policy_looked_at_must_be_named():
    """A policy that looked at a column: naming it gives the right value; not naming it gives a wrong one that nothing can find."""
    rng = np.random.default_rng(0)
    n = 30_000
    kind = rng.integers(0, 2, n)
    logging = np.array([[0.8, 0.2], [0.2, 0.8]])
    item = (rng.random(n) > logging[kind, 0]).astype(int)
    rates = np.array([[0.3, 0.1], [0.1, 0.3]])
    data = pd.DataFrame({"item": item, "kind": kind, "click": (rng.random(n) < rates[kind, item]).astype(int)})
    policy = rb.table(pd.DataFrame({"item": [0, 1], "probability": [0.5, 0.5]}), name="even")
    log = rb.read_log(data, clicks="click", item="item", features=["kind"])
    named = rb.evaluate(log, [policy], estimators=["snips"], given=["kind"]).estimates[0]
    blind = rb.evaluate(log, [policy], estimators=["snips"]).estimates[0]
    assert named.value == pytest.approx(0.2, abs=4 * named.stderr)
    assert blind.value > 0.24
    assert blind.verdict == "caution"
    assert "nothing" in blind.reason


def test_shares_that_drift_are_not_calibrated():
    """Probabilities that one fold has and the others don't: the fit is refused."""
    data = logs.frame(6000).assign(day=lambda f: np.where(f["item"] == "ant", f.decision % 7, 7 + f.decision % 40))
    log = logs.read(data, propensity=None, cluster="day", features=[])
    made = fitted(stream_log(log), [])
    assert {doubt.check for doubt in made.doubts} >= {"fitted_propensities", "calibration"}
    estimate = rb.evaluate(log, [rb.table(logs.table(), name="t")], estimators=["snips"]).estimates[0]
    assert estimate.verdict == "do_not_trust"


def test_what_is_identified_is_said():
    """In plain words: what without assumption, what with which, what not at all."""
    found = rb.evaluate(logs.read(propensity=None), [rb.logged(), rb.table(logs.table(), name="t")], estimators=["ips"])
    text = " ".join(found.about["identified"])
    for words in ("no propensities", "without any assumption", "only if", "Not identified at all", "log the probability"):
        assert words in text
    own = found.of("logged", "ips")
    assert own.verdict == "trust"
    assert own.value == pytest.approx(logs.frame().click.mean())
    assert found._repr_html_().count("<p>") == 5


def test_what_the_fit_uses_is_named():
    """The position enters the fit, so the assumption is not that the logging policy looked at nothing."""
    data = logs.frame().assign(page=lambda f: f.decision % 50)
    for roles, given, says in (
        ({}, [], "looked at nothing but the position (slot)."),
        ({}, ["user"], "looked at nothing but user and the position (slot)."),
        ({"group": "page"}, [], "shown at random) and the position (slot)."),
        ({"position": None}, [], "looked at nothing."),
    ):
        made = fitted(stream_log(logs.read(data, propensity=None, features=["user"], **roles)), given)
        assert says in made.doubts[0].message
        assert says.rstrip(".") in " ".join(made.about["identified"])


def test_logged_ones_are_taken_unless_fitted_are_asked_for():
    stream = stream_log(logs.read())
    assert propensities_of(stream, "auto", []).about["propensities"] == "logged"
    assert propensities_of(stream, "fitted", []).about["propensities"] == "fitted"


def test_little_overlap_is_told():
    """An item that is hardly ever shown has weights that nothing backs."""
    logging = np.array([[0.5, 0.4985, 0.0005, 0.0005, 0.0005]] * 2)
    data = logs.frame(60_000, logging=logging)
    made = fitted(stream_log(logs.read(data, propensity=None)), [])
    assert made.about["propensity_model"]["smallest"] < 1e-3
