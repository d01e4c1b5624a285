"""The report's first lines, in plain words: which policy, what it brings, what it costs, what not to use, how far to trust it.

The words follow from intervals, not from point figures: a policy "beats" or "loses to" greedy only where the paired interval over
tests leaves 0 out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from recbayes.report.numbers import fixed, interval, percent
from recbayes.report.outcomes import Outcome, greedy_of, outcomes
from recbayes.report.run import Run


class Decision(NamedTuple):
    """What a reader takes away. Each a sentence or two; "" where the run does not say. chosen: the recommended policy's record."""

    headline: str
    gain: str
    cost: str
    avoid: str
    trust: str
    chosen: Outcome | None
    control: str = ""


def decide(run: Run) -> Decision:
    """The first lines of the report of a run."""
    policies = outcomes(run)
    chosen = next((o for o in policies if o.name == (run.simulation or {}).get("chosen")), None)
    if chosen is None:
        return Decision(_no_replay(run), "", "", "", trust(run), None)
    record = (run.simulation or {})["policies"][chosen.name]
    if "regret_over_uniform" in record:
        words = f"{chosen.name} is at {percent(record['regret_over_uniform'], 2)} of uniform's regret, where the optimum is known."
        return Decision(words, "", "", "", trust(run), chosen, control(run))
    if record.get("verdict") == "do_not_trust":
        words = f"Nothing can be said of {chosen.name} yet: {record['reason']}."
        return Decision(words, "", "", "", trust(run), chosen)
    lines = headline(chosen), gain(chosen, policies), cost(chosen, policies), avoid(chosen, policies), trust(run)
    return Decision(*lines, chosen, control(run))


def _no_replay(run: Run) -> str:
    estimates = (run.evaluation or {}).get("estimates") or ()
    if estimates:
        trusted = sum(estimate["verdict"] == "trust" for estimate in estimates)
        return f"Policies were judged from the log: {trusted} of {len(estimates)} estimates can be trusted."
    if run.calibration is not None:
        share = percent(run.calibration["coverage"]["0.9"])
        return f"The model's 90% intervals hold {share} of held-out click counts; no policy was replayed yet."
    return "No policy was replayed yet, so there is no decision to report."


def headline(chosen: Outcome) -> str:
    """Which policy, in one sentence."""
    name, more, over = chosen.name, percent(chosen.lift), percent(chosen.over_greedy)
    if chosen.interval is not None and chosen.interval[0] <= 0:
        return (
            f"No policy is shown to beat uniform: {name}, the best on the training log, is at {percent(chosen.lift, signed=True)} clicks."
        )
    if chosen.kind == "greedy":
        return f"Greedy is as good as exploring: use {name}, which earns {more} more clicks than uniform."
    if chosen.loses_to_greedy:
        fewer = percent(-chosen.over_greedy)
        return f"Use greedy: {name}, the best on the training log, earns {fewer} fewer clicks than greedy on the test groups."
    if chosen.greedy_interval is not None and not chosen.beats_greedy:
        return f"Greedy is as good as exploring: {name} earns {more} more clicks than uniform, but not for sure more than greedy."
    ranges = [f" ({interval(ends)})" if ends else "" for ends in (chosen.interval, chosen.greedy_interval)]
    return f"Use {name}: it earns {more}{ranges[0]} more clicks than uniform and {over}{ranges[1]} more than greedy."


def gain(chosen: Outcome, policies: list[Outcome]) -> str:
    """Its lifts with their intervals, and who ended higher on the groups that the choice had not seen."""
    return _lifts(chosen, next((o.name for o in policies if o.reference), "greedy")) + _higher(chosen, policies)


def _lifts(chosen: Outcome, greedy: str) -> str:
    over_uniform = f"{percent(chosen.lift, signed=True)} over uniform ({interval(chosen.interval)})"
    if chosen.greedy_interval is None or chosen.reference:
        return f"{over_uniform}; 95% interval over test groups."
    over_greedy = f"{percent(chosen.over_greedy, signed=True)} over {greedy} ({interval(chosen.greedy_interval)})"
    return f"{over_uniform}, {over_greedy}; 95% intervals, paired over test groups."


def _higher(chosen: Outcome, policies: list[Outcome]) -> str:
    """The choice is made on training groups: where the test groups would have it otherwise, the reader is told."""
    names = [f"{o.name} ({percent(o.lift, signed=True)})" for o in policies if o.lift > chosen.lift + 0.001]
    when = "the choice was made before, on the newest training groups, among those that an export can serve"
    return f" Higher on these groups: {', '.join(names)}; {when}." if names else ""


