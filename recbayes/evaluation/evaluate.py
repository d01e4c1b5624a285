"""`evaluate`: what policies would have earned, from a log, each figure with its interval and whether to believe it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow.compute as pc

from recbayes.engine import Engine, Kind, opened
from recbayes.evaluation import estimators as known
from recbayes.evaluation.decisions import Decisions, check_candidates, check_decisions, decisions_of
from recbayes.evaluation.estimating import Gathered, chosen, draws_of, estimates_of, ranked
from recbayes.evaluation.estimators.base import Estimator
from recbayes.evaluation.intervals import Method
from recbayes.evaluation.propensities import Propensities, propensities_of
from recbayes.evaluation.rates import rates
from recbayes.evaluation.resampling import Tell
from recbayes.evaluation.result import Evaluation
from recbayes.evaluation.reward_model import RewardModel, predict
from recbayes.evaluation.rows import Rows
from recbayes.evaluation.statistics import Statistics
from recbayes.evaluation.support import Support
from recbayes.evaluation.target import Target
from recbayes.log import Log
from recbayes.log.columns import listed
from recbayes.log.source import LogSource
from recbayes.log.stream import Stream, stream_log
from recbayes.types import Array, UserError

POSITIONS = 20
"""Logs with more positions are judged as a whole only."""
Asked = Literal["auto", "logged", "fitted"]
"""Where propensities come from."""
DEFAULT = ("ips", "snips", "dm", "dr")


def evaluate(
    log: Log | LogSource,
    policies: Sequence[Target],
    *,
    estimators: Sequence[str | Estimator] = DEFAULT,
    reward_model: Callable[[Stream], RewardModel] | None = None,
    level: float = 0.95,
    interval: Method = "auto",
    propensities: Asked = "auto",
    given: Sequence[str] = (),
    reward_range: tuple[float, float] | None = None,
    decision: str | None = None,
    threads: int = 2,
    engine: Kind | Engine = "local",
    progress: Tell | None = None,
    **roles: Any,
) -> Evaluation:
    """Judges policies from a log of another one.

    Args:
      log: a log in memory, or what `read_log` reads, then streamed: memory does not grow with it (docs/evaluation.md names what does).
      policies: `table`, `logged`, `exported`; names differ.
      estimators: names or estimators of `recbayes.evaluation.estimators`. The last one that is no direct method ranks;
        the direct method alone ranks with the error of its fit.
      reward_model: makes q for dm, dr and their kin from the log; by default shrunk click rates of items (`rates`).
      level: of the intervals, in (0, 1).
      interval: normal, bootstrap, bernstein; auto takes the bootstrap unless the log is large.
      propensities: logged, fitted to the log, or logged where there are any.
      given: columns that the logging policy may have looked at, for fitted propensities.
      reward_range: smallest and largest reward; clicks have (0, 1), other rewards by default those that are seen.
      decision: column whose value (with the position) a row must not share with another; it takes 8 bytes a row.
      threads: that work on the sums.
      engine: where the bootstraps are made, as for `replay`, with the same figures; the log is read here. A reward model that fits click
        models has an engine of its own (`modelled`).
      progress: called with (done, of, what) after some rows, what is "rows", and after each estimate that is resampled, "bootstraps".
      **roles: of `read_log`, where `log` is not a log yet.

    Returns: estimates with verdicts, and the order of the policies.
    Raises: UserError for a log, a policy, a setting or an engine that can't be, with rows and mend.

    >>> from recbayes.evaluation.logged import logged
    >>> found = evaluate("example:open_bandit_bts", [logged()], clicks="click", item="item_id", propensity="propensity_score",
    ...                  estimators=["ips"])
    >>> round(found.estimates[0].value, 4), found.estimates[0].verdict
    (0.0042, 'caution')
    """
    asked = [built(estimator) for estimator in estimators]
    _check_settings(interval, propensities, reward_range)
    stream = stream_log(log, reward_range=reward_range, **roles)
    _check(stream, policies, asked, level)
    if decision is not None:
        check_decisions(stream, decision)
    whole = log if isinstance(log, Log) else None
    tell = progress or (lambda *_: None)
    with opened(engine) as runner:  # before the pass over the log: one that is none is told at once
        q = None
        if any(estimator.needs_model for estimator in asked):
            q = rates(stream) if reward_model is None else reward_model(stream)
        weighing = propensities_of(stream, propensities, given)
        gathered = _pass(stream, whole, policies, asked, q, weighing, threads, tell)
        found = {target.name: chosen(gathered[target.name], asked) for target in policies}
        draws = draws_of(gathered, found, interval, runner, tell)
    span = reward_range or ((0.0, 1.0) if stream.columns.clicks is not None else None)
    estimates = tuple(
        estimate
        for target in policies
        for estimate in estimates_of(
            target,
            gathered[target.name],
            found[target.name],
            draws,
            level=level,
            interval=interval,
            span=span,
            doubts=weighing.doubts_of(target),
        )
    )
    pairs, best = ranked(gathered, found, draws, estimates)
    first = next(iter(gathered.values()))
    about = {
        "log": stream.source,
        "rows": stream.rows,
        "decisions": first.statistics.overview.decisions,
        "level": level,
        "reward_model": q.name if q else None,
        **weighing.about,
    }
    return Evaluation(estimates, pairs, best.shares, about, best.resamples, best.reason)


def built(estimator: str | Estimator) -> Estimator:
    """An estimator by its name.

    Raises: UserError for a name that is none.

    >>> built("snips").kind
    'snips'
    """
    if isinstance(estimator, Estimator):
        return estimator
    names = [name for name in known.__all__ if name not in ("Estimator", "Terms")]
    if estimator not in names:
        raise UserError(f"evaluate: there is no estimator {estimator!r}. Known: {', '.join(names)}")
    made: Estimator = getattr(known, estimator)()
    return made


def _check_settings(interval: str, propensities: str, reward_range: Any) -> None:
    for name, value, kinds in (("interval", interval, get_args(Method)), ("propensities", propensities, get_args(Asked))):
        if value not in kinds:
            raise UserError(f"evaluate: {name} is {value!r}. Known: {', '.join(kinds)}")
    if reward_range is not None and not _is_range(reward_range):
        raise UserError(f"evaluate: reward_range is {reward_range!r}, must be two numbers, the smaller one first, such as (0.0, 1.0)")


def _is_range(value: Any) -> bool:
    """Whether it is two finite numbers, the smaller one first."""
    try:
        low, high = value
        return bool(-math.inf < low < high < math.inf)
    except (TypeError, ValueError):
        return False


def _check(stream: Stream, policies: Sequence[Target], asked: Sequence[Estimator], level: float) -> None:
    """What can be said before anything is read."""
    clashes = [name for name, times in Counter(policy.name for policy in policies).items() if times > 1]
    twice = [kind for kind, times in Counter(estimator.kind for estimator in asked).items() if times > 1]
    if not policies:
        raise UserError("evaluate: no policy to judge. Name one, such as table('policy.parquet')")
    if not asked:
        raise UserError(f"evaluate: no estimator. Name some: {', '.join(DEFAULT)}")
    if clashes or twice:
        what = f"several policies are named {', '.join(clashes)}" if clashes else f"estimator {', '.join(twice)} is asked for twice"
        raise UserError(f"evaluate: {what}. Give each a name of its own, or leave one out.")
    if not 0 < level < 1:
        raise UserError(f"evaluate: level is {level}, must be in (0, 1), such as 0.95")
    if stream.rows < 2:
        raise UserError(f"evaluate: {stream.source} holds one row: it has a reward, but no error can be stated. Give more rows.")
    if stream.columns.item is None and (any(not p.own for p in policies) or any(e.needs_model for e in asked)):
        raise UserError(f"evaluate: {stream.source} has no item column: name what each row shows (log.columns.item).")


class _Strata(NamedTuple):
    """How rows fall into strata: the log's middle (a row number or a time), and numbers of positions met so far."""

    middle: float
    times: Array | None
    places: dict[Any, int]

    def of(self, log: Log, first: int) -> Array:
        """2 x position + half of each row, [n]."""
        order = np.arange(first, first + len(log)) if self.times is None else self.times[first : first + len(log)]
        half = (order >= self.middle).astype(np.int64)
        name = log.columns.position
        if name is None:
            return half
        column = log.column(name).combine_chunks()
        _check_positions(column, name, first)
        encoded = column.dictionary_encode()
        codes = np.array([self.places.setdefault(value, len(self.places)) for value in encoded.dictionary.to_pylist()])
        return 2 * codes[encoded.indices.to_numpy()] + half


