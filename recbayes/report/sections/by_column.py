"""Coverage in the parts of a column: values, or quarters of a number."""

from __future__ import annotations

from typing import Any

from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed, interval, percent
from recbayes.report.parts import figure, numbers
from recbayes.report.svg import HALF, Area, dot, line, picture, sized, words, x_axis

STEP = 38
SHORT = 22


def by_column(name: str, records: list[dict[str, Any]]) -> Html:
    """The card of one column."""
    ends = [(r["lower"], r["upper"]) if r["lower"] is not None else None for r in records]

    def draw(width: int) -> Html:
        area = Area(10, width - 14, 8, 8 + STEP * len(records))
        x = area.x(min(0.75, *(r["coverage"] for r in records), *(e[0] for e in ends if e)) - 0.01, 1.0)
        marks = [line(x(0.9), area.top, x(0.9), area.bottom, "ideal")]
        for i, (record, end) in enumerate(zip(records, ends, strict=True)):
            y = area.top + STEP * i + 27
            marks.append(words(area.left, y - 12, f"{_short(record['part'])}: {fixed(record['rows'], 0)} rows", class_="label"))
            marks.append(
                join(
                    line(x(end[0]), y, x(end[1]), y, "whisker c0") if end else None,
                    dot(x(record["coverage"]), y, "dot c0", title=percent(record["coverage"])),
                )
            )
        axis = x_axis(area, x, lambda v: percent(v, 0), title="rows covered by 90% intervals", about=4)
        says = f"Coverage of 90% intervals by {name}: " + ", ".join(f"{r['part']} {percent(r['coverage'], 0)}" for r in records)
        return picture(width, area.bottom + 42, axis, marks, says=says)

    rows = [[r["part"], fixed(r["rows"], 0), percent(r["coverage"]), interval(e)] for r, e in zip(records, ends, strict=True)]
    note = "Values with few rows together, those that training never saw apart. Bars: 95%, groups counted."
    return figure(f"Coverage by {name}", sized(draw, HALF), note=note, data=numbers(["part", "rows", "covered", "95% interval"], rows))


def _short(part: str) -> str:
    return part if len(part) <= SHORT else f"{part[: SHORT - 1]}…"
