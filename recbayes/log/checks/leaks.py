"""Features that know the outcome: computed from the clicks that they are meant to predict.

An honest feature, however good, knows at most the true click rates; a leak knows the chance in the recorded clicks too. Take two rows
and their standardised difference z (arcsine scale: unit normal noise around the true difference). Turn its sign so that the row with
the larger value of the feature comes first. If the feature depends on the true rates only, the density of the turned z is
integral phi(z - s) dH(s), and f(z) exp(z^2 / 2) is log-convex: a unit normal blurs every edge. So the numbers of pairs in three
neighbouring bins of width w obey log(middle^2 / (left right)) <= w^2, exactly, for every H. A feature made from the outcome has an
edge (there are no pairs on the wrong side of 0) and breaks this: that is a proof, whatever the true rates are.

Noise in a leak can hide the edge. What remains is plausibility: a feature that orders rows as well as their true rates would, or that
separates clicks from misses almost perfectly, is called suspicious, not proven: a very good feature can do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import scipy.special

from recbayes.log.checks.finding import Finding, Severity
from recbayes.log.columns import listed
from recbayes.log.counts import equal_rows
from recbayes.log.log import Log, seconds
from recbayes.types import Array

EXPECTED_CLICKS = 10.0
"""Pairs are made of rows that would have so many clicks at the common rate: with fewer, noise is far from normal."""
WIDTHS = (0.5, 1.0)
REACH = 4.0
"""Bins of these widths are scanned from -4 to 4."""
MARGIN = 0.3
"""Allowed excess of log(middle^2 / (left right)) a unit of width: what ten clicks depart from normal noise."""
Z_EDGE = 4.5
"""A scan of some 50 dependent z-scores: false alarms below 1e-3 a feature; 250 simulated honest features reached 2.3 at most."""
AS_TRUTH = 0.95
"""Share of what the true rates would order rightly, above which a feature is suspicious; the headlines of the example reach .2."""
SEPARATES = 0.98
"""Area under the ROC curve above which a feature is suspicious."""
FEW = 100
"""Fewer pairs (or a fifth as many clicks) are not judged."""
MOST_ROWS = 500_000
MOST_PAIRS = 400_000
PARTNERS = 5
"""Each row is paired with so many of other groups."""


class Pairs(NamedTuple):
    """Pairs of rows [P]: the two, z of their difference, the unit whose chance pairs share, and the spread of true differences in z."""

    first: Array
    second: Array
    z: Array
    unit: Array
    true_stddev: float


def leaks(log: Log, seed: int = 0) -> Iterator[Finding]:
    """Features that know the outcome, each with what gave it away."""
    if log.columns.clicks is None or not log.columns.features:
        return
    rng = np.random.default_rng(seed)
    log = _some_rows(log.counts() if log.is_events else log, rng)
    within, across = pairs_within(log, rng), pairs_across(log, rng)
    clean = []
    for name in log.columns.features:
        score = scores(log, name, rng)
        if score is None:
            continue
        reason, severity = _verdict(score, within, across, log)
        if severity == "ok":
            clean.append(name)
        else:
            yield Finding("leaks", severity, f"{name} {reason}", len(log))
    if clean:
        yield Finding("leaks", "ok", f"No sign that these were made from the clicks: {listed(clean)}.")


def _verdict(score: Array, within: Pairs, across: Pairs, log: Log) -> tuple[str, Severity]:
    """What gives a feature away, in words, and how sure that is."""
    for pairs, whose in ((within, "of one group"), (across, "of the log")):
        turned, unit = turn(score, pairs)
        if len(turned) >= FEW and edge(turned, unit) > Z_EDGE:
            return (
                f"was made from the clicks: it knows which of two rows {whose} had more luck, not only which is better. Leave it out.",
                "fail",
            )
    competing = within if log.columns.group is not None else across
    ask = "A very good feature can do so, and one that was written after the clicks. Use it only if it was known before."
    if order(*turn(score, competing), competing.true_stddev) > AS_TRUTH:
        return f"orders rows as well as their true click rates would. {ask}", "warn"
    if separation(score, log.clicks, log.impressions) > SEPARATES:
        return f"separates clicks from misses almost perfectly. {ask}", "warn"
    return "", "ok"


def turn(score: Array, pairs: Pairs) -> tuple[Array, Array]:
    """The z of pairs [P] whose scores differ, its sign turned so that the larger score comes first; and their units."""
    sign = (score[pairs.first] > score[pairs.second]).astype(int) - (score[pairs.first] < score[pairs.second])
    turned, unit = (pairs.z * sign)[sign != 0], pairs.unit[sign != 0]
    return (-turned if turned.sum() < 0 else turned), unit


def edge(turned: Array, unit: Array) -> float:
    """Largest z-score of log(middle^2 / (left right)) - w^2 over all bins: above 0 for no honest feature but by chance.

    Pairs of one unit share their noise: the error comes from the spread of the units' influences (with a count more a bin, so that
    empty ones do not break it).
    """
    codes = np.unique(unit, return_inverse=True)[1]
    best = -np.inf
    for width in WIDTHS:
        bins = np.floor(turned / width).astype(int)
        steps = int(REACH / width)
        for middle in range(-steps, steps):
            where = [bins == middle - 1, bins == middle, bins == middle + 1]
            left, center, right = (float(is_in.sum()) + 1 for is_in in where)
            excess = 2 * np.log(center) - np.log(left) - np.log(right) - width**2
            influence = np.bincount(codes, weights=2 * where[1] / center - where[0] / left - where[2] / right)
            variance = (influence**2).sum() + 4 / center**2 + 1 / left**2 + 1 / right**2
            best = max(best, (excess - MARGIN * width) / np.sqrt(variance))
    return float(best)


def order(turned: Array, unit: Array, true_stddev: float) -> float:
    """How well a feature orders pairs, less two standard errors: 0 is chance, 1 is as well as the true rates would.

    Of two rows z apart, the better-looking one is better with probability Phi(z t / sqrt(1 + t^2)), true differences being normal with
    stddev t in units of the noise.
    """
    if len(turned) < FEW or true_stddev == 0:
        return 0.0
    possible = scipy.special.ndtr(np.abs(turned) * true_stddev / np.sqrt(1 + true_stddev**2)) - 0.5
    share = ((turned > 0) - 0.5).sum() / possible.sum()
    residual = np.bincount(np.unique(unit, return_inverse=True)[1], weights=(turned > 0) - 0.5 - share * possible)
    return float(share - 2 * np.sqrt((residual**2).sum()) / possible.sum())


def separation(score: Array, clicks: Array, impressions: Array) -> float:
    """Area under the ROC curve of a score for clicks against misses, or of its negative; three standard errors below the estimate."""
    known = ~np.isnan(score)
    level = np.unique(score[known], return_inverse=True)[1]
    hits, misses = np.bincount(level, weights=clicks[known]), np.bincount(level, weights=(impressions - clicks)[known])
    if min(hits.sum(), misses.sum()) < FEW / 5:
        return 0.0
    area = (hits * (np.cumsum(misses) - misses / 2)).sum() / (hits.sum() * misses.sum())
    area = max(area, 1 - area)
    return float(area - 3 * np.sqrt(area * (1 - area) / min(hits.sum(), misses.sum())))


def scores(log: Log, name: str, rng: np.random.Generator) -> Array | None:
    """A feature as numbers [N] to order rows by: -inf where it is null, NaN where it cannot be said, None for lists.

    Numbers and times as they are. Any other value is the click rate of its rows in the other half of the clusters, which knows nothing
    of a row's own chance.
    """
    column = log.column(name)
    if pa.types.is_nested(column.type):
        return None
    if _has_order(column.type):
        values = seconds(column)
        return np.where(np.isnan(values), -np.inf, values)
    codes, size = equal_rows(log.table, [name])
    clusters, number = log.clusters
    half = rng.integers(0, 2, number)[clusters]
    rate = log.clicks.sum() / log.impressions.sum()
    result = np.full(len(log), np.nan)
    for own in (0, 1):
        other = half != own
        clicks = np.bincount(codes[other], weights=log.clicks[other], minlength=size)
        impressions = np.bincount(codes[other], weights=log.impressions[other], minlength=size)
        with np.errstate(invalid="ignore"):
            value = np.where(impressions > 0, (clicks + EXPECTED_CLICKS) / (impressions + EXPECTED_CLICKS / rate), np.nan)
        result[~other] = value[codes[~other]]
    return result


def _has_order(kind: Any) -> bool:
    """Numbers, booleans, times."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_timestamp, pa.types.is_date)
    return any(test(kind) for test in tests)


