"""The log-likelihood that a model expects of itself: right models get it, over-sure ones don't."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import stats

from recbayes.calibration.surprise import expected_log_likelihood, simulate, with_clicks
from recbayes.densities import BetaMixture
from recbayes.densities.group_effect import GroupEffect
from recbayes.log import Log, read_log
from recbayes.predictive import Predictive

GROUPS, ARMS, SHOWN = 150, 3, 2000


class Model:
    """Beta law about a known mean, of a stated concentration."""

    def __init__(self, concentration: float) -> None:
        self.concentration = concentration

    def predict(self, log: Log) -> Predictive:
        mean = np.asarray(log.column("quality"), np.float32)[None, :, None, None]
        return Predictive.from_draws(BetaMixture(np.zeros_like(mean), mean, np.full_like(mean, self.concentration)))

    def log_likelihood(self, log: Log) -> np.ndarray:
        mean = np.asarray(log.column("quality"), np.float64)
        rows = stats.betabinom.logpmf(log.clicks, log.impressions, mean * self.concentration, (1 - mean) * self.concentration)
        return np.bincount(log.segments[0], rows)


def made() -> Log:
    rng = np.random.default_rng(0)
    quality = rng.uniform(0.01, 0.04, GROUPS * ARMS)
    rates = rng.beta(quality * 200, (1 - quality) * 200)
    columns = {"page": np.repeat(np.arange(GROUPS), ARMS), "quality": quality, "clicks": rng.binomial(SHOWN, rates), "n": SHOWN}
    return read_log(pd.DataFrame(columns), clicks="clicks", impressions="n", group="page", features=("quality",))


def test_a_right_model_gets_what_it_expects_and_an_over_sure_one_does_not() -> None:
    """Within 4 standard errors where it is right (alarm 6e-5); an over-sure model far below its hopes."""
    off = {}
    for concentration in (200.0, 2000.0):
        found: dict[str, Any] = expected_log_likelihood(Model(concentration), made())
        off[concentration] = (found["observed"] - found["expected"]) / found["stderr"]
    assert abs(off[200.0]) < 4
    assert off[2000.0] < -8


def test_rows_of_a_group_share_the_page_effect() -> None:
    """Drawn logits of one page move together as tau says: within-page correlation tau^2 / (tau^2 + own), off by .15 at most (5 sd)."""
    mean = tf.fill([1, 2000, 1, 1], 0.02)
    law = Predictive.from_draws(
        BetaMixture(tf.zeros_like(mean), mean, tf.fill([1, 2000, 1, 1], 5000.0)), group_effect=GroupEffect(tf.constant(0.6))
    )
    clicks = simulate(law, np.repeat(np.arange(500), 4), np.full(2000, 100_000), seed=1)
    logits = np.log(clicks / (100_000 - clicks)).reshape(500, 4)
    own = 1.0 / (5000 * 0.02 * 0.98) + 1.0 / 2000
    assert abs(np.corrcoef(logits[:, 0], logits[:, 1])[0, 1] - 0.36 / (0.36 + own)) < 0.15
    assert abs(logits.std() - np.sqrt(0.36 + own)) < 0.1


def test_other_clicks_leave_the_log_as_it_was() -> None:
    """The observed clicks must not be lost to the drawn ones."""
    log = made()
    before = log.clicks.copy()
    changed = with_clicks(log, np.zeros(len(log), np.int64))
    assert changed.clicks.sum() == 0
    np.testing.assert_array_equal(log.clicks, before)
    assert changed.fingerprint != log.fingerprint
