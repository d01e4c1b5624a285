"""What densities are held against, in float64 NumPy and SciPy and by other formulas."""

import numpy as np
from scipy.special import betaln, expit, gammaln, logit, logsumexp


def log_choose(clicks, impressions):
    return gammaln(impressions + 1) - gammaln(clicks + 1) - gammaln(impressions - clicks + 1)


def log_integral(a, b):
    """Log of the integral of p^(a-1) (1-p)^(b-1) over (0, 1), by the trapezoidal rule on the logit; a, b [...]."""
    a, b = a[..., None], b[..., None]
    middle, t = np.log(a / b), np.linspace(-1.0, 1.0, 20_001)
    x = middle + np.where(t < 0, t * (45 / a + 12 / np.sqrt(a) + 12 / np.sqrt(b)), t * (45 / b + 12 / np.sqrt(a) + 12 / np.sqrt(b)))
    log_f = -a * np.logaddexp(0.0, -x) - b * np.logaddexp(0.0, x)
    halves = [np.s_[..., :10_001], np.s_[..., 10_000:]]
    parts = []
    for half in halves:
        ends = np.zeros(10_001)
        ends[[0, -1]] = np.log(0.5)
        step = x[half][..., 1] - x[half][..., 0]
        parts.append(logsumexp(log_f[half] + ends, axis=-1) + np.log(step))
    return np.logaddexp(*parts)


def beta_binomial_by_quadrature(mean, concentration, clicks, impressions):
    a, b = mean * concentration, (1 - mean) * concentration
    return log_choose(clicks, impressions) + log_integral(a + clicks, b + impressions - clicks) - log_integral(a, b)


def beta_binomial(mean, concentration, clicks, impressions):
    a, b = mean * concentration, (1 - mean) * concentration
    return log_choose(clicks, impressions) + betaln(a + clicks, b + impressions - clicks) - betaln(a, b)


def groups_on_a_grid(density, tau, clicks, impressions, segments, *, nodes=401, middle=None, width=None):
    """Log marginal of each group by a fixed grid of the effect, [G]; also nodes [G, Q] and log integrand [G, Q].

    By default over 8 prior standard deviations to either side, else `width` a group about `middle`.
    """
    log_weights, means, concentrations = (np.asarray(leaf, np.float64) for leaf in density)
    groups = segments.max() + 1
    z = np.linspace(-8.0, 8.0, nodes)
    u = np.zeros((groups, 1)) + tau * z if middle is None else middle[:, None] + width[:, None] * z
    values = np.empty((groups, nodes))
    for i in range(nodes):
        shifted = expit(logit(means) + u[segments, i][:, None])
        rows = logsumexp(log_weights + beta_binomial(shifted, concentrations, clicks[:, None], impressions[:, None]), axis=1)
        values[:, i] = np.bincount(segments, rows, groups)
    log_f = values - 0.5 * (u / tau) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(tau) + np.log(u[:, 1] - u[:, 0])[:, None]
    return logsumexp(log_f, axis=1), u, log_f


def groups_on_a_fine_grid(density, tau, clicks, impressions, segments):
    """The same where posteriors are narrower than a fixed grid's step: three times around the moments so far, [G]."""
    log_marginal, u, log_f = groups_on_a_grid(density, tau, clicks, impressions, segments)
    for _ in range(3):
        weights = np.exp(log_f - log_f.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        middle = (weights * u).sum(1)
        stddev = np.sqrt((weights * (u - middle[:, None]) ** 2).sum(1))
        log_marginal, u, log_f = groups_on_a_grid(
            density, tau, clicks, impressions, segments, middle=middle, width=np.maximum(1.5 * stddev, (u[:, 1] - u[:, 0]) / 4)
        )
    return log_marginal


def on_the_logit(log_density, middle, width, *, points=2001):
    """A distribution of the logit on a fine grid: points x [..., P] and normalised weights, and the log of the integral [...].

    log_density: x [..., P] -> [..., P], concave; it is cut where it is 40 below its peak, which is searched from `middle` in steps
    of `width`, each [...].
    """
    low, high = middle - width, middle + width
    for _ in range(3):
        x = low[..., None] + (high - low)[..., None] * np.linspace(0.0, 1.0, points)
        log_f = log_density(x)
        near = log_f > log_f.max(-1, keepdims=True) - 40.0
        first, last = near.argmax(-1), points - 1 - near[..., ::-1].argmax(-1)
        step = x[..., 1] - x[..., 0]
        low, high = low + step * (first - 1), low + step * (last + 1)
    log_total = logsumexp(log_f, axis=-1)
    return x, np.exp(log_f - log_total[..., None]), log_total + np.log(step)


def log_counts(clicks, impressions, x):
    """Log of the binomial probability, coefficient included, at logits x [..., P]; counts [...]."""
    clicks, impressions = clicks[..., None], impressions[..., None]
    return log_choose(clicks, impressions) - clicks * np.logaddexp(0.0, -x) - (impressions - clicks) * np.logaddexp(0.0, x)
