"""What the replay says of each policy, from simulation.json, simulation.parquet and the config: records and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recbayes.report.run import Run

EARLY = 0.1  # "early" is this share of the horizon


class Outcome(NamedTuple):
    """One policy's replay. Lifts are shares of clicks (0.08 is 8% more), intervals 95%; nan and None where a file does not say.

    kind, learner (with its settings), exploration and settings come from the config, so that policies that differ in exploration alone
    can be put on one line.
    """

    name: str
    clicks: float
    lift: float
    interval: tuple[float, float] | None
    over_greedy: float
    greedy_interval: tuple[float, float] | None
    early: float
    kind: str
    learner: str
    exploration: float
    settings: Mapping[str, Any]

    @property
    def is_reference(self) -> bool:
        """It is the greedy policy that the others are held against."""
        return self.kind == "greedy" and self.over_greedy == 0

    @property
    def beats_greedy(self) -> bool:
        """Its paired interval against greedy lies above 0."""
        return self.greedy_interval is not None and self.greedy_interval[0] > 0

    @property
    def loses_to_greedy(self) -> bool:
        """Its paired interval against greedy lies below 0."""
        return self.greedy_interval is not None and self.greedy_interval[1] < 0


def outcomes(run: Run) -> list[Outcome]:
    """Each policy of the replay, best lift first; none if nothing was simulated."""
    if run.simulation is None:
        return []
    early = _early(run)
    described = configured(run.config or {})
    records = [
        _outcome(name, record, early.get(name, np.nan), described.get(name, {}))
        for name, record in run.simulation.get("policies", {}).items()
    ]
    return sorted(records, key=lambda outcome: -outcome.lift)


def _outcome(name: str, record: Mapping[str, Any], early: float, policy: Mapping[str, Any]) -> Outcome:
    learner, _, tail = name.rpartition("/")
    spec = policy.get("learner") or learner
    return Outcome(
        name=name,
        clicks=_number(record.get("clicks")),
        lift=_number(record.get("lift_over_uniform")),
        interval=_ends(record.get("interval")),
        over_greedy=_number(record.get("lift_over_greedy")),
        greedy_interval=_ends(record.get("interval_over_greedy")),
        early=early,
        kind=str(policy.get("kind") or tail),
        learner=" ".join(f"{key}={value}" for key, value in sorted(spec.items())) if isinstance(spec, Mapping) else str(spec),
        exploration=_number(policy.get("exploration", record.get("exploration"))),
        settings={key: value for key, value in policy.items() if key not in ("kind", "learner", "name", "exploration")},
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _ends(value: Any) -> tuple[float, float] | None:
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 and None not in value else None


def greedy_of(outcome: Outcome, policies: Sequence[Outcome]) -> Outcome | None:
    """The greedy policy over the same learner: what the policy would be with exploration 0."""
    return next((o for o in policies if o.kind == "greedy" and o.learner == outcome.learner), None)


def configured(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The config's policies by the name that they have in simulation.json: their own, or learner and kind joined.

    >>> list(configured({"simulate": {"policies": [{"kind": "ucb", "learner": {"kind": "density"}}, {"kind": "uniform"}]}}))
    ['density/ucb', 'uniform']
    """
    found = {}
    for policy in (config.get("simulate") or {}).get("policies") or []:
        learner = policy.get("learner")
        learner = learner.get("kind") if isinstance(learner, Mapping) else learner
        found[policy.get("name") or "/".join(filter(None, [learner, policy["kind"]]))] = policy
    return found


def curves(run: Run) -> pd.DataFrame:
    """Lift over uniform as the horizon passes.

    Returns: a frame with a row a (policy, checkpoint): policy, share (of the horizon, in (0, 1]), lift, lower, upper (95% over replicas,
      paired with uniform's by seed). Empty without a replay, or without uniform in it.
    """
    columns = ["policy", "share", "lift", "lower", "upper"]
    uniform = baseline(run)
    if run.curves is None or uniform is None or not len(run.curves):
        return pd.DataFrame(columns=columns)
    clicks = run.curves.pivot_table(index=["decisions", "seed"], columns="policy", values="expected_clicks")
    lifts = clicks.div(clicks[uniform], axis=0).replace([np.inf, -np.inf], np.nan).sub(1.0)
    by_share = lifts.groupby(level="decisions")
    mean, half = by_share.mean(), 1.96 * by_share.sem().fillna(0.0)
    tidy = pd.DataFrame({"lift": mean.stack(), "half": half.stack()}).reset_index()
    tidy["share"] = tidy.decisions / tidy.decisions.max()
    tidy["lower"], tidy["upper"] = tidy.lift - tidy.half, tidy.lift + tidy.half
    return tidy.dropna()[columns].reset_index(drop=True)


def baseline(run: Run) -> str | None:
    """The name of the uniform policy in the replay, if it is there."""
    names = list((run.simulation or {}).get("policies", {}))
    return next((name for name in names if name.split("/")[-1] == "uniform"), None)


def _early(run: Run) -> dict[str, float]:
    frame = curves(run)
    if frame.empty:
        return {}
    reached = frame[frame.share >= EARLY - 1e-9].sort_values("share")
    first = reached[reached.share == reached.groupby("policy").share.transform("min")]
    return dict(zip(first.policy, first.lift)) if first.share.max() < 0.5 else {}
