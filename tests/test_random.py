"""The random generator: published answers, the same bits compiled and not, and the distributions that it claims."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes import random

SEED = tf.constant([3, 4])
DRAWS = 200_000
ALARM = 1e-5  # of each Kolmogorov-Smirnov test for right code; at 200,000 draws it sees a gap of .006 between the distributions


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_random123s_published_answers(counter, key, answer):
    words = random.threefry(tuple(tf.constant(key, tf.uint32)), tuple(tf.constant(counter, tf.uint32)))
    assert tuple(int(w) for w in words) == answer


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["bits", "uniform", "uniform64", "split", "fold", "categorical"])
def test_same_bits_uncompiled_and_compiled(name, compiled):
    """A replay on a GPU and the export would otherwise decide differently from the notebook."""
    functions = {
        "bits": lambda seed: random.bits(seed, [7, 3]),
        "uniform": lambda seed: random.uniform(seed, [1001]),
        "uniform64": lambda seed: random.uniform(seed, [5, 2], tf.float64),
        "split": lambda seed: random.split(seed, 5),
        "fold": lambda seed: random.fold(seed, 12),
        "categorical": lambda seed: random.categorical(seed, tf.zeros([4, 3]), 50),
    }
    eager = functions[name](SEED)
    graph = tf.function(functions[name], jit_compile=compiled, autograph=False)(SEED)
    np.testing.assert_array_equal(eager, graph)


@pytest.mark.parametrize("shape", [[], [1], [7], [4, 0], [2, 3, 5]])
def test_shapes_odd_empty_and_scalar(shape):
    assert random.uniform(SEED, shape).shape == tuple(shape)
    assert random.beta(SEED, tf.ones(shape), 2.0).shape == tuple(shape)


def test_shapes_known_only_at_run_time():
    """The export serves any number of decisions."""
    served = tf.function(lambda n: random.normal(SEED, [n, 2]), input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    np.testing.assert_array_equal(served(tf.constant(5)), random.normal(SEED, [5, 2]))


def test_streams_of_a_seed_share_no_word():
    words = [random.bits(SEED, [2000]), random.split(SEED, 500), *(random.fold(SEED, i) for i in range(500))]
    flat = np.concatenate([np.asarray(w).astype(np.int64).ravel() % 2**32 for w in words])
    assert len(np.unique(flat)) >= len(flat) - 5  # 4,000 words of 32 bits: .002 equal pairs expected, 6 or more happen below 1e-18


def test_uniform_never_reaches_its_ends():
    """log(0) and ndtri(1) are infinite."""
    for dtype in (tf.float32, tf.float64):
        values = random.uniform(SEED, [3_000_000], dtype).numpy()
        assert values.min() > 0.0
        assert values.max() < 1.0
    lowest, highest = (0.0 + 0.5) * 2.0**-23, np.float32(2.0**23 - 0.5) * np.float32(2.0**-23)
    assert lowest > 0.0
    assert highest < 1.0


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_uniform_and_normal_distributions(dtype):
    assert stats.kstest(random.uniform(SEED, [DRAWS], dtype), "uniform").pvalue > ALARM
    assert stats.kstest(random.normal(SEED, [DRAWS], dtype), "norm").pvalue > ALARM


@pytest.mark.parametrize(("a", "b"), [(0.2, 2.0), (0.5, 0.5), (1.0, 50.0), (12.0, 900.0), (4e4, 3e6)])
def test_beta_distribution(a, b):
    """Below shape 1, at the worst acceptance rate (1), and where betas are nearly normal."""
    draws = random.beta(SEED, tf.fill([DRAWS], tf.constant(a, tf.float64)), b).numpy()
    assert stats.kstest(draws, stats.beta(a, b).cdf).pvalue > ALARM
    few = random.beta(SEED, tf.fill([DRAWS], a), b).numpy()
    assert stats.kstest(few, stats.beta(a, b).cdf).pvalue > ALARM


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0, 1e5])
def test_gamma_distribution(alpha):
    draws = random.gamma(SEED, tf.fill([DRAWS], tf.constant(alpha, tf.float64))).numpy()
    assert stats.kstest(draws, stats.gamma(alpha).cdf).pvalue > ALARM


def test_normals_compiled_and_not_differ_by_rounding_only():
    compiled = tf.function(lambda: random.normal(SEED, [100_000]), jit_compile=True)()
    np.testing.assert_allclose(random.normal(SEED, [100_000]), compiled, atol=5e-5)


def test_categorical_draws_in_proportion():
    """Alarm 1e-5 for right code; a share off by .01 of .1 is seen with power .99."""
    weights = np.array([[0.1, 0.0, 0.2, 0.7], [0.25, 0.25, 0.25, 0.25]])
    with np.errstate(divide="ignore"):
        drawn = random.categorical(SEED, tf.constant(np.log(weights), tf.float32), 40_000).numpy()
    assert drawn.shape == (40_000, 2)
    assert not (drawn[:, 0] == 1).any()
    for row, share in zip(drawn.T, weights, strict=True):
        counts = np.bincount(row, minlength=4)[share > 0]
        assert stats.chisquare(counts, share[share > 0] * 40_000).pvalue > ALARM
