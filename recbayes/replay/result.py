"""What a replay found: clicks by policy, seed and checkpoint, lifts with paired intervals, and their pictures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from recbayes.replay.comparisons import Comparison, judged, over, running, says
from recbayes.replay.intervals import Lift, Resamples, over_replicas
from recbayes.replay.planning import Plan, behind, planned
from recbayes.replay.sequential import Sequential
from recbayes.types import Array, UserError

EARLY = 0.1
"""The part of the horizon that early lifts are of."""
MATCHES = {"do_not_trust": (30, 10), "caution": (100, 50)}
"""Fewer matched decisions, or clicks in them, than these: the verdict on a policy in a world of logged events."""


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """The replay of several policies over one world.

    rows: a row a (policy, seed, checkpoint): share of the horizon, decisions, clicks, expected_clicks (their exact expectation given the
    history) and uniform_clicks (the uniform policy's exact expectation), all cumulative; with a known optimum regret and uniform_regret,
    the expected clicks that the policy, and uniform, were behind it. Where rewards are numbers they stand in the place of clicks. expected,
    early: expected clicks over the horizon and over its first tenth, by policy, [R, G]. uniform, uniform_early: those of the uniform
    policy, exactly, [G], or of each replica, [R, G], where its luck decides them. clusters:
    groups that are resampled together, [G]. explorations: each policy's setting, None for those without. baselines: the greedy policy
    over each policy's own learner, if it was replayed. about: world and seeds. controls: each policy's shuffled control, if it was
    replayed. uncertain: policies that look at more than means. arms: a row a (policy, arm): group, item, showings and clicks, means over
    replicas. log_order: as the world's: whether replicas are resamples or passes of one log, which intervals depend on.
    """

    rows: pd.DataFrame
    expected: Mapping[str, Array]
    early: Mapping[str, Array]
    uniform: Array
    uniform_early: Array
    clusters: Array
    explorations: Mapping[str, float | None]
    baselines: Mapping[str, str]
    about: Mapping[str, Any]
    controls: Mapping[str, str] = dataclasses.field(default_factory=dict)
    uncertain: frozenset[str] = frozenset()
    arms: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    log_order: str = ""

    @property
    def policies(self) -> list[str]:
        """Names, in the order given."""
        return list(self.expected)

    @property
    def greedy(self) -> str | None:
        """The greedy policy that lifts over greedy are against: the first over the density learner, else the first of all."""
        found = list(dict.fromkeys(self.baselines.values()))
        return next((name for name in found if self.about["learners"].get(name) == "density"), found[0] if found else None)

    @property
    def best(self) -> str:
        """The policy with the most clicks, controls aside."""
        return max((name for name in self.policies if name not in self.controls.values()), key=self.earned)

    def earned(self, name: str) -> float:
        """Expected clicks of a policy over the horizon, all groups, mean over replicas."""
        return float(self.expected[name].mean(0).sum())

    def over_uniform(self, name: str, *, early: bool = False) -> Lift:
        """Lift over the uniform policy's exact expectation, over the horizon or its first tenth."""
        return self._lift(name, None, early)

    def compare(self, name: str, other: str, *, early: bool = False) -> Lift:
        """Lift of one policy over another, paired by group and replica.

        Args:
          name: the policy.
          other: the one to compare it with.
          early: over the first tenth of the horizon only.

        Raises: UserError for a policy that was not replayed.
        """
        return self._lift(name, other, early)

    def sequence(self, name: str, other: str) -> Sequential:
        """The lift of one policy over another as groups come in, with intervals that hold however often one looks.

        Over replicas where the world is one group; infinite where it is one log, of which more replicas tell nothing new.

        Args:
          name: the policy.
          other: the one to compare it with.

        Raises: UserError for a policy that was not replayed.
        """
        self.compare(name, other)
        return running(self.expected[name], self.expected[other], self._codes, self.log_order)

    @functools.cached_property
    def comparisons(self) -> list[Comparison]:
        """Every policy against greedy, and against its control where that was replayed; verdicts hold for all together (Holm, 5%)."""
        greedy, played = self.greedy, [name for name in self.policies if name not in self.controls.values()]
        pairs = [(name, greedy) for name in played if greedy is not None and name != greedy]
        pairs += [(name, control) for name, control in self.controls.items()]
        return judged(
            [(name, other, self.compare(name, other), self.expected[name], self.expected[other]) for name, other in pairs],
            self._codes,
            self.log_order,
        )

    def summary(self) -> pd.DataFrame:
        """A row a policy, best first: lifts as shares, with 95% intervals over groups.

        against_greedy (better, worse, same) and uncertainty (helped, did not help) are what `comparisons` say.
        """
        table = pd.DataFrame.from_dict(self.to_json()["policies"], orient="index")
        table["against_greedy"] = pd.Series({c.policy: c.verdict for c in self.comparisons if c.other == self.greedy}, dtype=object)
        helped = {c.policy: "helped" if c.verdict == "better" else "did not help" for c in self._against_controls}
        table["uncertainty"] = pd.Series(helped, dtype=object)
        return table.sort_values("expected_clicks", ascending=False).drop(columns=["expected_clicks", "control_of"])

    def to_json(self) -> dict[str, Any]:
        """simulation.json: the world, the best policy as `chosen`, each policy's figures, and who is better than whom."""
        figures = {name: self._figures(name) for name in self.policies}
        about = {key: value for key, value in self.about.items() if key != "learners"}
        pairs = [comparison.to_json() for comparison in self.comparisons]
        family = f"Holm, 5% over all {len(pairs)} comparisons"
        return {
            "chosen": self.best,
            **about,
            "reference": self.greedy,
            "policies": figures,
            "comparisons": {"over": over(self._codes, self.log_order), "multiplicity": family, "pairs": pairs},
            "controls": {c.policy: {"control": c.other, "helps": c.verdict == "better", "says": says(c)} for c in self._against_controls},
        }

    def curves(self) -> pd.DataFrame:
        """Lift over uniform as the horizon passes: a row a share of the horizon, a column a policy."""
        means = self.rows.groupby(["share", "policy"], sort=False).expected_clicks.mean().unstack()[self.policies]
        uniform = self.rows.groupby("share").uniform_clicks.mean()
        return means.div(uniform, axis=0) - 1.0

    def plot(self) -> Any:
        """Lift curves, as a matplotlib figure."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        figure = Figure(figsize=(8.0, 4.5), layout="constrained")
        axes = figure.subplots()
        curves = self.curves()
        for name in sorted(self.policies, key=lambda name: -curves[name].iloc[-1]):
            axes.plot(curves.index, curves[name], label=f"{name} {curves[name].iloc[-1]:+.1%}")
        axes.axhline(0.0, color="grey", linewidth=0.8)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="share of the horizon", ylabel="clicks over uniform", xlim=(0.0, 1.0))
        axes.legend(frameon=False)
        return figure

    def _repr_html_(self) -> str:
        def share(value: float | None) -> str:
            return "" if value is None or value != value else f"{value:+.1%}"

        def number(value: Any) -> str:
            return value if isinstance(value, str) else "" if value is None or value != value else f"{value:,.4g}"

        def ends(value: Any) -> str:
            return f"{share(value[0])} to {share(value[1])}" if isinstance(value, list | tuple) else ""

        table = self.summary().drop(columns=["interval_over_replicas", "exploration"])
        shares = ("lift", "share", "cost", "regret_over", "regret_stddev")
        formats: dict[str, Any] = {
            name: ends if "interval" in name else share if name.startswith(shares) else number for name in table.columns
        }
        told = "".join(f"<p>{escape(says(c))}</p>" for c in self._against_controls)
        return str(table.to_html(formatters={**formats, "clicks": "{:,.0f}".format}, na_rep="")) + told

    def _figures(self, name: str) -> dict[str, Any]:
        over_uniform = self.over_uniform(name)
        over_greedy = self.compare(name, self.greedy) if self.greedy is not None else None
        last = self.rows[(self.rows.policy == name) & (self.rows.share == 1.0)]
        figures = {
            "clicks": float(last.clicks.mean()),
            "expected_clicks": float(self.expected[name].sum(1).mean()),
            "lift_over_uniform": over_uniform.lift,
            "interval": over_uniform.interval,
            "interval_over_replicas": over_uniform.interval_over_replicas,
            "lift_over_greedy": over_greedy.lift if over_greedy else None,
            "interval_over_greedy": over_greedy.interval if over_greedy else None,
            "lift_at_tenth": self.over_uniform(name, early=True).lift,
            "cost_of_exploration": self.cost(name),
            "exploration": self.explorations[name],
        }
        known = {key: None if undefined(value) else value for key, value in figures.items()}
        known["control_of"] = next((policy for policy, control in self.controls.items() if control == name), None)
        return known | self._regret(name) | self._matches(name)

    def _matches(self, name: str) -> dict[str, Any]:
        """Whether enough logged events matched the policy to say anything; nothing where the world decides for itself.

        Events that count by weight say as much as (sum w)^2 / sum w^2 whole ones, their clicks as (sum w c)^2 / sum (w c)^2.
        """
        last = self.rows[(self.rows.policy == name) & (self.rows.share == 1.0)]
        if "share_matched" not in last:
            return {}
        matched, share = float(last.decisions.mean()), float(last.share_matched.mean())
        decisions = _mean_ratio(last.decisions**2, last.squared_weights)
        clicks = _mean_ratio(last.clicks**2, last.squared_clicks)
        grave = [decisions < few or clicks < fewest for few, fewest in MATCHES.values()]
        verdict = next((verdict for verdict, few in zip(MATCHES, grave, strict=True) if few), "trust")
        counted = "logged decisions matched" if np.allclose(last.decisions, last.squared_weights) else "effective decisions after weighting"
        reason = "" if verdict == "trust" else f"{decisions:,.0f} {counted}, with {clicks:,.1f} clicks"
        effective = {"effective_decisions": decisions, "effective_clicks": clicks}
        return {"matched": matched, "share_matched": share, **effective, "verdict": verdict, "reason": reason}

    def _regret(self, name: str) -> dict[str, Any]:
        """How far the policy was behind a known optimum; nothing where it is not known."""
        last = self.rows[(self.rows.policy == name) & (self.rows.share == 1.0)]
        if "regret" not in last:
            return {}
        ours, uniform = last.regret.to_numpy(), last.uniform_regret.to_numpy()
        shares = ours / uniform
        return {
            "cumulative_regret": float(ours.mean()),
            "regret_per_decision": float((ours / last.decisions).mean()),
            "regret_over_uniform": float(shares.mean()),
            "regret_interval": tuple(1.0 + end for end in over_replicas(shares, np.ones(1))),
            "regret_stddev": float(shares.std(ddof=1)) if len(shares) > 1 else None,
        }

    def cost(self, name: str) -> float | None:
        """Clicks that the policy was ever behind greedy over the same learner, as a share of uniform's clicks over the horizon.

        0 for a policy that was never behind; None where that greedy was not replayed, or uniform earns nothing.
        """
        if name not in self.baselines or not np.sum(self.uniform) > 0.0:
            return None
        most = float(behind(self.rows, name, self.baselines[name]).behind.max())
        return max(0.0, most) / float(np.atleast_2d(self.uniform).sum(1).mean())

    def plan(self, name: str | None = None) -> Plan:
        """What exploring costs: clicks behind greedy over the same learner as the horizon passes and by item, and when they are paid back.

        Args:
          name: the policy; the best by default.

        Raises: UserError for a policy that was not replayed, or without greedy over its learner.
        """
        name = self.best if name is None else name
        self.over_uniform(name)
        if name not in self.baselines:
            raise UserError(
                f"replay: {name} has no greedy policy over its learner to cost it against. Replay one too, or use controls=[{name!r}]"
            )
        return planned(self.rows, self.arms, name, self.baselines[name])

    @property
    def _against_controls(self) -> list[Comparison]:
        return [c for c in self.comparisons if self.controls.get(c.policy) == c.other]

    @functools.cached_property
    def _resamples(self) -> Resamples:
        return Resamples.of(self.clusters, of_log=self.log_order == "resampled")

    @functools.cached_property
    def _codes(self) -> Array:
        """Cluster of each group, in the world's order; all of them, where `Resamples` pools many."""
        return np.unique(self.clusters, return_inverse=True)[1]

    def _lift(self, name: str, other: str | None, early: bool) -> Lift:
        clicks = self.early if early else self.expected
        for known in filter(None, (name, other)):
            if known not in clicks:
                raise UserError(f"replay: no policy is named {known!r}. Replayed were {', '.join(self.policies)}")
        uniform = self.uniform_early if early else self.uniform
        return self._resamples.lift(clicks[name], np.atleast_2d(uniform) if other is None else clicks[other])


def _mean_ratio(over: pd.Series[float], under: pd.Series[float]) -> float:
    """Mean over replicas; 0 where there is nothing."""
    return float((over / under.where(under > 0.0)).fillna(0.0).mean())


def undefined(figure: Any) -> bool:
    """Whether a figure, or the first of a pair, is NaN."""
    first = figure[0] if isinstance(figure, tuple) else figure
    return first is not None and bool(np.isnan(first))
