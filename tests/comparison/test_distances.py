"""Distances to a reference: against closed forms and simulated draws whose bias and noise are known."""

from __future__ import annotations

import numpy as np

from recbayes.comparison import by_draws, distance

ROWS = 400


def draws(count, *, shift=0.0, scale=1.0, seed=0):
    """Independent draws of each row's rate: the reference's normal, moved and stretched."""
    generator = np.random.default_rng(seed)
    mean, stddev = np.linspace(0.01, 0.03, ROWS), np.linspace(0.001, 0.002, ROWS)
    return mean + stddev * (shift + scale * generator.normal(size=(count, ROWS))), mean, stddev


def test_a_known_bias_and_a_known_spread_are_found():
    """A method that is too sure must show as a ratio below 1, or a reader would take its word."""
    found = distance(*draws(4000, shift=0.5, scale=0.6))
    assert abs(found["mean_distance"] - 0.5) < 0.01  # its stderr is 0.6 / sqrt(4000 * 400) = 0.0005
    assert abs(found["stddev_ratio"] - 0.6) < 0.01
    assert abs(found["stddev_distance"] - 0.4) < 0.01


def test_a_point_has_no_spread():
    """map and mle: ratio 0, distance 1, no division by their stddev."""
    one, mean, stddev = draws(1)
    found = distance(mean[None], mean, stddev)
    assert found == {"mean_distance": 0.0, "stddev_ratio": 0.0, "stddev_distance": 1.0}
    assert by_draws(one, mean, stddev) == []


def test_noise_falls_as_one_over_root_draws_and_bias_stays():
    """The lesson of the picture: E error^2 = bias^2 + s^2 / S. Alarm 1e-6: each error is a mean over 400 rows and many hands."""
    unbiased, mean, stddev = draws(1024, seed=1)
    biased = draws(1024, shift=0.3, seed=2)[0]
    for record, off in zip(by_draws(unbiased, mean, stddev), by_draws(biased, mean, stddev), strict=True):
        noise = 1.0 / record["draws"]
        stderr = np.sqrt(noise**2 * 2 / (ROWS * record["hands"]))  # of a mean of ROWS x hands squared normals of variance 1 / S
        assert abs(record["mean_error"] ** 2 - noise) < 5 * stderr
        assert abs(off["mean_error"] ** 2 - noise - 0.09) < 5 * np.sqrt(stderr**2 + 4 * 0.09 * noise / (ROWS * record["hands"]))


def test_stddevs_of_hands_are_unbiased_to_first_order():
    """With S instead of S - 1 every method would look too sure at few draws: the error at S = 16 is that of a chi, 1 / sqrt(2 (S - 1))."""
    unbiased, mean, stddev = draws(1024, seed=3)
    record = by_draws(unbiased, mean, stddev, sizes=(16,))[0]
    assert abs(record["stddev_error"] - 1.0 / np.sqrt(30.0)) < 0.01


def test_hands_are_dealt_along_the_chain():
    """A chain's neighbours are alike: a hand of neighbours would look like one draw."""
    chain, mean, stddev = draws(8, seed=4)
    slow = np.repeat(chain, 8, axis=0)  # every draw eight times in a row
    dealt = by_draws(slow, mean, stddev, sizes=(8,))[0]
    assert abs(dealt["mean_error"] - np.sqrt(np.mean(((chain.mean(axis=0) - mean) / stddev) ** 2))) < 1e-9
