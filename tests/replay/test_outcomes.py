"""Showings and clicks of a batch, against SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes.random import bits
from recbayes.replay.outcomes import clicks, showings, uniforms

GRID = (np.arange(2000) + 0.5) / 2000
COMPILED = tf.function(clicks, jit_compile=True)


def drawn(u, shown, clicks_left, impressions_left):
    return COMPILED(
        *(
            tf.broadcast_to(tf.constant(float(x), tf.float64), u.shape) if np.ndim(x) == 0 else x
            for x in (u, shown, clicks_left, impressions_left)
        )
    )


@pytest.mark.parametrize(
    ("shown", "hits", "left"),
    [
        (28, 40, 2778),
        (278, 40, 2778),
        (2778, 40, 2778),
        (5, 5, 10),
        (1000, 5000, 10_000),
        (30_000, 60_000, 200_000),
        (3, 0, 5),
        (3, 5, 5),
        (1, 1, 1),
    ],
)
def test_clicks_are_hypergeometric_to_the_draw(shown, hits, left):
    """Inversion agrees with SciPy's quantile at every u: float32 would put the clicks 6% too high at counts of thousands."""
    np.testing.assert_array_equal(drawn(tf.constant(GRID), shown, hits, left), stats.hypergeom(left, hits, shown).ppf(GRID))


def test_nothing_shown_nothing_clicked():
    """Arms that are not shown, and padding, which has nothing left."""
    assert not drawn(tf.constant(GRID), 0, 3, 5).numpy().any()
    assert not drawn(tf.constant(GRID), 0, 0, 0).numpy().any()


def test_batches_in_a_row_are_one_draw():
    """Shown in ten batches, an arm's clicks have the law of one batch: chi^2, alarm 1e-6, sees a mean off by 1%."""
    rng = np.random.default_rng(0)
    hits, left, total = (np.full(100_000, x) for x in (30.0, 600.0, 0.0))
    for _ in range(10):
        got = drawn(tf.constant(rng.random(100_000)), np.full(100_000, 20.0), hits, left).numpy()
        hits, left, total = hits - got, left - 20, total + got
    cells = np.arange(4, 17)
    seen = np.histogram(total, [-1, *(cells + 0.5), 31])[0]
    expected = 100_000 * np.diff([0.0, *stats.hypergeom(600, 30, 200).cdf(cells), 1.0])
    assert ((seen - expected) ** 2 / expected).sum() < stats.chi2(len(cells)).isf(1e-6)


def test_showings_have_the_exact_mean_and_sum():
    """Systematic sampling: whole numbers that sum to the batch, within one of batch x probability, mean exact over u; 0 stays 0."""
    shares = np.array([[0.03, 0.0, 0.47, 0.5, 0.0]] * 2000, np.float32).T  # [A, G]
    for batch in (1.0, 7.0, 100.0, 123_457.0):
        got = showings(tf.constant(shares), tf.fill([2000], batch), tf.constant((np.arange(2000) + 0.5) / 2000)).numpy()
        assert (got.sum(0) == batch).all()
        assert (got[[1, 4]] == 0).all()
        assert (np.abs(got - batch * shares) < 1.01).all()
        np.testing.assert_allclose(got.mean(1), batch * shares[:, 0], atol=2e-3 + 1e-7 * batch)


def test_showings_of_a_group_without_arms():
    """Padding has no candidate and no decisions."""
    assert not showings(tf.zeros([3, 2]), tf.zeros([2]), tf.constant([0.4, 0.9], tf.float64)).numpy().any()


def test_uniforms_are_keyed_by_what_they_are_for():
    """Luck must follow (replica, arm, step), not the place in a chunk; neighbours must be independent (correlation alarm 1e-6)."""
    seeds = tf.constant([[1, 2], [3, 4], [-5, 6]])
    whole = uniforms(seeds[:, None], tf.range(50_000), tf.constant(7)).numpy()
    part = uniforms(seeds[1:2, None], tf.range(49_000, 49_010), tf.constant(7)).numpy()
    np.testing.assert_array_equal(part[0], whole[1, 49_000:49_010])
    later = uniforms(seeds[:, None], tf.range(50_000), tf.constant(8)).numpy()
    streams = np.concatenate([whole, later, whole[:1, ::-1]])
    assert ((whole > 0) & (whole < 1)).all()
    assert np.abs(np.corrcoef(streams) - np.eye(7))[:6, :6].max() < 5 / np.sqrt(50_000)
    for stream in streams:
        assert stats.kstest(stream, "uniform").pvalue > 1e-6
    assert bits([1, 2], [4]).dtype == tf.uint32
