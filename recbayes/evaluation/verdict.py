"""The verdict: may the interval beside an estimate be believed?

Each check looks at one way in which off-policy estimates go wrong and says nothing, `caution` or `do_not_trust`, with its figures. The
verdict is the gravest. The thresholds were chosen on simulated logs (benchmarks/evaluation_study.py) so that intervals called `trust`
cover at their level; what each is for stands in docs/evaluation.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from recbayes.evaluation.intervals import Interval
from recbayes.evaluation.statistics import Overview
from recbayes.evaluation.sums import Weighing
from recbayes.evaluation.value import Value
from recbayes.types import Array

Severity = Literal["trust", "caution", "do_not_trust"]
RANKS: tuple[Severity, ...] = ("trust", "caution", "do_not_trust")

EFFECTIVE_CLICKS = (50.0, 10.0)
EFFECTIVE_ROWS = (400.0, 100.0)
LARGEST_SHARE = (0.1, 0.3)
MATCHED = (100.0, 30.0)
TAIL = (2.0, 1.3)
UNSUPPORTED = (0.01, 0.05)
MEAN_WEIGHT = (2.0, 4.0)
AGREEMENT = (2.0, 4.0)
DRIFT = (3.0, 5.0)
LOST = (0.3, 1.0)
CLUSTERS = (30, 8)
"""Thresholds of `caution` and `do_not_trust`; see docs/evaluation.md."""


class Facts(NamedTuple):
    """What the checks look at, of one estimate.

    kind: the estimator. estimate, interval: its own. overview: of the raw weights. weighing: of its own. lost: what shrinking took.
    halves: the estimate from each half of the log. others: estimates of the same policy by other estimators. unsupported: share of the
    policy's choices that the log never shows, and how many items they are. reward_range: what a reward can be. clusters: how many.
    weighted: whether weights enter at all. propensities: doubts about the propensities themselves.
    """

    kind: str
    estimate: Value
    interval: Interval
    overview: Overview
    weighing: Weighing
    lost: Value
    halves: tuple[Value, Value]
    others: Mapping[str, Value]
    unsupported: tuple[float, int]
    reward_range: tuple[float, float]
    clusters: int
    weighted: bool
    propensities: tuple[Doubt, ...]


class Doubt(NamedTuple):
    """What a check has to say."""

    check: str
    severity: Severity
    message: str


class Verdict(NamedTuple):
    """The gravest severity, all reasons in a text, and the doubts behind them."""

    verdict: Severity
    reason: str
    doubts: tuple[Doubt, ...]


def judge(facts: Facts) -> Verdict:
    """The verdict on one estimate."""
    doubts = tuple(sorted(_doubts(facts), key=lambda doubt: -RANKS.index(doubt.severity)))
    if not doubts:
        size = f"{facts.weighing.effective_rows:,.0f} of {facts.overview.decisions:,.0f} rows"
        return Verdict("trust", f"All checks pass: {facts.weighing.effective_clicks:,.0f} effective clicks, effective size {size}.", ())
    return Verdict(doubts[0].severity, " ".join(doubt.message for doubt in doubts), doubts)


def _doubts(facts: Facts) -> Iterator[Doubt]:
    yield from facts.propensities
    for check in CHECKS if math.isfinite(facts.estimate.value) else (overlap,):
        severity, message = check(facts)
        if severity != "trust":
            yield Doubt(check.__name__, severity, message)


Found = tuple[Severity, str]


def above(value: float, thresholds: tuple[float, float]) -> Severity:
    """What a value says whose large values are bad.

    >>> above(0.2, (0.1, 0.3))
    'caution'
    """
    return RANKS[int(value > thresholds[0]) + int(value > thresholds[1])]


def below(value: float, thresholds: tuple[float, float]) -> Severity:
    """What a value says whose small values are bad."""
    return above(-value, (-thresholds[0], -thresholds[1]))


def overlap(facts: Facts) -> Found:
    """Nothing matches: there is no estimate, and it is not 0."""
    rows = facts.overview.decisions
    return (
        "do_not_trust",
        f"No overlap: the policy gives probability 0 to what each of the {rows:,.0f} rows shows, so nothing is known of its value. "
        "Check that items (and positions) are named alike in log and policy, or log with some exploration.",
    )


def effective_clicks(facts: Facts) -> Found:
    """An estimate rests on as many clicks as carry it, not on as many as there are."""
    own, size = facts.weighing, facts.overview.decisions
    return below(own.effective_clicks, EFFECTIVE_CLICKS) if facts.weighted else "trust", (
        f"{own.rewarded:,.0f} clicks, {own.effective_clicks:,.1f} effective ones (effective size {own.effective_rows:,.0f} of {size:,.0f} "
        f"rows): fewer than {EFFECTIVE_CLICKS[0]:.0f} make the interval's level a guess."
    )


def largest_click(facts: Facts) -> Found:
    """One click that carries the estimate could as well not have happened."""
    share = facts.weighing.largest_share
    return above(share, LARGEST_SHARE) if facts.weighted else "trust", f"One click is {share:.0%} of the estimate."


def effective_rows(facts: Facts) -> Found:
    """Weights so uneven that few rows decide."""
    own, size = facts.weighing.effective_rows, facts.overview.decisions
    return below(own, EFFECTIVE_ROWS) if facts.weighted else "trust", f"Effective size {own:,.0f} of {size:,.0f} rows."


def matched(facts: Facts) -> Found:
    """Rows in which the policy would have shown the same."""
    rows, size = facts.overview.matched, facts.overview.decisions
    text = f"The policy would have shown the same item in {rows:,.1f} of {size:,.0f} rows ({rows / size:.2%})."
    return below(rows, MATCHED) if facts.weighted else "trust", text


def weight_tail(facts: Facts) -> Found:
    """A tail index below 2: the weights' variance is infinite as far as the log can tell, and so is the error."""
    index = tail_index(facts.overview.largest, facts.overview.rows)
    unshrunk = facts.weighted and facts.weighing.weight == facts.overview.weighing.weight
    text = f"The largest weights thin out slowly (tail index {index:.1f}, below {TAIL[0]:.0f}; largest weight "
    return below(index, TAIL) if unshrunk else "trust", text + f"{facts.overview.largest.max():,.0f}): larger ones may be to come."


