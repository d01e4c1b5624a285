"""Off-policy estimates: what each policy would have earned from the log, whether to believe it and why not, and the policies' order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recbayes.report.html import Html, breakable, chip, details, div, join, li, p, table, ul
from recbayes.report.numbers import fixed, percent
from recbayes.report.parts import figure, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import LETTER, ROOMY, Area, Scale, dot, line, padded, picture, sized, words, x_axis

KINDS = {"trust": "good", "caution": "warn", "do_not_trust": "bad"}
HUES = {"trust": "c0", "caution": "c1", "do_not_trust": "cf"}
ROW = 30
Estimate = Mapping[str, Any]


def evaluation(run: Run) -> Html | None:
    """The section; None where the run evaluates no policy."""
    found = run.evaluation or {}
    estimates = found.get("estimates")
    if not estimates:
        return None
    return part(
        "evaluation",
        "Policies judged from the log",
        finding(estimates),
        _identified(found.get("identified") or ()),
        _picture(estimates),
        div(table(["policy, estimator", "value", "95% interval", "effective rows", "effective clicks", "verdict"], map(_row, estimates),
                  class_="stack"), class_="card"),
        _order((found.get("ranking") or {}).get("pairs") or ()),
        _positions(estimates),
    )  # fmt: skip


def finding(estimates: Sequence[Estimate]) -> str:
    """In a sentence: how much can be believed."""
    trusted = sum(e["verdict"] == "trust" for e in estimates)
    return f"{trusted} of {len(estimates)} estimates can be trusted; the others say why not."


def rate(value: float | None) -> str:
    """A value with the digits that a click rate needs."""
    if value is None:
        return "–"
    digits = 5 if not value or abs(value) >= 1 else min(2 - math.floor(math.log10(abs(value))), 7)
    return fixed(value, digits if abs(value) < 1 else 3)


def ends(interval: Sequence[float | None]) -> str:
    """An interval's two ends."""
    return "–" if None in interval else f"{rate(interval[0])} to {rate(interval[1])}"


def _row(e: Estimate) -> list[Any]:
    verdict = div(chip(e["verdict"].replace("_", " "), KINDS.get(e["verdict"], "")), div(e["reason"], class_="note"))
    name = join(breakable(e["policy"]), f", {e['estimator']}")
    return [name, rate(e["value"]), ends(e["interval"]), fixed(e["ess"], 0), fixed(e["effective_clicks"], 1), verdict]


def _identified(lines: Sequence[str]) -> Html | None:
    """What a log without propensities tells and what it doesn't."""
    return div(p("What this log can tell"), ul([li(text) for text in lines]), class_="card") if lines else None


def _order(pairs: Sequence[Mapping[str, Any]]) -> Html | None:
    """Which policy is better, and how sure that is."""
    rows = [
        [
            join(breakable(pair["better"]), " over ", breakable(pair["worse"])),
            rate(pair["difference"]),
            rate(pair["stderr"]),
            percent(pair["probability"]) if pair["probability"] is not None else "–",
            chip(pair["verdict"].replace("_", " "), KINDS.get(pair["verdict"], "")),
        ]
        for pair in pairs
    ]
    if not rows:
        return None
    note = f"By {pairs[0]['estimator']}, paired on the same rows. The verdict is the worse one of the two estimates."
    return div(
        p("The order of the policies"),
        table(["better", "by", "standard error", "order is right", "verdict"], rows, class_="stack"),
        p(note, class_="note"),
        class_="card",
    )


def _positions(estimates: Sequence[Estimate]) -> Html | None:
    """Each estimate at each position."""
    rows = [
        [
            join(breakable(e["policy"]), f", {e['estimator']}"),
            at["position"],
            fixed(at["decisions"], 0),
            rate(at["value"]),
            ends(at["interval"]),
        ]
        for e in estimates
        for at in e.get("positions") or ()
    ]
    return details("By position", numbers(["policy, estimator", "position", "rows", "value", "95% interval"], rows)) if rows else None


def _picture(estimates: Sequence[Estimate]) -> Html | None:
    """Values with their intervals, a line an estimate."""
    shown = [e for e in estimates if e["value"] is not None and None not in e["interval"]]
    if not shown:
        return None
    says = "; ".join(f"{e['policy']}, {e['estimator']}: {rate(e['value'])}, {e['verdict'].replace('_', ' ')}" for e in shown)
    return figure("What each policy would have earned", sized(lambda width: _draw(width, shown, says)),
                  note="Dots are estimates, lines 95% intervals; grey ones are not to be trusted.")  # fmt: skip


def _draw(width: int, shown: Sequence[Estimate], says: str) -> Html:
    names = [f"{e['policy']}, {e['estimator']}" for e in shown]
    above = width <= ROOMY  # narrow: names stand above their lines
    left = 12 if above else max(map(len, names)) * LETTER + 20
    step = ROW + 14 if above else ROW
    area = Area(left=left, right=width - 16, top=8, bottom=8 + step * len(shown))
    x = area.x(*padded([end for e in shown for end in (e["value"], *e["interval"])]))
    rows = [_line(x, area.top + step * (i + 0.5), name, e, area, above) for i, (name, e) in enumerate(zip(names, shown))]
    axis = x_axis(area, x, rate, title="value of a decision", about=6 if not above else 3)
    return picture(width, area.bottom + 46, axis, rows, says=says)


def _line(x: Scale, y: float, name: str, e: Estimate, area: Area, above: bool) -> Html:
    hue = HUES.get(e["verdict"], "cf")
    label = words(area.left, y - 10, name, class_="tick") if above else words(area.left - 10, y + 4, name, anchor="end", class_="tick")
    low, high = e["interval"]
    return join(label, line(x.clip(low), y, x.clip(high), y, f"whisker {hue}"), dot(x.clip(e["value"]), y, f"dot {hue}", title=name))
