"""From what one pass gathered of a policy to its estimates, and to the order of several policies."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import stats

from recbayes.engine import Engine
from recbayes.evaluation.estimators.base import Estimator
from recbayes.evaluation.intervals import Interval, Method, bernstein, bootstrap, method_for, normal
from recbayes.evaluation.moments import Moments
from recbayes.evaluation.ranking import Best, Pair, Ranked, best, jackknife, pair
from recbayes.evaluation.resampling import Study, Tell, drawn
from recbayes.evaluation.result import Estimate
from recbayes.evaluation.slope import choose
from recbayes.evaluation.statistics import Overview, Statistics
from recbayes.evaluation.sums import Sums
from recbayes.evaluation.support import Support
from recbayes.evaluation.target import Target
from recbayes.evaluation.value import Value, lost, of_moments, of_sums
from recbayes.evaluation.verdict import Doubt, Facts, judge
from recbayes.types import Array

NO_MATCH = "No overlap here: the policy gives probability 0 to what each of these {rows:,.0f} rows shows."


class Gathered(NamedTuple):
    """Of one policy: sums, support, each fold's expected rewards summed over decisions, and the names of the positions (if few)."""

    statistics: Statistics
    support: Support | None
    by_fold: Array
    places: tuple[Any, ...] = ()

    def merge(self, other: Gathered) -> Gathered:
        """Of both parts' rows."""
        support = self.support.merge(other.support) if self.support is not None and other.support is not None else self.support
        return Gathered(self.statistics.merge(other.statistics), support, self.by_fold + other.by_fold, self.places)


class Chosen(NamedTuple):
    """An estimator at the setting that was given or chosen, with its estimate."""

    estimator: Estimator
    setting: float | None
    sums: Sums
    estimate: Value


def chosen(gathered: Gathered, asked: Sequence[Estimator]) -> list[Chosen]:
    """Each estimator's estimate at its setting, in the order asked for."""
    found = []
    for estimator, candidates in zip(asked, gathered.statistics.sums):
        values = [_value(gathered, estimator, sums) for sums in candidates]
        taken = choose(values) if len(values) > 1 else 0
        found.append(Chosen(estimator, estimator.settings[taken], candidates[taken], values[taken]))
    return found


Draws: TypeAlias = Mapping[tuple[str, int], Array]
"""(policy, place among its estimates) -> the estimate in each resample, [RESAMPLES]."""


def draws_of(
    gathered: Mapping[str, Gathered],
    found: Mapping[str, Sequence[Chosen]],
    method: Method,
    engine: Engine,
    tell: Tell = lambda *told: None,
) -> Draws:
    """The draws of the estimates that are resampled: for their interval, or for the order of the policies."""
    place = ranks_by([one.estimator for one in next(iter(found.values()))])
    known = [policy for policy, ones in found.items() if math.isfinite(ones[place].estimate.value)]
    order = {(policy, place) for policy in known} if len(known) > 1 else set()
    ends = {(policy, i) for policy, ones in found.items() for i, one in enumerate(ones) if interval_of(one, method) == "bootstrap"}
    wanted = sorted(order | ends)
    buckets = next(iter(gathered.values())).statistics.overview.buckets
    return dict(zip(wanted, drawn(Study(buckets, [found[policy][i].sums for policy, i in wanted]), engine, tell)))


def ranks_by(asked: Sequence[Estimator]) -> int:
    """The place of the estimator that ranks: the last one asked for, dm only if alone."""
    return max((i for i, estimator in enumerate(asked) if estimator.kind != "dm"), default=0)


def interval_of(one: Chosen, method: Method) -> str:
    """The interval that an estimate gets; none, where there is no estimate."""
    if not math.isfinite(one.estimate.value):
        return "none"
    if one.estimator.kind == "dm":
        return "jackknife"
    return method_for(method, one.estimate.decisions, one.sums.weighing.effective_clicks)


def estimates_of(
    target: Target,
    gathered: Gathered,
    found: Sequence[Chosen],
    draws: Draws,
    *,
    level: float,
    interval: Method,
    span: tuple[float, float] | None,
    doubts: tuple[Doubt, ...],
) -> list[Estimate]:
    """One policy's estimates, in the order asked for."""
    reach = span or gathered.statistics.overview.rewards
    made = []
    for place, one in enumerate(found):
        others = {o.estimator.kind: o.estimate for o in found if o is not one and o.estimator.kind != "dm" and o.estimator.shrink is None}
        overview, kind = gathered.statistics.overview, one.estimator.kind
        spread = design(one.sums, overview.buckets) if overview.clustered else 1.0
        ends = _interval(gathered, one, level, interval, reach, draws.get((target.name, place)))
        facts = Facts(
            kind=kind,
            estimate=one.estimate,
            interval=ends,
            overview=overview,
            weighing=one.sums.weighing,
            lost=lost(one.sums),
            halves=halves(one, overview, spread),
            others=others,
            unsupported=gathered.support.lacking if gathered.support is not None else (0.0, 0),
            reward_range=reach,
            clusters=int(np.count_nonzero(overview.buckets)),
            weighted=kind != "dm",
            propensities=() if target.own else doubts,
        )
        verdict = judge(facts)
        made.append(
            Estimate(
                target.name,
                kind,
                one.estimate.value,
                one.estimate.stderr,
                (ends.low, ends.high),
                one.sums.weighing.effective_rows if kind != "dm" else overview.weighing.effective_rows,
                one.sums.weighing.effective_clicks if kind != "dm" else overview.weighing.effective_clicks,
                *verdict,
                ends.method,
                one.setting,
                _figures(facts),
                tuple(_positions(one, gathered, level, spread)),
            )
        )
    return made


