"""The cost planner: what exploring costs before it pays, step by step and item by item.

A policy's cost is against greedy over the same learner, on the same replicas. After a step it is behind by

    behind_t = greedy's expected clicks up to t - the policy's

and has paid back at the first t from which on behind_t <= 0. By item: an arm that the policy shows more often than greedy
does, by e_a showings, takes them from arms of its group that greedy would have shown, whose clicks a showing are c_g in the mean; it costs

    lost_a = e_a (c_g - r_a),  r_a its own clicks a showing,

negative where the item is better than what it replaced. Over a group's arms these sum to the clicks between greedy and the policy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from recbayes.types import Array

MOST = 20
"""Items that are named in JSON."""


class Plan(NamedTuple):
    """The cost of a policy against greedy over its learner.

    by_step: a row a checkpoint: share of the horizon, decisions, behind (clicks, mean over replicas), lower and upper (95% over
    replicas), of_uniform (behind as a share of the uniform policy's clicks so far). worst: the largest behind, clicks, at least 0, and
    worst_at the share of the horizon at which it is; paid_back: share of the horizon from which on the policy is no longer behind, 0
    if it never was, None if it is behind at the end. by_item: a row an arm that the policy shows more often than greedy does, costliest
    first: group, item, shown (showings), more (than greedy), lost (clicks).
    """

    policy: str
    greedy: str
    by_step: pd.DataFrame
    worst: float
    worst_at: float
    paid_back: float | None
    by_item: pd.DataFrame

    def says(self) -> str:
        """The plan in a sentence or two."""
        last = self.by_step.iloc[-1]
        end = f"at the horizon's end it is {abs(last.behind):,.0f} clicks {'behind' if last.behind > 0 else 'ahead'}"
        if self.worst < 0.5:
            return f"{self.policy} is never behind {self.greedy}: {end}."
        cost = f"{self.policy} is at worst {self.worst:,.0f} clicks behind {self.greedy}, after {self.worst_at:.0%} of the horizon"
        if self.paid_back is None:
            return f"{cost}, and has not paid that back: {end}."
        return f"{cost}, and has paid that back after {self.paid_back:.0%}: {end}."

    def to_json(self, *, steps_a_day: float | None = None, steps: int | None = None) -> dict[str, Any]:
        """Its figures; with steps_a_day (and the world's steps) also in days.

        Args:
          steps_a_day: updates a day.
          steps: updates of the horizon.
        """
        by_step = self.by_step
        days = None if steps_a_day is None or steps is None else steps / steps_a_day
        if days is not None:
            by_step = by_step.assign(day=by_step.share * days)
        return {
            "policy": self.policy,
            "greedy": self.greedy,
            "worst": self.worst,
            "worst_at": self.worst_at,
            "paid_back": self.paid_back,
            "paid_back_day": None if days is None or self.paid_back is None else self.paid_back * days,
            "says": self.says(),
            "by_step": [{name: None if value != value else value for name, value in row.items()} for row in by_step.to_dict("records")],
            "by_item": self.by_item.head(MOST).assign(item=self.by_item.item.head(MOST).astype(str)).to_dict("records"),
        }


def planned(rows: pd.DataFrame, arms: pd.DataFrame, policy: str, greedy: str) -> Plan:
    """The plan of a policy from a replay's rows and arms (`Result.rows`, `Result.arms`)."""
    by_step = behind(rows, policy, greedy)
    worst = int(np.argmax(by_step.behind))
    owed = np.flatnonzero(by_step.behind > 0.0)
    paid_back = 0.0 if not len(owed) else None if owed[-1] == len(by_step) - 1 else float(by_step.share.iloc[owed[-1] + 1])
    at, most = float(by_step.share.iloc[worst]), max(0.0, float(by_step.behind.iloc[worst]))
    return Plan(policy, greedy, by_step, most, at, paid_back, by_item(arms, policy, greedy))


def behind(rows: pd.DataFrame, policy: str, greedy: str) -> pd.DataFrame:
    """Clicks behind greedy at each checkpoint, with Student's interval over replicas.

    Checkpoints at which some replica has no figure yet (no logged event has matched) are left out: a mean over the others would be of other
    replicas.
    """
    rows = rows[rows.policy.isin([policy, greedy])]
    rows = rows[~rows.share.isin(rows.share[rows.expected_clicks.isna()])]
    table = rows.pivot_table(index="share", columns=["policy", "seed"], values="expected_clicks")
    apart = (table[greedy] - table[policy]).to_numpy()  # [C, R]
    mean, number = apart.mean(1), len(apart.T)
    half = stats.t.ppf(0.975, number - 1) * apart.std(1, ddof=1) / np.sqrt(number) if number > 1 else np.full(len(mean), np.nan)
    common = rows[rows.policy == policy].groupby("share")[["decisions", "uniform_clicks"]].mean()
    columns = {"share": table.index.to_numpy(), "decisions": common.decisions.to_numpy(), "behind": mean}
    ends = {"lower": mean - half, "upper": mean + half, "of_uniform": mean / common.uniform_clicks.replace(0.0, np.nan).to_numpy()}
    return pd.DataFrame(columns | ends)


def by_item(arms: pd.DataFrame, policy: str, greedy: str) -> pd.DataFrame:
    """Arms that the policy shows more often than greedy does, and the clicks that each costs."""
    ours, theirs = (arms[arms.policy == name].reset_index(drop=True) for name in (policy, greedy))
    rate = pooled_rates(arms)
    more = (ours.shown - theirs.shown).to_numpy()
    group, groups = ours.group.to_numpy(), int(ours.group.max()) + 1
    fewer = np.maximum(-more, 0.0)
    given_up = np.bincount(group, fewer * rate, groups) / np.maximum(np.bincount(group, fewer, groups), 1e-300)
    lost = np.where(more > 0.0, more * (given_up[group] - rate), 0.0)
    table = pd.DataFrame({"group": group, "item": ours["item"], "shown": ours.shown, "more": more, "lost": lost})
    return table[table.more > 0.0].sort_values("lost", ascending=False, ignore_index=True)


def pooled_rates(arms: pd.DataFrame) -> Array:
    """Clicks a showing of each arm, all policies of the replay taken together, [N]; 0 where none showed it."""
    played = [one for _, one in arms.groupby("policy", sort=False)]
    shown, clicks = (np.sum([one[what].to_numpy() for one in played], 0) for what in ("shown", "clicks"))
    return clicks / np.maximum(shown, 1e-300)
