"""A linear model under Gaussian noise: the posterior is known in closed form, so a variational one can be held against it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from small import whole

from recbayes.posteriors import Batch, Network
from recbayes.training import Rows

NOISE, PRIOR = 0.5, 0.3


def linear_gaussian(rows: int = 60, size: int = 4, *, bias: bool = False) -> tuple[Network, Batch, Any, Any]:
    """A dense layer under Gaussian noise, its inputs correlated: (network, all rows, exact posterior mean, exact precision).

    With a bias (flat prior: standard deviation 10) its entry comes last.
    """
    generator = np.random.default_rng(1)
    x = generator.normal(size=(rows, size)) @ (np.eye(size) + 0.4) / 1.5
    y = x @ generator.normal(size=size) * 0.4 + NOISE * generator.normal(size=rows)
    entry = {"x": keras.Input((size,), name="x")}
    model = keras.Model(entry, keras.layers.Dense(1, use_bias=bias, kernel_initializer="zeros", name="head")(entry["x"]))

    def log_likelihood(outputs: Any, extras: Any, batch: Batch) -> Any:
        return -0.5 * tf.square((batch.clicks - outputs[:, 0]) / NOISE)

    each = np.arange(rows, dtype=np.int32)
    ones = np.ones(rows, np.float32)
    all_rows = whole(Rows({"x": x.astype(np.float32)}, y.astype(np.float32), ones, each, each))
    prior = np.full(size, PRIOR**-2)
    if bias:
        x, prior = np.c_[x, np.ones(rows)], np.append(prior, 0.01)
    precision = x.T @ x / NOISE**2 + np.diag(prior)
    mean = np.linalg.solve(precision, x.T @ y / NOISE**2)
    return Network(model, (PRIOR, float("inf"))[: 1 + bias], log_likelihood, {}, rows), all_rows, mean, precision


def descended(posterior: Any, net: Network, batch: Batch, *, steps: int) -> Any:
    """The state after so many steps on all rows, the step size falling to a hundredth."""
    update = tf.function(lambda state, seed, rate: posterior.update(net, state, batch, seed, rate)[0])
    state = posterior.init(net, tf.constant([5, 6], tf.int32))
    for step in range(steps):
        rate = 0.02 * (0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * step / steps)))
        state = update(state, tf.constant([7, step]), tf.constant(rate, tf.float32))
    return state