def cost(chosen: Outcome, policies: list[Outcome]) -> str:
    """What exploring costs early on, against greedy on the same learner."""
    if chosen.kind == "greedy":
        return (
            "Nothing now: it never shows an arm that it believes to be worse. Nor does it learn any more about arms that it has given up."
        )
    greedy = greedy_of(chosen, policies)
    if greedy is None or greedy.early != greedy.early or chosen.early != chosen.early:
        return ""
    figures = f"{percent(chosen.early, signed=True)} over uniform against {percent(greedy.early, signed=True)} for {greedy.name}"
    if chosen.early - greedy.early < -0.0005:
        then = "It makes up for that later." if chosen.lift > greedy.lift else "It does not make up for that within the horizon."
        worst = f" At worst it is {percent(chosen.cost, 2)} of uniform's clicks behind." if chosen.cost > 0 else ""
        return f"Clicks early on: after a tenth of the horizon it is at {figures}.{worst} {then}"
    return f"Nothing that the replay can see: already after a tenth of the horizon it is at {figures}."


def control(run: Run) -> str:
    """Whether the uncertainty helped: the policies held against themselves with the uncertainty shuffled among the candidates."""
    return " ".join(str(record["says"]) for record in ((run.simulation or {}).get("controls") or {}).values())


def avoid(chosen: Outcome, policies: list[Outcome]) -> str:
    """Which policies the replay warns of."""
    losers = sorted((o for o in policies if o.loses_to_greedy and o.kind != "uniform" and o is not chosen), key=lambda o: o.over_greedy)
    if not losers:
        return "No policy in the replay is clearly worse than greedy (uniform aside)." + _lowest(chosen, policies)
    worst = losers[0]
    line = f"{_full(worst)} earns {percent(-worst.over_greedy)} fewer clicks than greedy ({interval(worst.greedy_interval)})"
    if worst.kind == "thompson":
        line += ": it explores more than a horizon this short can pay back"
    others = [o.name for o in losers[1:4]]
    return f"{line}." + (f" Worse than greedy too: {', '.join(others)}." if others else "")


def level_off(calibration: Mapping[str, Any]) -> float:
    """Predicted over observed clicks of all held-out rows, less 1; 0 where the figures don't say."""
    bins = calibration.get("reliability") or []
    observed = sum(b["observed"] * b["impressions"] for b in bins)
    return sum(b["predicted"] * b["impressions"] for b in bins) / observed - 1 if observed else 0.0


def trust(run: Run) -> str:
    """Calibration and cautions in a sentence each."""
    parts = [_calibrated(run.calibration)] if run.calibration is not None else []
    dispersion = ((run.audit or {}).get("aa") or {}).get("chi2_per_dof")
    if isinstance(dispersion, int | float) and dispersion > 1:
        beyond = f"chi² {fixed(dispersion, 2)} a degree of freedom"
        parts.append(f"Identical arms differ more than chance ({beyond}): trust intervals over tests, not over replicas.")
    return " ".join(parts)


def _calibrated(calibration: Mapping[str, Any]) -> str:
    share, excess = calibration["coverage"]["0.9"], level_off(calibration)
    held = f"90% intervals hold {percent(share)} of held-out click counts"
    if abs(excess) >= 0.1:
        return (
            f"{held}, but the level is off: {percent(abs(excess), 0)} {'more' if excess > 0 else 'fewer'} clicks are predicted than came."
        )
    return f"{held}: {'well calibrated' if 0.88 <= share <= 0.92 else 'too narrow' if share < 0.88 else 'too wide'}."


def _lowest(chosen: Outcome, policies: list[Outcome]) -> str:
    """The policy that came off worst all the same."""
    behind = [o for o in policies if o.greedy_interval and o.over_greedy < 0 and o.kind not in ("uniform", "greedy") and o is not chosen]
    if not behind:
        return ""
    worst = min(behind, key=lambda o: o.over_greedy)
    return f" {_full(worst)} comes closest: {percent(worst.over_greedy, signed=True)} ({interval(worst.greedy_interval)})."


def _full(outcome: Outcome) -> str:
    """A policy's name, a Thompson that is not scaled down marked."""
    return f"{outcome.name} at full width" if outcome.kind == "thompson" and outcome.exploration == 1 else outcome.name