def pairs_within(log: Log, rng: np.random.Generator) -> Pairs:
    """Pairs of rows of one group: neighbours, then every second row, and so on until all or enough."""
    rows = _coarse_enough(log)
    segments = log.segments[0][rows]
    rows = rows[np.argsort(segments, kind="stable")]
    segments = log.segments[0][rows]
    firsts, seconds_, total = [], [], 0
    for step in range(1, len(rows)):
        at = np.flatnonzero(segments[step:] == segments[:-step])
        total += len(at)
        if len(at) == 0 or total > MOST_PAIRS:
            break
        firsts.append(rows[at])
        seconds_.append(rows[at + step])
    none = np.zeros(0, np.int64)
    first, second = np.concatenate([none, *firsts]), np.concatenate([none, *seconds_])
    return _pairs(log, first, second, log.clusters[0][first], rng)


def pairs_across(log: Log, rng: np.random.Generator) -> Pairs:
    """Pairs of rows of different groups, each row a few times."""
    rows = _coarse_enough(log)
    first = np.tile(rows, PARTNERS)
    second = np.concatenate([rng.permutation(rows) for _ in range(PARTNERS)])
    differ = log.segments[0][first] != log.segments[0][second]
    return _pairs(log, first[differ], second[differ], first[differ], rng)


def _pairs(log: Log, first: Array, second: Array, unit: Array, rng: np.random.Generator) -> Pairs:
    """Pairs with their z: differences of arcsin sqrt rates over their stddev. Clicks are blurred by half a click so that ties spread."""
    clicks = log.clicks + rng.uniform(-0.5, 0.5, len(log))
    shown = log.impressions.astype(float)
    scale = np.arcsin(np.sqrt(np.clip((clicks + 0.375) / (shown + 0.75), 0, 1)))
    z = (scale[first] - scale[second]) / np.sqrt(0.25 / (shown[first] + 0.5) + 0.25 / (shown[second] + 0.5))
    true_variance = max(float(np.mean(z**2)) - 1, 0.0) if len(z) else 0.0
    return Pairs(first, second, z, unit, true_variance**0.5)


def _coarse_enough(log: Log) -> Array:
    """Rows with enough impressions for a normal noise, by the common click rate: the row's own clicks have no say."""
    return np.flatnonzero(log.impressions * (log.clicks.sum() / log.impressions.sum()) >= EXPECTED_CLICKS)


def _some_rows(log: Log, rng: np.random.Generator) -> Log:
    """The log, or whole clusters of it chosen at random where it is large."""
    if len(log) <= MOST_ROWS:
        return log
    clusters, number = log.clusters
    return log.take(rng.random(number)[clusters] < MOST_ROWS / len(log))
