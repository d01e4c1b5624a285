"""The bootstrap's draws: those of plain sums, and the same bits whatever does them, in whatever order."""

from __future__ import annotations

import math

import numpy as np
from evaluation import logs

import recbayes as rb
from recbayes.engine.local import Local
from recbayes.evaluation.estimators import dr, ips, snips
from recbayes.evaluation.resampling import Study, drawn, resampled, resamples, weighted
from recbayes.evaluation.rows import BUCKETS, of_arrays
from recbayes.evaluation.statistics import Statistics


class Disorderly(Local):
    """An engine whose tasks are done twice, and come last first."""

    def run(self, work, numbers):
        assert len(numbers) > 1
        for number in reversed(numbers):
            first = work.function(work.shared, number)
            np.testing.assert_array_equal(work.function(work.shared, number), first)
            yield number, first


def statistics(rows=900):
    """Of a log that fills some of the buckets."""
    rng = np.random.default_rng(3)
    propensity, target, predicted = rng.uniform(0.1, 1.0, rows), rng.uniform(0.0, 1.0, rows), rng.uniform(0.0, 0.3, rows)
    reward = (rng.random(rows) < 0.1).astype(float)
    return Statistics.of(of_arrays(reward, propensity, target, predicted, predicted), [ips(), snips(), dr()])


def test_draws_are_those_of_plain_sums():
    """Each resample's estimate by `math.fsum`, which rounds once: 1e-10 of the estimate. The worst of 1,000 is told."""
    found, counts = statistics(), resamples()
    decisions = found.overview.buckets
    for (sums,) in found.sums:
        weighed = {name: [math.fsum(row * column) for row in counts] for name, column in zip(sums.names, sums.buckets)}
        size = np.array([math.fsum(row * decisions) for row in counts])
        total = np.array(weighed["total"]) / np.array(weighed.get("share", size))
        plain = total + np.array(weighed.get("constant", np.zeros(len(counts)))) / size
        np.testing.assert_allclose(resampled(sums, decisions), plain, rtol=1e-10)


def test_sums_are_exact_in_any_order():
    """BLAS sums in an order that depends on its threads and on the CPU; a worker has one thread, and its figures must be the head's."""
    rng = np.random.default_rng(0)
    columns = rng.gamma(0.1, 1.0, (3, BUCKETS)) * [[1e-6], [1.0], [-1e9]]
    whole, order = weighted(resamples(), columns), rng.permutation(BUCKETS)
    np.testing.assert_array_equal(weighted(resamples()[:, order], columns[:, order]), whole)
    for few in (1, 7, 333):
        np.testing.assert_array_equal(weighted(resamples()[:few], columns), whole[:few])
    with np.errstate(all="raise"):
        assert not weighted(resamples(), np.zeros((2, BUCKETS))).any()
    assert resamples().sum(1).max() < 2**13


def test_tasks_come_in_any_order_and_count_once():
    """What is done last first, and again, is what this process finds; progress tells every estimate once."""
    found = statistics()
    study, seen = Study(found.overview.buckets, [sums for (sums,) in found.sums]), []
    there = drawn(study, Disorderly(), lambda *told: seen.append(told))
    for draws, sums in zip(there, study.sums, strict=True):
        np.testing.assert_array_equal(draws, resampled(sums, study.buckets))
    assert seen == [(done, 3, "bootstraps") for done in (1, 2, 3)]


def test_an_evaluation_is_that_of_any_engine():
    """Every figure and interval, bit for bit; what the direct method alone ranks by is resampled too."""
    log, seen = logs.read(logs.frame(500)), []
    for estimators in (["ips", "snips", "dm", "dr"], ["dm"]):
        policies = [rb.table(logs.table(), name="t"), rb.logged()]
        here = rb.evaluate(log, policies, estimators=estimators, progress=lambda *told: seen.append(told))
        assert rb.evaluate(log, policies, estimators=estimators, engine=Disorderly()).to_json() == here.to_json()
    assert seen[0] == (500, 500, "rows")
    assert [told for told in seen if told[2] == "bootstraps"] == [
        *((done, 6, "bootstraps") for done in range(1, 7)),
        (1, 2, "bootstraps"),
        (2, 2, "bootstraps"),
    ]
