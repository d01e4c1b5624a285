"""Which policy is better: as sure as the log allows, by the direct method too, and said where it can't be."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from evaluation import logs

import recbayes as rb
from recbayes.evaluation import resampling


def test_the_direct_method_alone_is_no_surer_than_its_model():
    """Over 30 logs of 300 rows, two different policies of equal value: its order is called sure (.975) in one of twenty.

    Alarm 1e-4 for right code (binomial, at most 6 of 30). Sees the error of the fit left out of the pair, which called all of them sure,
    at 1 - 2e-10. `best` tells the same as the pair: 1,000 resamples have a standard error of .016.
    """
    shift = np.array([[0, 0.05, 0.05, -0.1, 0], [0, 0, 0.1, 0, -0.1]])
    policies = [rb.table(logs.table(), name="a"), rb.table(logs.table(logs.TARGET + shift), name="b")]
    assert logs.value(logs.TARGET + shift) == pytest.approx(logs.value())
    found = [rb.evaluate(logs.read(logs.frame(300, seed)), policies, estimators=["dm"]) for seed in range(30)]
    sure = np.array([one.pairs[0].probability for one in found])
    assert (sure > 0.975).sum() <= 6
    np.testing.assert_allclose([one.best[one.pairs[0].better] for one in found], sure, atol=0.065)


def test_equal_policies_are_a_coin_toss():
    """The same table twice, by the direct method: what the two share cancels."""
    found = rb.evaluate(logs.read(logs.frame(300)), [rb.table(logs.table(), name=name) for name in "ab"], estimators=["dm"])
    assert found.pairs[0].probability == 0.5
    assert found.best == {"a": 0.5, "b": 0.5}


def by_day(days, table):
    data = logs.frame(900).assign(day=lambda f: f.decision % days)
    return rb.evaluate(logs.read(data, cluster="day", features=[]), [table, rb.logged()], estimators=["snips"])


def test_empty_resamples_are_left_out():
    """Three days: one resample in twenty holds none of them, which made every policy's chance NaN."""
    found = by_day(3, rb.table(logs.table(), name="t"))
    assert sum(found.best.values()) == pytest.approx(1.0)
    assert 900 < found.resamples < 1000
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))["ranking"]
    assert record["resamples"] == found.resamples
    assert record["reason"] == ""


def test_too_few_resamples_say_why(monkeypatch):
    """Fewer than half the resamples hold anything: no chance is stated, and the reason is."""
    draws = np.where(np.arange(1000) < 400, 1.0, math.nan)
    monkeypatch.setattr(resampling, "resampled", lambda sums, buckets: draws)
    found = by_day(3, rb.table(logs.table(), name="t"))
    assert all(math.isnan(share) for share in found.best.values())
    assert "400 of 1,000" in found.reason
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))["ranking"]
    assert record["best"] == {"t": None, "logged": None}