def support(facts: Facts) -> Found:
    """What the log never shows, no weighting can know."""
    share, items = facts.unsupported
    return above(share, UNSUPPORTED), (
        f"{share:.1%} of the policy's choices ({items:,} items, counted by position) are never shown by the log: nothing is known of them."
    )


def mean_weight(facts: Facts) -> Found:
    """Weights have mean 1 if propensities are right and every choice of the policy can be logged."""
    raw, n = facts.overview.weighing, facts.overview.decisions
    mean = raw.weight / n
    stderr = math.sqrt(max(raw.weight_square / n - mean**2, 0.0) / n)
    z = (mean - 1.0) / max(stderr, 1e-12) if abs(mean - 1.0) > 1e-3 else 0.0
    text = f"Weights have mean {mean:.3f} and should have 1 (z = {z:.1f}): propensities are off, or large weights are yet to come."
    return above(abs(z), MEAN_WEIGHT) if facts.weighted else "trust", text


def agreement(facts: Facts) -> Found:
    """Estimators that are right for different reasons should agree."""
    worst, name = 0.0, ""
    for other, value in facts.others.items():
        z = abs(value.value - facts.estimate.value) / max(value.stderr, facts.estimate.stderr, 1e-300)
        worst, name = max((worst, name), (z if math.isfinite(z) else 0.0, other))
    return above(worst, AGREEMENT), f"{name or 'Another estimator'} differs by {worst:.1f} standard errors."


def reward_range(facts: Facts) -> Found:
    """A click rate outside [0, 1] is none."""
    (low, high), value = facts.reward_range, facts.estimate.value
    width = 1e-9 * (high - low)
    outside = not low - width <= value <= high + width
    over = facts.interval.low < low - width or facts.interval.high > high + width
    text = f"The {'estimate' if outside else 'interval'} leaves the rewards' range [{low:g}, {high:g}]"
    mend = "; snips stays inside, clipped_ips, sndr and dros leave it less."
    return ("do_not_trust" if outside else "caution" if over else "trust"), text + mend


def drift(facts: Facts) -> Found:
    """The two halves of the log should tell the same; where one of them tells nothing, that is said."""
    first, second = facts.halves
    empty = [name for name, half in (("first", first), ("second", second)) if not math.isfinite(half.value)]
    if empty:
        return "caution", f"Drift can't be judged: the {' and '.join(empty)} half of the log has no row that the policy would have shown."
    apart = math.hypot(first.stderr, second.stderr)
    if not math.isfinite(apart):
        return "caution", "Drift can't be judged: a half of the log has too few rows or clusters for an error."
    z = abs(first.value - second.value) / apart if apart else 0.0
    text = f"The log's halves differ by {z:.1f} standard errors ({first.value:.5g}, then {second.value:.5g}): things changed over the log."
    return above(z, DRIFT), text


def shrinkage(facts: Facts) -> Found:
    """What shrinking took is bias that the interval does not hold."""
    taken = (abs(facts.lost.value) + facts.lost.stderr) / facts.estimate.stderr if facts.lost.stderr > 0 else 0.0
    text = f"Shrinking the weights took {facts.lost.value:.2g} from the estimate (standard error {facts.lost.stderr:.1g})"
    return above(taken, LOST), text + ": bias outside the interval."


def clusters(facts: Facts) -> Found:
    """An error over few clusters is itself unsure."""
    return below(facts.clusters, CLUSTERS), f"The log has {facts.clusters} clusters."


def model_bias(facts: Facts) -> Found:
    """The direct method's interval holds the error of fitting its model, not that it may be the wrong one."""
    return (
        "caution" if facts.kind == "dm" else "trust",
        "The direct method is as right as its model: what the model misses is outside the interval.",
    )


def uniform_log(facts: Facts) -> Found:
    """Replay's matches are a fair sample of a log only where all was shown with equal probability."""
    low, high = facts.overview.propensities
    text = f"Replay needs a log with equal propensities; these go from {low:.3g} to {high:.3g}. Use snips."
    return ("do_not_trust" if facts.kind == "replay" and high > low * (1.0 + 1e-6) else "trust"), text


CHECKS: tuple[Callable[[Facts], Found], ...] = (
    effective_clicks,
    largest_click,
    effective_rows,
    matched,
    mean_weight,
    weight_tail,
    support,
    agreement,
    reward_range,
    drift,
    shrinkage,
    clusters,
    model_bias,
    uniform_log,
)


def tail_index(largest: Array, rows: int) -> float:
    """Hill's estimate of the exponent with which the largest weights thin out: from the largest tenth, at most those that are kept.

    Infinite where they are equal, and where there are fewer than 50 to go by.

    Source: Hill 1975, A simple general approach to inference about the tail of a distribution.

    >>> 2.5 < tail_index(np.random.default_rng(0).pareto(3.0, 4000) + 1.0, 40_000) < 3.5
    True
    """
    top = np.sort(largest[largest > 0])[-max(rows // 10, 1) :]
    mean = float(np.log(top / top[0]).mean()) if len(top) >= 50 else 0.0
    return 1.0 / mean if mean > 0 else math.inf
