"""The estimators once more, in plain Python floats and math.fsum: what the fast ones are held against."""

from __future__ import annotations

import math


def mean(values):
    return math.fsum(values) / len(values)


def weights(rows):
    return [target / propensity for target, propensity in zip(rows["target"], rows["propensity"])]


def ips(rows):
    return [w * r for w, r in zip(weights(rows), rows["reward"])], None


def clipped_ips(rows, clip=3.0):
    return [min(w, clip) * r for w, r in zip(weights(rows), rows["reward"])], None


def sub_gaussian(rows, power=0.1):
    return [w / (1.0 - power + power * w) * r for w, r in zip(weights(rows), rows["reward"])], None


def snips(rows):
    return [w * r for w, r in zip(weights(rows), rows["reward"])], weights(rows)


def replay(rows):
    return [p * r for p, r in zip(rows["target"], rows["reward"])], list(rows["target"])


def dm(rows):
    return list(rows["expected"]), None


def residuals(rows, shrunk):
    return [s * (r - q) for s, r, q in zip(shrunk, rows["reward"], rows["predicted"])]


def dr(rows):
    return [e + x for e, x in zip(rows["expected"], residuals(rows, weights(rows)))], None


def switch_dr(rows, threshold=3.0):
    shrunk = [w if w <= threshold else 0.0 for w in weights(rows)]
    return [e + x for e, x in zip(rows["expected"], residuals(rows, shrunk))], None


def dros(rows, shrinkage=5.0):
    shrunk = [shrinkage * w / (w * w + shrinkage) for w in weights(rows)]
    return [e + x for e, x in zip(rows["expected"], residuals(rows, shrunk))], None


def estimate(terms):
    """Value and standard error: a mean, or a ratio by the delta method."""
    total, share = terms
    n = len(total)
    if share is None:
        value = mean(total)
        errors = [t - value for t in total]
    else:
        value = math.fsum(total) / math.fsum(share)
        level = mean(share)
        errors = [(t - value * s) / level for t, s in zip(total, share)]
    return value, math.sqrt(math.fsum(e * e for e in errors) / (n - 1) / n)


def sndr(rows):
    """Value and standard error."""
    w, expected = weights(rows), rows["expected"]
    residual = residuals(rows, w)
    ratio, c, m = math.fsum(residual) / math.fsum(w), mean(expected), mean(w)
    errors = [(x - ratio * v) / m + e - c for x, v, e in zip(residual, w, expected)]
    return ratio + c, math.sqrt(math.fsum(e * e for e in errors) / (len(w) - 1) / len(w))


def clustered(terms, clusters):
    """Standard error over clusters, each one whole."""
    total, share = terms
    share = share or [1.0] * len(total)
    value = math.fsum(total) / math.fsum(share)
    sums = {}
    for t, s, c in zip(total, share, clusters):
        sums[c] = sums.get(c, 0.0) + t - value * s
    g = len(sums)
    return math.sqrt(math.fsum(x * x for x in sums.values()) * g / (g - 1)) / math.fsum(share)


def effective(values):
    return math.fsum(values) ** 2 / math.fsum(v * v for v in values)