def ranked(
    gathered: Mapping[str, Gathered],
    found: Mapping[str, Sequence[Chosen]],
    draws: Draws,
    estimates: Sequence[Estimate],
) -> tuple[tuple[Pair, ...], Best]:
    """The order of all pairs of policies by the estimator that ranks, and each one's chance to be best."""
    asked = [one.estimator for one in next(iter(found.values()))]
    place = ranks_by(asked)
    kind = asked[place].kind
    known = []
    for one in estimates:
        if one.estimator == kind and math.isfinite(one.value):
            of, name = gathered[one.policy], one.policy
            fits = of.by_fold / of.statistics.overview.decisions if kind == "dm" else np.zeros(0)
            known.append(Ranked(name, found[name][place].sums, one.verdict, draws.get((name, place), np.zeros(0)), fits))
    buckets = next(iter(gathered.values())).statistics.overview.buckets
    pairs = [pair(a, b, buckets, kind) for a, b in combinations(known, 2)]
    return tuple(sorted(pairs, key=lambda found: -found.difference)), best(known) if len(known) > 1 else Best({}, 0, "")


def design(sums: Sums, buckets: Array) -> float:
    """By how much clusters make the error larger than independent decisions would."""
    plain = of_sums(sums).stderr
    return of_sums(sums, buckets).stderr / plain if plain > 0 else 1.0


def halves(one: Chosen, overview: Overview, spread: float = 1.0) -> tuple[Value, Value]:
    """The estimate from the first and from the second half of the log; `spread` is the design effect of clusters on errors."""
    first, second = ([stratum for stratum in one.sums.strata if stratum % 2 == half] for half in (0, 1))
    return of_part(one, overview, first, spread), of_part(one, overview, second, spread)


def of_part(one: Chosen, overview: Overview, strata: Collection[int], spread: float) -> Value:
    """The estimate from some strata of the log; NaN, not 0, where the policy gives what they show probability 0, but for dm."""
    names = one.sums.names
    empty = Moments(0.0, np.zeros(len(names)), np.zeros((len(names),) * 2))
    moments = reduce(Moments.merge, [one.sums.strata[stratum] for stratum in strata if stratum in one.sums.strata], empty)
    if one.estimator.kind != "dm" and not any(overview.matches.get(stratum) for stratum in strata):
        return Value(math.nan, math.nan, moments.decisions)
    value = of_moments(names, moments)
    return value._replace(stderr=spread * value.stderr)


def _value(gathered: Gathered, estimator: Estimator, sums: Sums) -> Value:
    """The estimate with its error; the direct method's holds the error of fitting its model."""
    overview = gathered.statistics.overview
    if overview.matched == 0 and estimator.kind != "dm":
        return Value(math.nan, math.nan, overview.decisions)
    found = of_sums(sums, overview.buckets if overview.clustered else None)
    if estimator.kind != "dm":
        return found
    fitting = jackknife(gathered.by_fold / overview.decisions)
    return found._replace(stderr=math.sqrt(found.stderr**2 + float(fitting @ fitting)))


def _interval(gathered: Gathered, one: Chosen, level: float, method: Method, span: tuple[float, float], draws: Array | None) -> Interval:
    overview, value, taken = gathered.statistics.overview, one.estimate, interval_of(one, method)
    if taken == "none":
        return Interval(math.nan, math.nan, "none")
    if taken == "jackknife":  # dm's error, with a degree of freedom less than folds
        return normal(value, level, len(gathered.by_fold))
    if taken == "bootstrap":
        assert draws is not None
        return bootstrap(one.sums, overview.buckets, level, draws)
    if taken == "bernstein":
        return bernstein(one.sums, value, level, _reach(gathered, one, span))
    return normal(value, level, int(np.count_nonzero(overview.buckets)) if overview.clustered else overview.rows)


def _reach(gathered: Gathered, one: Chosen, span: tuple[float, float]) -> float:
    """The largest distance between two terms: no weight exceeds 1 / the smallest propensity, nor what shrinking lets through."""
    largest = 1.0 / gathered.statistics.overview.propensities[0]
    if one.estimator.shrink is not None and one.setting is not None:
        weights = np.geomspace(1e-6, largest, 2000)
        largest = float(one.estimator.shrink(weights, one.setting).max())
    model = 1.0 if one.estimator.needs_model else 0.0
    return (largest + model) * (span[1] - span[0])


def _figures(facts: Facts) -> dict[str, float]:
    """What the verdict looked at, for those who want to look themselves."""
    raw, n = facts.overview.weighing, facts.overview.decisions
    return {
        "mean_weight": raw.weight / n,
        "largest_weight": float(facts.overview.largest.max(initial=0.0)),
        "largest_share": facts.weighing.largest_share,
        "matched_share": facts.overview.matched / n,
        "clicks": facts.weighing.rewarded,
        "unsupported": facts.unsupported[0],
        "first_half": facts.halves[0].value,
        "second_half": facts.halves[1].value,
    }


def _positions(one: Chosen, gathered: Gathered, level: float, spread: float) -> list[dict[str, Any]]:
    """The estimate at each position; `reason`: why there is none."""
    z, found = float(stats.norm.ppf((1.0 + level) / 2.0)), []
    for number, place in enumerate(gathered.places):
        value = of_part(one, gathered.statistics.overview, (2 * number, 2 * number + 1), spread)
        ends = [value.value - z * value.stderr, value.value + z * value.stderr]
        record = {"position": place, "decisions": value.decisions, "value": value.value, "stderr": value.stderr, "interval": ends}
        found.append({**record, "reason": "" if math.isfinite(value.value) else NO_MATCH.format(rows=value.decisions)})
    return sorted(found, key=lambda record: str(record["position"]))
