"""Lift curves: how far each policy is ahead of uniform as the horizon passes."""

from __future__ import annotations

import pandas as pd

from recbayes.report.decision import Decision
from recbayes.report.html import Html, div, join, p
from recbayes.report.numbers import fixed, interval, percent, tick
from recbayes.report.outcomes import Outcome, curves
from recbayes.report.parts import colours, figure, key, missing, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import LETTER, ROOMY, Area, Scale, apart, band, dot, line, padded, path, picture, sized, words, x_axis, y_axis


def replay(run: Run, decision: Decision, policies: list[Outcome]) -> Html:
    """The section."""
    if not policies:
        return missing(
            "replay", "What exploring brings", "Policies replayed over held-out experiments, against uniform and greedy.", "simulate"
        )
    if shown := regret(run):
        return shown
    frame = curves(run)
    hues = colours(policies, decision.chosen)
    order = [o.name for o in policies if o.name in set(frame.policy) and o.kind != "uniform"]
    says = f"Lift over uniform by share of the horizon for {len(order)} policies. At the end: " + "; ".join(
        f"{o.name} {percent(o.lift, signed=True)}" for o in policies if o.kind != "uniform"
    )
    drawing = sized(lambda width: _draw(width, frame, order, hues, says))
    return part(
        "replay",
        "What exploring brings",
        _finding(run, policies),
        figure(
            "Clicks over uniform as the horizon passes",
            join(drawing, div(key(order, hues), class_="legend")),
            note="Cumulative lift. Bands: 95% over replicas, on common random numbers; the table's intervals are over test groups.",
            data=_data(frame, order),
        ),
    )


def regret(run: Run) -> Html | None:
    """The section of a world whose optimum is known: how far each policy was behind it. None for other worlds."""
    records = {name: record for name, record in (run.simulation or {}).get("policies", {}).items() if "regret_over_uniform" in record}
    if not records:
        return None
    ranked = sorted(records.items(), key=lambda named: named[1]["regret_over_uniform"])
    rows = [
        [
            name,
            percent(record["regret_over_uniform"], 2),
            interval(record["regret_interval"], 2),
            percent(float("nan") if record["regret_stddev"] is None else record["regret_stddev"], 2),
            fixed(record["regret_per_decision"], 4),
        ]
        for name, record in ranked
    ]
    head = ["policy", "regret, share of uniform's", "95% over replicas", "standard deviation", "regret a decision"]
    world = run.simulation or {}
    sizes = f"{fixed(world.get('decisions', 0), 0)} decisions, {fixed(world.get('seeds', 0), 0)} replicas"
    finding = f"The optimum of the {world.get('world')} world is known: {ranked[0][0]} was behind it by the least. {sizes}."
    return part("replay", "What exploring brings", finding, numbers(head, rows))


def _finding(run: Run, policies: list[Outcome]) -> Html:
    world = run.simulation or {}
    sizes = [(name, world.get(name)) for name in ("groups", "arms", "decisions", "steps", "seeds")]
    groups, arms, decisions, steps, seeds = (fixed(value, 0) if isinstance(value, int) else None for _, value in sizes)
    what = (
        f"{groups or 'Held-out'} groups" + (f" with {arms} arms" if arms else "") + " were replayed, real clicks drawn without replacement"
    )
    how = f": {decisions} showings in {steps} updates, {seeds} times over" if decisions and steps and seeds else ""
    reasons = "; ".join(f"{fixed(count, 0)} left out: {reason}" for reason, count in (world.get("left_out") or {}).items() if count)
    ahead = [o.name for o in policies if o.beats_greedy]
    greedy = next((o.name for o in policies if o.reference), "greedy")
    verdict = f"Ahead of {greedy} beyond doubt: {', '.join(ahead)}." if ahead else f"No policy is ahead of {greedy} beyond doubt."
    return join(verdict, f" {what}{how}", f" ({reasons})" if reasons else None, ".")


def _data(frame: pd.DataFrame, order: list[str]) -> Html:
    shares = sorted(frame.share.unique())
    picked = shares if len(shares) <= 12 else [min(shares, key=lambda s: abs(s - k / 10)) for k in range(1, 11)]
    lifts = frame.set_index(["policy", "share"]).lift
    rows = [[name, *(percent(float(lifts.get((name, s), float("nan"))), signed=True) for s in picked)] for name in order]
    return join(p("Lift over uniform at each share of the horizon."), numbers(["policy", *(percent(s, 0) for s in picked)], rows))


def _draw(width: int, frame: pd.DataFrame, order: list[str], hues: dict[str, str], says: str) -> Html:
    roomy = width > ROOMY
    labels = max(len(name) for name in order) * LETTER + 70 if roomy else 14
    area = Area(left=44, right=width - labels, top=28, bottom=(400 if roomy else 270) - 46)
    shown = frame[frame.policy.isin(order) & (frame.share >= 0.02)]
    x, y = area.x(0, 1), area.y(*padded([*shown.lift], include=[0.0]))
    marks = [_curve(shown[shown.policy == name], hues[name], x, y) for name in reversed(order)]
    zero = join(line(area.left, y(0), area.right, y(0), "zero"), words(area.right, y(0) - 6, "uniform", anchor="end", class_="tick"))
    axes = join(
        y_axis(area, y, lambda v: tick(v, signed=True), title="lift over uniform", about=6 if roomy else 4),
        x_axis(area, x, tick, title="share of the horizon"),
    )
    return picture(width, area.bottom + 46, axes, zero, marks, _labels(shown, order, hues, x, y, area) if roomy else None, says=says)


def _curve(rows: pd.DataFrame, hue: str, x: Scale, y: Scale) -> Html:
    rows = rows.sort_values("share")
    xs = [x(v) for v in rows.share]
    last = rows.iloc[-1]
    return join(
        band(xs, [y.clip(v) for v in rows.lower], [y.clip(v) for v in rows.upper], f"band {hue}") if hue != "cf" else None,
        path(list(zip(xs, [y.clip(v) for v in rows.lift])), f"curve {hue}"),
        dot(xs[-1], y.clip(last.lift), f"dot {hue}", title=f"{last.policy}: {percent(last.lift, signed=True)} at the end"),
    )


def _labels(shown: pd.DataFrame, order: list[str], hues: dict[str, str], x: Scale, y: Scale, area: Area) -> Html:
    """Names at the curves' ends, moved apart; faint policies have theirs in the table alone."""
    named = [name for name in order if hues[name] != "cf"]
    ends = shown.sort_values("share").groupby("policy").lift.last()
    heights = apart([y.clip(ends[name]) for name in named], 17, area.top, area.bottom)
    return join(
        [
            join(
                line(area.right + 5, y.clip(ends[name]), area.right + 12, height, f"leader {hues[name]}"),
                words(area.right + 15, height + 4, [name, " ", percent(ends[name], signed=True)], class_=f"end {hues[name]}"),
            )
            for name, height in zip(named, heights)
        ]
    )