def _check_positions(column: Any, name: str, first: int) -> None:
    """Raise UserError where a row (the first has the number `first`) has no position."""
    missing = np.flatnonzero(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False))
    if len(missing):
        raise UserError(
            f"evaluate: {name} is null in {len(missing):,} of the rows {first:,} to {first + len(column) - 1:,} "
            f"(first: {listed(missing + first, 5)}): what was shown there has no position. Name it or drop those rows."
        )


def _strata(stream: Stream, whole: Log | None) -> _Strata:
    """Halves by time; by row order where a log is streamed, has no time, or has the same one in all rows."""
    times = whole.time if whole is not None else None
    if times is None or not times.min() < times.max():
        return _Strata(stream.rows / 2, None, {})
    middle = float(np.median(times))
    return _Strata(middle if middle > times.min() else float(times[times > middle].min()), times, {})


def _pass(
    stream: Stream,
    whole: Log | None,
    policies: Sequence[Target],
    asked: Sequence[Estimator],
    q: RewardModel | None,
    weighing: Propensities,
    threads: int,
    tell: Tell,
) -> dict[str, Gathered]:
    """One pass over the log for all policies."""
    if whole is not None:
        check_candidates(whole, 0)
    policies = [target.meet(stream) for target in policies]
    strata = _strata(stream, whole)
    found: dict[str, Gathered] = {}
    for first, log in stream:
        if whole is None:
            check_candidates(log, first)
        made, stratum, propensity = decisions_of(log, first, q.folds if q else 2), strata.of(log, first), weighing.of(log)
        for target in policies:
            new = _gather(log, first, target, made, stratum, propensity, asked, q, threads)
            found[target.name] = found[target.name].merge(new) if target.name in found else new
        tell(first + len(log), stream.rows, "rows")
    if len(strata.places) <= POSITIONS:
        places = [place for place, _ in sorted(strata.places.items(), key=lambda entry: entry[1])]
        return {name: gathered._replace(places=tuple(places)) for name, gathered in found.items()}
    return found


def _gather(
    log: Log,
    first: int,
    target: Target,
    made: Decisions,
    stratum: Array,
    propensity: Array,
    asked: Sequence[Estimator],
    q: RewardModel | None,
    threads: int,
) -> Gathered:
    """One policy's sums over some rows."""
    choices = target.choices(log)
    count = np.ones(len(log)) if made.times is None else np.bincount(made.row, made.times, len(log))
    predictions = predict(q, log, choices, made.fold, count) if q else None
    row = made.row
    rows = Rows(
        (np.ones(len(log)) if target.own else propensity)[row],
        (np.ones(len(log)) if target.own else choices.shown)[row],
        made.reward,
        predictions.predicted[row] if predictions else None,
        predictions.expected[row] if predictions else None,
        made.times,
        stratum[row],
        made.bucket,
        first,
    )
    support = None if log.columns.item is None else Support.of(log, choices, count)
    return Gathered(Statistics.of(rows, asked, threads=threads), support, predictions.by_fold if predictions else np.zeros(0))
