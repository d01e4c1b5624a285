"""The table of policies: lifts over uniform and over greedy with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbayes.report.decision import Decision
from recbayes.report.html import Html, breakable, chip, details, div, join, p, small, span, table
from recbayes.report.numbers import fixed, interval, percent
from recbayes.report.outcomes import Outcome, compared
from recbayes.report.parts import colours, part
from recbayes.report.run import Run
from recbayes.report.svg import Area, Scale, dot, line, padded, picture


def policies_table(run: Run, decision: Decision, policies: list[Outcome]) -> Html | None:
    """The section; None without a replay."""
    if not policies:
        return None
    hues = colours(policies, decision.chosen)
    reference = next((o.name for o in policies if o.reference), "not in the replay")
    scales = [
        padded([v for o in policies for v in (o.lift, *(o.interval or ()))], include=[0.0]),
        padded([v for o in policies if o.kind != "uniform" for v in (o.over_greedy, *(o.greedy_interval or ()))], include=[0.0]),
    ]
    rows = [
        [
            _name(o, hues[o.name], decision.chosen),
            _cell(o.lift, o.interval, scales[0], hues[o.name]),
            _cell(o.over_greedy, o.greedy_interval, scales[1], hues[o.name]),
            percent(o.early, signed=True),
            _verdict(o),
        ]
        for o in policies
    ]
    head = ["policy", "over uniform", "over greedy", "after 10%", "against greedy"]
    return part(
        "policies",
        "All policies",
        "Lifts in clicks at the end of the horizon with 95% intervals over test groups, paired on the same groups and random numbers. "
        f"Greedy is {reference}. {_rule(run)}",
        div(table(head, rows, class_="policies"), class_="card"),
        _pairs(run),
    )


def _rule(run: Run) -> str:
    """What makes a policy better, worse or the same."""
    if not compared(run):
        return "Where the interval against it holds 0, a policy is called the same."
    family = run.simulation["comparisons"]["multiplicity"] if run.simulation else ""
    return f"A policy is called better or worse where that holds for all comparisons of the replay together ({family}), else the same."


def _pairs(run: Run) -> Html | None:
    """Every comparison, with what holds for those who look after every group."""
    rows = [
        [
            breakable(pair["policy"]),
            breakable(pair["other"]),
            percent(pair["lift"], signed=True),
            interval(pair["interval"] if None not in pair["interval"] else None),
            fixed(pair["p_holm"], 3),
            _looked(pair["sequence"]),
            pair["verdict"],
        ]
        for pair in compared(run)
    ]
    if not rows:
        return None
    over = run.simulation["comparisons"]["over"] if run.simulation else "groups"
    head = ["policy", "against", "lift", "95% interval", "p, all together", "however often one looks", "verdict"]
    return div(
        details(
            f"All {len(rows)} comparisons",
            p(
                "p is of no difference, corrected for the number of comparisons. The second interval holds at every moment at once,"
                f" for those who look after each of the {over} and stop when it is clear; it is wider for that."
            ),
            table(head, rows, class_="plain", numeric_from=2),
        ),
        class_="card",
    )


def _looked(sequence: Mapping[str, Any]) -> str:
    """The interval that holds however often one looks, and when it was clear."""
    low, high = sequence["interval"]
    if low is None or high is None:
        return "too few to say"
    after = sequence["decided_after"]
    return f"{interval((low, high))}" + (f", clear after {after:,}" if after else "")


def _name(outcome: Outcome, hue: str, chosen: Outcome | None) -> Html:
    label = chip("recommended", "good") if chosen is not None and outcome.name == chosen.name else None
    return join(span(span(class_=f"swatch {hue}"), span(breakable(outcome.name)), class_="policy"), label)


def _cell(value: float, ends: tuple[float, float] | None, scale: tuple[float, float], hue: str) -> Html:
    return span(
        _whisker(value, ends, Area(4, 116, 0, 18).x(*scale), hue) if ends else None,
        span(
            span(percent(value, signed=True), class_="value"),
            small(interval(ends) if ends and ends[0] < ends[1] else "reference"),
            class_="figures",
        ),
        class_="measure",
    )


def _whisker(value: float, ends: tuple[float, float], x: Scale, hue: str) -> Html:
    return span(
        picture(
            120,
            18,
            line(x(0), 0, x(0), 18, "zero"),
            line(x.clip(ends[0]), 9, x.clip(ends[1]), 9, f"whisker {hue}"),
            dot(x.clip(value), 9, f"dot {hue}", r=3.5),
            says="",
        ),
        class_="whisker-cell",
    )


def _verdict(outcome: Outcome) -> Html:
    if outcome.reference:
        return chip("reference")
    if outcome.beats_greedy:
        return chip("better", "good")
    if outcome.loses_to_greedy:
        return chip("worse", "bad")
    return chip("same")
