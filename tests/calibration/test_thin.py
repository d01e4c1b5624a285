"""The shortcut for intervals: few pairs of page node and weight draw in place of thousands, with its error."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from recbayes.calibration.thin import thin
from recbayes.densities import BetaMixture
from recbayes.densities.group_effect import GroupEffect
from recbayes.predictive import Predictive

S, N, K = 64, 40, 2


def whole(model_spread: float) -> Predictive:
    """Rows at 1.2% whose page effect spreads by 65% and whose weight draws spread by `model_spread`."""
    rng = np.random.default_rng(0)
    means = 0.012 * np.exp(rng.normal(0, model_spread, (S, N, 1, K)))
    leaves = (np.full((S, N, 1, K), np.log(0.5)), means, np.full((S, N, 1, K), 1000.0))
    return Predictive.from_draws(
        BetaMixture(*(tf.constant(leaf, tf.float32) for leaf in leaves)), group_effect=GroupEffect(tf.constant(0.65))
    )


@pytest.mark.parametrize(("model_spread", "error"), [(0.05, 0.02), (0.2, 0.06)])
def test_few_pairs_keep_the_quantiles(model_spread: float, error: float) -> None:
    """The stated error of the intervals in predictions.parquet: 2% of the rate where the weights are as sure as Upworthy's."""
    full = whole(model_spread)
    few = thin(full, 256)
    np.testing.assert_allclose(few.mean, full.mean, rtol=error / 2)
    for level in (0.05, 0.95):
        np.testing.assert_allclose(few.quantile(level), full.quantile(level), rtol=error)


def test_weights_of_draws_and_nodes_are_respected() -> None:
    """A draw of weight 0 is never taken, a draw of weight 3/4 three times in four."""
    means = tf.reshape(tf.constant([0.1, 0.2, 0.3]), [3, 1, 1, 1])
    full = Predictive.from_draws(BetaMixture(tf.zeros_like(means), means, tf.fill([3, 1, 1, 1], 50.0)))
    few = thin(full._replace(draw_log_weights=tf.math.log([0.75, 0.25, 1e-30])), 200)
    taken = np.asarray(few.density.means).ravel()
    assert np.mean(np.isclose(taken, 0.1)) == pytest.approx(0.75, abs=0.01)
    assert not np.isclose(taken, 0.3).any()


def test_rows_with_counts_of_their_own_are_refused() -> None:
    """Their page weights differ, and one choice of pairs would be wrong for most."""
    full = whole(0.05)
    skewed = full.node_log_weights + tf.reshape(tf.linspace(0.0, 1.0, N), [1, 1, N])
    with pytest.raises(ValueError, match="differ from row to row"):
        thin(full._replace(node_log_weights=skewed))
