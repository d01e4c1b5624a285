"""What impressions would tell: uncertainty against an item's own and those of each categorical value, and what rare values are worth."""

from __future__ import annotations

import math
from typing import Any

from recbayes.report.html import Html, div, h3, join, p
from recbayes.report.numbers import fixed, percent
from recbayes.report.parts import figure, grid, numbers, part
from recbayes.report.run import Run
from recbayes.report.sections.leans import todo
from recbayes.report.svg import HALF, Area, dot, path, picture, sized, words, x_axis, y_axis

PARTS = (("total", "cu", "both"), ("data", "c2", "data"), ("model", "c0", "model"))


def exposure(run: Run) -> Html | None:
    """The section; None before training."""
    if run.findings is None:
        return None
    values, left = run.findings["values"], run.findings["left_out"] or []
    advice = [record["says"] for record in (*values, *left)]
    cards = [_item(run.findings["item"]["curve"]), *(_values(record) for record in values)]
    return part("exposure", "What more impressions would tell", run.findings["item"]["says"], grid(*cards), todo(advice))


def _item(curve: list[dict[str, float]]) -> Html:
    """Medians over rows, on a logarithmic scale of impressions whose left end is none."""
    places = [math.log10(max(point["impressions"], curve[1]["impressions"] / 3)) for point in curve]

    def draw(width: int) -> Html:
        area = Area(46, width - 46, 26, 236)
        x, y = area.x(places[0], places[-1]), area.y(0.0, curve[0]["total"] * 1.05)
        marks = [
            join(
                path([(x(at), y(point[name])) for at, point in zip(places, curve, strict=True)], f"curve {hue}"),
                [
                    dot(x(at), y(point[name]), f"dot {hue}", title=f"{name}: {percent(point[name])} at {fixed(point['impressions'], 0)}")
                    for at, point in zip(places, curve, strict=True)
                ],
            )
            for name, hue, _ in PARTS
        ]
        names = words(x(places[1]), y(curve[1]["model"]) - 9, "model", class_="label end c0")
        names = join(names, words(x(places[2]) + 6, y(curve[2]["total"]) - 9, "both", class_="label strong"))
        shown = range(len(curve)) if width > 400 else range(0, len(curve), 2)
        axes = join(
            y_axis(area, y, lambda v: f"±{percent(v, 0)}", title="of the rate"),
            x_axis(
                area,
                x,
                lambda v: _short(curve[min(range(len(places)), key=lambda i: abs(places[i] - v))]["impressions"]),
                title="own impressions",
                at=[places[i] for i in shown],
            ),
        )
        says = "Median relative uncertainty by own impressions: " + ", ".join(
            f"{fixed(point['impressions'], 0)} {percent(point['total'])}" for point in curve
        )
        return picture(width, 276, axes, marks, names, says=says)

    rows = [[fixed(c["impressions"], 0), percent(c["data"]), percent(c["model"]), percent(c["total"])] for c in curve]
    note = "An item that gets the clicks expected of it. Green (data) lies under both where the model's part is small."
    return figure("As an item is shown", sized(draw, HALF), note=note, data=numbers(["impressions", "data", "model", "both"], rows))


def _short(count: float) -> str:
    """A number of impressions on an axis."""
    return f"{count / 1000:g}k" if count >= 1000 else f"{count:g}"


def _values(record: dict[str, Any]) -> Html:
    parts = record["parts"]
    table = numbers(
        ["shown in training", "rows", "model", "data", "covered"],
        [[one["part"], fixed(one["rows"], 0), percent(one["model"]), percent(one["data"]), percent(one["coverage"])] for one in parts],
    )
    most = numbers(
        ["value", "rows", "shown", "model"],
        [[one["value"], fixed(one["rows"], 0), fixed(one["impressions"], 0), percent(one["model"])] for one in record["most"]],
    )
    note = "Medians of the uncertainty relative to the rate; covered: by 90% intervals of the count."
    return div(
        h3(f"By value of {record['feature']}"),
        p(note, class_="note"),
        table,
        h3("Values that weigh most in the model's doubt"),
        most,
        class_="card",
    )
