"""What the replay says of each policy, from simulation.json, simulation.parquet and the config: records and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from recbayes.report.run import Run


class Outcome(NamedTuple):
    """One policy's replay. Lifts are shares of clicks (0.08 is 8% more), intervals 95%; nan and None where a file does not say.

    early is the lift over uniform in the horizon's first tenth; cost is how far the policy was ever behind greedy on its own learner, as a
    share of uniform's clicks over the horizon; reference says that it is the greedy policy which the others are held against; verdict is
    better, worse or same than it, all comparisons of the replay together ("" where the file does not say).

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
    cost: float
    kind: str
    learner: str
    exploration: float
    settings: Mapping[str, Any]
    reference: bool = False
    verdict: str = ""

    @property
    def beats_greedy(self) -> bool:
        """It is better by its verdict, or without one, its paired interval against greedy lies above 0."""
        if self.verdict:
            return self.verdict == "better"
        return self.greedy_interval is not None and self.greedy_interval[0] > 0

    @property
    def loses_to_greedy(self) -> bool:
        """It is worse by its verdict, or without one, its paired interval against greedy lies below 0."""
        if self.verdict:
            return self.verdict == "worse"
        return self.greedy_interval is not None and self.greedy_interval[1] < 0


def outcomes(run: Run) -> list[Outcome]:
    """Each policy of the replay, best lift first, controls left out; none if nothing was simulated."""
    if run.simulation is None:
        return []
    described, reference = configured(run.config or {}), run.simulation.get("reference")
    played = {name: record for name, record in run.simulation["policies"].items() if record.get("control_of") is None}
    verdicts = {pair["policy"]: pair["verdict"] for pair in compared(run) if pair["other"] == reference}
    records = [_outcome(name, record, described.get(name, {})) for name, record in played.items()]
    marked = [outcome._replace(reference=outcome.name == reference, verdict=verdicts.get(outcome.name, "")) for outcome in records]
    return sorted(marked, key=lambda outcome: -outcome.lift)


def compared(run: Run) -> list[dict[str, Any]]:
    """The pairs of simulation.json's comparisons; none in a file that has none."""
    return ((run.simulation or {}).get("comparisons") or {}).get("pairs") or []


def _outcome(name: str, record: Mapping[str, Any], policy: Mapping[str, Any]) -> Outcome:
    learner, _, tail = name.rpartition("/")
    spec = policy.get("learner") or learner
    return Outcome(
        name=name,
        clicks=_number(record.get("clicks")),
        lift=_number(record.get("lift_over_uniform")),
        interval=_ends(record.get("interval")),
        over_greedy=_number(record.get("lift_over_greedy")),
        greedy_interval=_ends(record.get("interval_over_greedy")),
        early=_number(record.get("lift_at_tenth")),
        cost=_number(record.get("cost_of_exploration")),
        kind=str(policy.get("kind") or tail),
        learner=" ".join(f"{key}={value}" for key, value in sorted(spec.items())) if isinstance(spec, Mapping) else str(spec),
        exploration=_number(record.get("exploration", policy.get("exploration"))),
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

    Returns: a frame with a row a (policy, checkpoint): policy, share (of the horizon, in (0, 1]), lift, lower, upper (95% over replicas).
      Empty without a replay.
    """
    columns = ["policy", "share", "lift", "lower", "upper"]
    if run.curves is None:
        return pd.DataFrame(columns=columns)
    rows = run.curves.assign(lift=run.curves.expected_clicks / run.curves.uniform_clicks - 1.0)
    parts = rows.groupby(["policy", "share"]).lift
    tidy = pd.DataFrame({"lift": parts.mean(), "half": 1.96 * parts.sem().fillna(0.0)}).reset_index()
    return tidy.assign(lower=tidy.lift - tidy.half, upper=tidy.lift + tidy.half)[columns]
