"""How far a posterior's answers are from a reference's, and how that error falls as more draws are averaged.

A prediction that averages S draws errs twice: by what the method believes wrongly, and because S is finite,

    E (m_S - m)^2 = (m_inf - m)^2 + s^2 / S,

with m the reference's predictive mean, m_S the mean of S draws and s their standard deviation. The first part is the method's bias: no
number of draws helps. The second is noise: it falls as 1 / sqrt(S). Variational inference has the first and draws cheaply; a Markov
chain has only the second (where it has converged) and draws dearly. The same holds for the standard deviation.

Everything is in units of the reference's own model_stddev, row by row: a distance of 0.1 is a tenth of what the data leave open.

Source: Robert and Casella 2004, Monte Carlo Statistical Methods, chapter 3; Blei, Kucukelbir and McAuliffe 2017, arXiv:1601.00670.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def distance(draws: Floats, mean: Floats, stddev: Floats) -> dict[str, float]:
    """How far draws are from a reference's mean and standard deviation.

    Args:
      draws: expected click rates under each weight draw, [S, N].
      mean: of the reference, [N].
      stddev: the reference's model_stddev, > 0, [N].

    Returns: `mean_distance`, root mean square over rows of the means' difference, in reference stddevs; `stddev_ratio`, median over rows of
      the stddevs' ratio (1 is right, below 1 too sure); `stddev_distance`, root mean square of that ratio's distance from 1.

    >>> distance(np.array([[1.0], [3.0]]), np.array([2.5]), np.array([2.0]))
    {'mean_distance': 0.25, 'stddev_ratio': 0.5, 'stddev_distance': 0.5}
    """
    draws = np.asarray(draws, np.float64)
    ratio = draws.std(axis=0) / stddev
    return {
        "mean_distance": _size((draws.mean(axis=0) - mean) / stddev),
        "stddev_ratio": float(np.median(ratio)),
        "stddev_distance": _size(ratio - 1.0),
    }


def by_draws(draws: Floats, mean: Floats, stddev: Floats, sizes: Sequence[int] = ()) -> list[dict[str, Any]]:
    """The error of a prediction from S draws, for several S.

    The draws are dealt into as many hands of S as there are, evenly spaced, and the errors are averaged over the hands.

    Args:
      draws: as in `distance`, in the order in which they were drawn, [D, N].
      mean: of the reference, [N].
      stddev: the reference's model_stddev, > 0, [N].
      sizes: the S to look at; by default the powers of 2 from 2 to D. Those above D are left out.

    Returns: a record an S: draws, hands, mean_error and stddev_error, as `distance` counts them (stddevs of a hand with S - 1).

    >>> record = by_draws(np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([2.5]), np.array([1.0]), sizes=(2,))[0]
    >>> record["hands"], record["mean_error"], round(record["stddev_error"], 3)
    (2, 0.5, 0.414)
    """
    draws = np.asarray(draws, np.float64)
    return [_at(draws, mean, stddev, size) for size in sizes or powers(len(draws)) if size <= len(draws)]


def powers(most: int) -> list[int]:
    """The powers of 2 from 2 to at most this.

    >>> powers(20)
    [2, 4, 8, 16]
    """
    return [2**k for k in range(1, most.bit_length()) if 2**k <= most]


def _at(draws: Floats, mean: Floats, stddev: Floats, size: int) -> dict[str, Any]:
    hands = len(draws) // size
    dealt = draws[: hands * size].reshape(size, hands, -1)  # [S, hands, N]: a hand is every hands-th draw
    return {
        "draws": size,
        "hands": hands,
        "mean_error": _size((dealt.mean(axis=0) - mean) / stddev),
        "stddev_error": _size(dealt.std(axis=0, ddof=1) / stddev - 1.0),
    }


def _size(errors: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(errors))))
