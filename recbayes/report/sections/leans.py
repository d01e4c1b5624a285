"""Each feature hidden: what becomes of the mean and of both kinds of doubt; and which features explain where the model doubts."""

from __future__ import annotations

from typing import Any

from recbayes.report.html import Html, div, h3, join, p
from recbayes.report.numbers import percent
from recbayes.report.parts import figure, grid, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import HALF, Area, bar, dot, line, picture, sized, words, x_axis

STEP = 58
SHORT = 22
"""Letters of a feature's name that fit a phone's chart."""


def leans(run: Run) -> Html | None:
    """The section; None before training."""
    if run.findings is None:
        return None
    hidden = [record for record in run.findings["hidden"] if "model" in record]
    explained = run.findings["explained"]
    cards = [_hidden(hidden) if hidden else None, _explained(explained) if explained["features"] else None]
    advice = [record["says"] for record in run.findings["hidden"]]
    return part("leans", "What it leans on, and whether it knows what it lacks", explained["says"], grid(*cards), todo(advice))


def todo(sentences: list[str]) -> Html | None:
    """What to do, a sentence each."""
    return div(h3("What to do"), [p(sentence) for sentence in sentences], class_="card") if sentences else None


def _hidden(records: list[dict[str, Any]]) -> Html:
    """Before and after, for the model's part and the data's, an arrowless line a feature."""

    def draw(width: int) -> Html:
        area = Area(8, width - 16, 22, 22 + STEP * len(records))
        x = area.x(0.0, max(value for record in records for side in ("data", "model") for value in record[side]) * 1.08)
        marks = []
        for i, record in enumerate(records):
            top = area.top + STEP * i
            marks.append(words(area.left, top + 12, _short(record["feature"]), class_="label strong"))
            marks += [_pair(x, top + 26 + 14 * j, record[side], hue) for j, (side, hue) in enumerate((("model", "c0"), ("data", "c2")))]
        axis = x_axis(area, x, lambda v: f"±{percent(v, 0)}", title="of the predicted rate; open: known, filled: hidden")
        says = "Median relative uncertainty with each feature known and hidden: " + "; ".join(
            f"{r['feature']} model {percent(r['model'][0])} to {percent(r['model'][1])}, data {percent(r['data'][0])} "
            f"to {percent(r['data'][1])}"
            for r in records
        )
        return picture(width, area.bottom + 42, axis, marks, says=says)

    rows = [
        [r["feature"], percent(r["mean_change"]), *(percent(v) for side in ("model", "data") for v in r[side]), f"{r['rows']} {r['of']}"]
        for r in records
    ]
    head = ["feature", "moves the mean by", "model, known", "model, hidden", "data, known", "data, hidden", "rows"]
    note = "Each feature as if its value had never been seen. Blue: the model's doubt. Green: what the features can't explain. Medians."
    return figure("A feature hidden", sized(draw, HALF), note=note, data=numbers(head, rows))


def _pair(x: Any, y: float, ends: list[float], hue: str) -> Html:
    return join(
        line(x(ends[0]), y, x(ends[1]), y, f"whisker {hue}"),
        dot(x(ends[0]), y, f"dot open {hue}", title=f"known: {percent(ends[0])}"),
        dot(x(ends[1]), y, f"dot {hue}", title=f"hidden: {percent(ends[1])}"),
    )


def _explained(explained: dict[str, Any]) -> Html:
    records = explained["features"]

    def draw(width: int) -> Html:
        area = Area(8, width - 16, 10, 10 + 44 * len(records))
        x = area.x(0.0, max(0.1, *(record["share"] for record in records)) * 1.08)
        marks = [
            join(
                words(area.left, area.top + 44 * i + 13, f"{_short(record['feature'])}: {percent(record['share'])}", class_="label"),
                bar(area.left, area.top + 44 * i + 20, x(record["share"]) - area.left, 12, "fill c0", title=percent(record["share"])),
            )
            for i, record in enumerate(records)
        ]
        says = "Share of the doubt's variance that features explain: " + ", ".join(f"{r['feature']} {percent(r['share'])}" for r in records)
        axis = x_axis(area, x, lambda v: percent(v, 0), title="of the variance of the model's doubt")
        return picture(width, area.bottom + 42, axis, marks, says=says)

    ends = [[f"{r[end]['part']} ({percent(r[end]['model'])})" for end in ("most", "least")] for r in records]
    rows = [[r["feature"], percent(r["share"]), *both] for r, both in zip(records, ends, strict=True)]
    note = "How much of where the model doubts, and where not, each feature accounts for by itself."
    data = numbers(["feature", "explains", "most doubt in", "least doubt in"], rows)
    return figure("What explains the model's doubt", sized(draw, HALF), note=note, data=data)


def _short(name: str) -> str:
    return name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"
