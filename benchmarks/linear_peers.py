"""Peers of the linear learner: LinUCB and LinTS as one writes them in NumPy, the same under numba, and MABWiser.

All play one replica of the same job: contexts x [T, D], a linear reward an arm, one decision at a time, or with what is known frozen for a
batch. Ridge 1, known noise; a Thompson draw of x . w is a normal about its mean, as in recbayes. Each returns the regret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recbayes.types import Array


def in_numpy(x: Array, means: Array, noise: Array, z: Array | None) -> float:
    """One decision at a time. means: reward of each arm, [T, K]; noise: [T]; z: normals [T, K] for Thompson, None for UCB."""
    width, arms = x.shape[1], means.shape[1]
    inverse, mean = np.tile(np.eye(width, dtype=x.dtype), (arms, 1, 1)), np.zeros((arms, width), x.dtype)
    flat, regret = inverse.reshape(-1, width), 0.0
    for t, context in enumerate(x):
        along = (flat @ context).reshape(arms, width)  # P x of every arm
        square, guess = along @ context, mean @ context
        arm = (guess + np.sqrt(square) * (1.0 if z is None else z[t])).argmax()
        step, more = along[arm], 1.0 + square[arm]
        mean[arm] += step * ((means[t, arm] + noise[t] - guess[arm]) / more)
        inverse[arm] -= np.outer(step, step / more)
        regret += means[t].max() - means[t, arm]
    return float(regret)


def frozen_in_numpy(x: Array, means: Array, noise: Array, z: Array | None, batch: int) -> float:
    """A batch on one posterior, then all of it at once: a product an arm and an inverse an arm."""
    width, arms = x.shape[1], means.shape[1]
    precision, moments, regret = np.tile(np.eye(width, dtype=x.dtype), (arms, 1, 1)), np.zeros((arms, width), x.dtype), 0.0
    ties = np.random.default_rng(0).random((batch, arms), np.float32) * 1e-5  # all arms tie in the first batch
    for first in range(0, len(x), batch):
        rows = slice(first, first + batch)
        inverse = np.linalg.inv(precision)
        mean = np.einsum("kij,kj->ki", inverse, moments)
        square = np.stack([((x[rows] @ inverse[arm]) * x[rows]).sum(1) for arm in range(arms)], 1)
        chosen = (x[rows] @ mean.T + np.sqrt(square) * (1.0 if z is None else z[rows]) + ties[: len(x[rows])]).argmax(1)
        paid = np.take_along_axis(means[rows], chosen[:, None], 1)[:, 0]
        for arm in range(arms):
            own = x[rows][chosen == arm]
            precision[arm] += own.T @ own
            moments[arm] += own.T @ (paid + noise[rows])[chosen == arm]
        regret += float((means[rows].max(1) - paid).sum())
    return regret


def in_numba() -> Callable[..., float] | None:
    """`in_numpy`'s loop compiled by numba, None where it is not installed."""
    try:
        import numba  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
    def play(x: Any, means: Any, noise: Any, z: Any, thompson: bool) -> float:
        width, arms = x.shape[1], means.shape[1]
        inverse, mean = np.zeros((arms, width, width), x.dtype), np.zeros((arms, width), x.dtype)
        for arm in range(arms):
            for i in range(width):
                inverse[arm, i, i] = 1.0
        along, best_along, regret = np.zeros(width, x.dtype), np.zeros(width, x.dtype), 0.0
        for t in range(len(x)):
            best, arm, best_square, best_guess = -np.inf, 0, 0.0, 0.0
            for k in range(arms):
                square, guess = x.dtype.type(0.0), x.dtype.type(0.0)
                for i in range(width):
                    total = x.dtype.type(0.0)
                    for j in range(width):
                        total += inverse[k, i, j] * x[t, j]
                    along[i] = total
                    square += total * x[t, i]
                    guess += mean[k, i] * x[t, i]
                score = guess + np.sqrt(square) * (z[t, k] if thompson else 1.0)
                if score > best:
                    best, arm, best_square, best_guess = score, k, square, guess
                    best_along[:] = along
            more = 1.0 + best_square
            error = (means[t, arm] + noise[t] - best_guess) / more
            for i in range(width):
                mean[arm, i] += best_along[i] * error
                for j in range(width):
                    inverse[arm, i, j] -= best_along[i] * best_along[j] / more
            regret += means[t].max() - means[t, arm]
        return float(regret)

    return lambda x, means, noise, z: float(play(x, means, noise, np.zeros_like(means) if z is None else z, z is not None))


def in_mabwiser() -> Callable[..., float] | None:
    """The same through MABWiser's `predict` and `partial_fit`, None where it is not installed."""
    try:
        from mabwiser.mab import MAB, LearningPolicy  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None

    def play(x: Array, means: Array, noise: Array, z: Array | None) -> float:
        policy = LearningPolicy.LinUCB(alpha=1.0, l2_lambda=1.0) if z is None else LearningPolicy.LinTS(alpha=1.0, l2_lambda=1.0)
        bandit, regret = MAB(arms=list(range(means.shape[1])), learning_policy=policy, seed=0), 0.0
        bandit.fit(decisions=[0], rewards=[0.0], contexts=np.zeros((1, x.shape[1])))
        for t in range(len(x)):
            arm = bandit.predict(x[t : t + 1])
            bandit.partial_fit([arm], [means[t, arm] + noise[t]], x[t : t + 1])
            regret += means[t].max() - means[t, arm]
        return float(regret)

    return play
