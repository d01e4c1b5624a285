"""What an evaluation found: an estimate with its verdict for each policy and estimator, and the order of the policies."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from recbayes.evaluation.ranking import Pair
from recbayes.evaluation.verdict import Doubt


class Estimate(NamedTuple):
    """One policy's value by one estimator.

    value, stderr: NaN where nothing is known. interval: of the level asked for; method: how it was found. ess, effective_clicks: what
    it rests on. verdict, reason, doubts: whether to believe the interval. setting: the estimator's, as given or chosen.
    positions: a record a position, where the log has them; one with a `reason` has no value.
    """

    policy: str
    estimator: str
    value: float
    stderr: float
    interval: tuple[float, float]
    ess: float
    effective_clicks: float
    verdict: str
    reason: str
    doubts: tuple[Doubt, ...]
    method: str
    setting: float | None
    figures: Mapping[str, float]
    positions: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As evaluation.json has it: what is not known is null."""
        doubts = [doubt._asdict() for doubt in self.doubts]
        return _plain({**self._asdict(), "doubts": doubts})


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Estimates of all policies, best first within an estimator's order of asking.

    estimates: a record a policy and estimator. pairs: how sure the order of two policies is, by the estimator that ranks. best: each
    policy's probability to be the best. about: rows, level, propensities, what is identified. resamples: of the log, that `best` is from;
    reason: why `best` is NaN, where too few are left.

    >>> from recbayes.evaluation import evaluate, table
    >>> from recbayes.log import read_log
    >>> roles = dict(clicks="click", item="item_id", position="position", propensity="propensity_score")
    >>> log = read_log("example:open_bandit", **roles, features=[])
    >>> found = evaluate(log, [table("example:open_bandit_bts_policy", name="bts")], estimators=["ips", "snips"])
    >>> [(e.estimator, round(e.value, 5), e.verdict) for e in found.estimates]
    [('ips', 0.00457, 'do_not_trust'), ('snips', 0.00479, 'do_not_trust')]
    """

    estimates: tuple[Estimate, ...]
    pairs: tuple[Pair, ...]
    best: Mapping[str, float]
    about: Mapping[str, Any]
    resamples: int = 0
    reason: str = ""

    def of(self, policy: str, estimator: str) -> Estimate:
        """One estimate.

        Raises: KeyError if there is none.
        """
        for estimate in self.estimates:
            if (estimate.policy, estimate.estimator) == (policy, estimator):
                return estimate
        raise KeyError(f"no estimate of {policy} by {estimator}")

    def summary(self) -> pd.DataFrame:
        """A row an estimate."""
        names = ["policy", "estimator", "value", "stderr", "interval", "ess", "effective_clicks", "verdict", "reason"]
        return pd.DataFrame([[getattr(estimate, name) for name in names] for estimate in self.estimates], columns=names)

    def ranking(self) -> pd.DataFrame:
        """A row a pair of policies: the better one by the estimate, by how much, and the probability that the order is right."""
        return pd.DataFrame([pair._asdict() for pair in self.pairs], columns=list(Pair._fields))

    def to_json(self) -> dict[str, Any]:
        """evaluation.json."""
        ranking = {"pairs": [pair._asdict() for pair in self.pairs], "best": self.best, "resamples": self.resamples, "reason": self.reason}
        return {"estimates": [estimate.to_json() for estimate in self.estimates], "ranking": _plain(ranking), **_plain(dict(self.about))}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(e.policy)}</td><td>{e.estimator}</td><td>{e.value:.5g}</td>"
            f"<td>{e.interval[0]:.5g} to {e.interval[1]:.5g}</td>"
            f"<td>{e.effective_clicks:,.1f}</td><td><b>{e.verdict.replace('_', ' ')}</b> {html.escape(e.reason)}</td></tr>"
            for e in self.estimates
        )
        head = "".join(f"<th>{name}</th>" for name in ("policy", "estimator", "value", "interval", "effective clicks", "verdict"))
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.about.get("identified", ()))
        return f"<table><tr>{head}</tr>{rows}</table>{notes}"


def _plain(value: Any) -> Any:
    """A value as JSON holds it, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
