"""Fixed-feature problems whose posterior is known without this project's code: NumPy and SciPy in float64, by quadrature or closed form.

The network is one dense layer on given features, so a posterior of the last layer is the whole posterior. The reference is the mean and
the standard deviation of each entry of the head under prior and likelihood: Gauss-Hermite quadrature in all dimensions about the mode,
whitened by the curvature there; for `linear_gaussian` the closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import minimize
from scipy.special import betaln, expit, logsumexp
from scipy.stats import chi2

import recbayes as rb
from recbayes.posteriors import Network
from recbayes.training import Rows, Schedule, train

PRIOR_STDDEV = 2.0
NOISE = 0.5
"""Standard deviation about a linear mean in `linear_gaussian`."""
SEED = tf.constant([11, 12], tf.int32)


class Problem(NamedTuple):
    """Rows with features, and the density family of their click rate.

    features: [N, H]; free: the head's entries that the likelihood depends on, (row, column) of [H + 1, P], the bias in the last row;
    log_likelihood: (head's free entries [n, F], features [N, H + 1], clicks, impressions) -> [n].
    """

    family: Any
    features: Any
    clicks: Any
    impressions: Any
    free: list[tuple[int, int]]
    log_likelihood: Callable[..., Any]

    def times(self, copies: int) -> Problem:
        """The same rows that many times over."""
        return self._replace(
            features=np.tile(self.features, (copies, 1)), clicks=np.tile(self.clicks, copies), impressions=np.tile(self.impressions, copies)
        )


class Reference(NamedTuple):
    """Mean and standard deviation of the head's free entries, [F]."""

    mean: Any
    stddev: Any


def logistic(rows: int = 300, seed: int = 0) -> Problem:
    """One impression a row, some 30% clicked."""
    return binomial_problem(rows, 1, -0.8, seed)


def rare_clicks(rows: int = 200, seed: int = 1) -> Problem:
    """Poisson-like: 300 impressions a row at a rate near 1%."""
    return binomial_problem(rows, 300, -4.6, seed)


def many_clicks(rows: int = 60, seed: int = 2) -> Problem:
    """Linear-Gaussian to within its error: 20,000 impressions a row, so the empirical logit is normal with a known variance."""
    return binomial_problem(rows, 20_000, -1.0, seed)


def binomial_problem(rows: int, impressions: int, level: float, seed: int) -> Problem:
    """Binomial counts with a logit linear in two features."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 2))
    rate = expit(level + features @ [0.4, -0.3])
    clicks = generator.binomial(impressions, rate)

    def log_likelihood(head: Any, features: Any, clicks: Any, impressions: Any) -> Any:
        logits = head @ features.T  # [n, N]
        return (clicks * logits - impressions * np.logaddexp(0.0, logits)).sum(axis=1)

    free = [(0, 0), (1, 0), (2, 0)]
    return Problem(rb.point(), features, clicks, np.full(rows, impressions), free, log_likelihood)


def beta_binomial(rows: int = 150, seed: int = 3) -> Problem:
    """Rates that scatter about a mean near 5%, concentration near 60, both functions of one feature; 100 impressions a row."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 1))
    mean, size = expit(-3.0 + 0.4 * features[:, 0]), np.exp(4.0 + 0.2 * features[:, 0])
    clicks = generator.binomial(100, generator.beta(mean * size, (1.0 - mean) * size))

    def log_likelihood(head: Any, features: Any, clicks: Any, impressions: Any) -> Any:
        means, sizes = expit(head[:, :2] @ features.T), np.exp(head[:, 2:] @ features.T)  # [n, N]
        a, b = means * sizes, (1.0 - means) * sizes
        return (betaln(a + clicks, b + impressions - clicks) - betaln(a, b)).sum(axis=1)

    free = [(0, 1), (1, 1), (0, 2), (1, 2)]
    return Problem(rb.beta_mixture(components=1), features, clicks, np.full(rows, 100), free, log_likelihood)


def linear_gaussian(rows: int = 20, seed: int = 4) -> Problem:
    """Numbers in place of counts, normal about a mean that is linear in two features: what the quadrature is checked by."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 2))
    values = features @ [0.4, -0.3] + NOISE * generator.normal(size=rows)

    def log_likelihood(head: Any, features: Any, values: Any, impressions: Any) -> Any:
        return -0.5 * np.square((values - head @ features.T) / NOISE).sum(axis=1)

    return Problem(None, features, values, np.ones(rows), [(0, 0), (1, 0), (2, 0)], log_likelihood)


def reference(problem: Problem, nodes: int = 13) -> Reference:
    """Mean and standard deviation of the free entries by tensor-product Gauss-Hermite quadrature."""
    features = np.concatenate([problem.features, np.ones((len(problem.features), 1))], axis=1)

    def log_posterior(head: Any) -> Any:
        prior = -0.5 * np.square(head / PRIOR_STDDEV).sum(axis=1)
        return prior + problem.log_likelihood(head, features, problem.clicks, problem.impressions)

    start = np.zeros(len(problem.free))
    start[[i for i, (row, _) in enumerate(problem.free) if row == features.shape[1] - 1]] = [-2.0, 3.0][: problem.free[-1][1] or 1]
    mode = minimize(lambda x: -log_posterior(x[None])[0], start, method="BFGS", options={"gtol": 1e-6}).x
    factor = np.linalg.cholesky(np.linalg.inv(curvature(log_posterior, mode)))
    z, log_weights = np.polynomial.hermite_e.hermegauss(nodes)[0], np.log(np.polynomial.hermite_e.hermegauss(nodes)[1])
    grid = np.array(list(product(z, repeat=len(mode))))
    weights = np.array(list(product(log_weights, repeat=len(mode)))).sum(axis=1)
    points = mode + grid @ factor.T
    chunks = [log_posterior(points[i : i + 4096]) for i in range(0, len(points), 4096)]
    log_f = np.concatenate(chunks) + 0.5 * np.square(grid).sum(axis=1) + weights
    shares = np.exp(log_f - logsumexp(log_f))
    mean = shares @ points
    return Reference(mean, np.sqrt(shares @ np.square(points - mean)))


def curvature(log_posterior: Callable[[Any], Any], mode: Any, step: float = 1e-3) -> Any:
    """Minus the Hessian by central differences of scaled steps, [F, F]."""
    size = len(mode)
    scale = np.array(
        [step / np.sqrt(max(-second(log_posterior, mode, np.eye(size)[i] * step, np.eye(size)[i] * step), 1e-12)) for i in range(size)]
    )
    scale = np.minimum(scale * 30.0, 0.05)
    found = np.empty((size, size))
    for i, j in product(range(size), repeat=2):
        found[i, j] = -second(log_posterior, mode, np.eye(size)[i] * scale[i], np.eye(size)[j] * scale[j]) / (scale[i] * scale[j])
    return found


def second(f: Callable[[Any], Any], at: Any, a: Any, b: Any) -> float:
    """The mixed second difference of f along a and b."""
    values = f(np.stack([at + a + b, at + a - b, at - a + b, at - a - b]))
    return float(values[0] - values[1] - values[2] + values[3]) / 4.0


def network(problem: Problem, replicas: int = 1, prior_stddev: float = PRIOR_STDDEV) -> tuple[Network, Rows]:
    """A dense layer on the features, each row a group of its own.

    With replicas the layer has that many independent heads on the same rows: as many posteriors for the price of one chain.
    """
    tf.keras.utils.set_random_seed(0)
    rows, width = problem.features.shape
    size = problem.family.size
    entry = {"x": keras.Input((width,), name="x")}
    model = keras.Model(entry, keras.layers.Dense(size * replicas, kernel_initializer="zeros", name="head")(entry["x"]))
    start = problem.family.start(problem.clicks, problem.impressions)
    model.get_layer("head").bias.assign(np.tile(start, replicas))

    def log_likelihood(outputs: Any, extras: Any, batch: Any) -> Any:
        heads = tf.transpose(tf.reshape(outputs, [-1, replicas, size]), [1, 0, 2])  # [R, N, P]
        each = tf.reduce_sum(problem.family.density(heads).log_marginal(batch.clicks, batch.impressions), 0)
        return tf.math.unsorted_segment_sum(each, batch.segments, tf.shape(batch.groups)[0])

    own = np.arange(rows, dtype=np.int32)
    counts = (problem.clicks.astype(np.float32), problem.impressions.astype(np.float32))
    family = problem.family if replicas == 1 else None
    return (
        Network(model, (prior_stddev, prior_stddev), log_likelihood, {}, rows, family=family),
        Rows({"x": problem.features.astype(np.float32)}, *counts, own, own),
    )


def posterior_of(
    problem: Problem, method: Any, *, replicas: int = 1, epochs: int = 300, batch_size: int = 10**6, draws: int | None = None
) -> Reference:
    """What a method says of the free entries after training through the one loop, by its draws' outputs at unit inputs."""
    drawn = head_draws(*trained(problem, method, replicas=replicas, epochs=epochs, batch_size=batch_size), method, draws or method.draws)
    each = drawn.reshape(len(drawn), drawn.shape[1], replicas, -1)  # [S, H + 1, R, P]
    free = np.stack([each[:, row, :, column] for row, column in problem.free], axis=-1).reshape(-1, len(problem.free))
    return Reference(free.mean(axis=0), free.std(axis=0))


def trained(problem: Problem, method: Any, *, replicas: int = 1, epochs: int = 300, batch_size: int = 10**6) -> tuple[Network, Any]:
    """The network and the method's state after training."""
    net, rows = network(problem, replicas)
    return net, train(net, method, rows, Schedule(epochs, batch_size, learning_rate=0.05, oov_share=0.0)).state


def head_draws(net: Network, state: Any, method: Any, draws: int) -> Any:
    """The head under each draw, [S, H + 1, P], the bias in the last row: outputs at 0 and at each unit vector, and their differences."""
    width = net.model.input["x"].shape[1]
    inputs = {"x": tf.constant(np.concatenate([np.eye(width), np.zeros((1, width))]), tf.float32)}
    outputs = np.asarray(method.outputs(net, method.sample(net, state, draws, SEED), inputs), np.float64)
    return np.concatenate([outputs[:, :-1] - outputs[:, -1:], outputs[:, -1:]], axis=1)


def distance(found: Reference, right: Reference) -> tuple[float, float]:
    """Largest error of a mean, in posterior standard deviations, and of a standard deviation, as a share."""
    return float(np.max(np.abs(found.mean - right.mean) / right.stddev)), float(np.max(np.abs(found.stddev / right.stddev - 1.0)))


def ranks(
    method: Any, *, datasets: int, prior_factor: float = 1.0, seed: int = 0, width: int = 4, rows: int = 8, noise: float = 12.0
) -> Any:
    """Simulation-based calibration: ranks of true weights among a method's draws, each of 0 to draws, [datasets x width].

    Weights come from their prior N(0, 1), 8 rows for 4 weights are normal about a linear mean, and the method is told a prior
    `prior_factor` times as wide. One network of as many heads as data sets holds all of them: a row belongs to one. Designs are
    orthogonal, so that weights, and with them ranks, are independent.

    Source: Talts, Betancourt, Simpson, Vehtari, Gelman 2018, Validating Bayesian inference algorithms, arXiv:1804.06788.
    """
    generator = np.random.default_rng(seed)
    designs = np.concatenate([orthogonal(generator, rows, width) for _ in range(datasets)])  # [N, W], the last column ones
    owner = np.repeat(np.arange(datasets), rows).astype(np.int32)
    truth = generator.normal(size=(datasets, width))
    values = (designs * truth[owner]).sum(axis=1) + noise * generator.normal(size=len(owner))
    entry = {"x": keras.Input((width - 1,), name="x")}
    model = keras.Model(entry, keras.layers.Dense(datasets, kernel_initializer="zeros", name="head")(entry["x"]))

    def log_likelihood(outputs: Any, extras: Any, batch: Any) -> Any:
        own = tf.gather(outputs, batch.inputs["owner"], batch_dims=1)
        return -0.5 * tf.square((batch.clicks - own) / noise)

    net = Network(model, (prior_factor, prior_factor), log_likelihood, {}, len(owner))
    inputs = {"x": designs[:, :-1].astype(np.float32), "owner": owner}
    alone = np.arange(len(owner), dtype=np.int32)
    data = Rows(inputs, values.astype(np.float32), np.ones(len(owner), np.float32), alone, alone)
    state = train(net, method, data, Schedule(150, 10**6, learning_rate=0.05, oov_share=0.0)).state
    drawn = head_draws(net, state, method, method.draws)  # [S, W, R]
    return (drawn < truth.T[None]).sum(axis=0).ravel()


def uniformity(ranks: Any, draws: int, bins: int = 8) -> float:
    """p-value of chi^2 over equal bins of the ranks 0 to draws."""
    seen = np.bincount(ranks * bins // (draws + 1), minlength=bins)
    expected = len(ranks) / bins
    return float(chi2.sf(((seen - expected) ** 2 / expected).sum(), bins - 1))


def orthogonal(generator: Any, rows: int, width: int) -> Any:
    """A design [rows, width] of orthogonal columns of length sqrt(rows), the last all ones."""
    columns = np.concatenate([np.ones((rows, 1)), generator.normal(size=(rows, width - 1))], axis=1)
    basis = np.linalg.qr(columns)[0] * np.sqrt(rows)
    return np.concatenate([basis[:, 1:], np.ones((rows, 1))], axis=1)
