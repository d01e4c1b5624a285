"""Calibration on held-out rows: PIT, coverage by level, by decile of impressions and by column, reliability."""

from __future__ import annotations

import math
from typing import Any

from recbayes.report.decision import level_off
from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed, interval, percent, places, rate, tick
from recbayes.report.parts import figure, grid, missing, numbers, part
from recbayes.report.run import Run
from recbayes.report.sections.by_column import by_column
from recbayes.report.svg import HALF, Area, bar, dot, line, padded, path, picture, sized, x_axis, y_axis


def calibration(run: Run) -> Html:
    """The section."""
    figures = run.calibration
    if figures is None:
        return missing(
            "calibration", "Does it know what it doesn't know?", "Coverage of held-out click counts and the shape of the errors.", "train"
        )
    cards = [_by_level(figures), _by_decile(figures), _pit(figures), _reliability(figures) if figures.get("reliability") else None]
    cards += [by_column(name, records) for name, records in figures.get("coverage_by", {}).items() if len(records) > 1]
    return part("calibration", "Does it know what it doesn't know?", _finding(figures), grid(cards))


def _finding(figures: dict[str, Any]) -> str:
    share, deciles = figures["coverage"]["0.9"], figures["coverage_by_decile"]["0.9"]
    rows = f" of {fixed(figures['rows'], 0)} rows" if "rows" in figures else ""
    return (
        f"90% intervals hold the observed clicks{rows} {percent(share)} of the time, and between {percent(min(deciles), 0)} and "
        f"{percent(max(deciles), 0)} in every tenth of the rows by impressions. Predictions are from features alone, on rows that "
        f"training never saw.{_level(figures)}{_mapped(figures)}"
    )


def _level(figures: dict[str, Any]) -> str:
    """Whether predicted clicks are too many or too few on the whole: click rates drift, and a slope of the PIT is how that looks."""
    excess = level_off(figures)
    if abs(excess) < 0.03:
        return ""
    return f" On the whole {percent(abs(excess), 0)} {'more' if excess > 0 else 'fewer'} clicks are predicted than came."


def _mapped(figures: dict[str, Any]) -> str:
    """What recalibration did, where there is one."""
    found = figures.get("recalibration")
    if not found:
        return ""
    change = "narrower" if found["scale"] < 1 else "wider"
    return (
        f" Intervals are recalibrated on {fixed(found['groups'], 0)} groups set aside from training: "
        f"{percent(abs(found['scale'] - 1), 0)} {change}, "
        f"moved by {fixed(found['shift'], 2, signed=True)} standard deviations; before, 90% intervals held "
        f"{percent(found['coverage_before']['0.9'])}."
    )


def _by_level(figures: dict[str, Any]) -> Html:
    levels = sorted(figures["coverage"], key=float)
    intervals = figures.get("coverage_interval", {})
    rows = [[percent(float(v), 0), percent(figures["coverage"][v]), interval(intervals.get(v))] for v in levels]

    def draw(width: int) -> Html:
        area = Area(46, width - 12, 26, 236)
        x, y = area.x(0.42, 1.0), area.y(0.42, 1.0)
        marks = [
            join(
                line(x(float(v)), y.clip(intervals[v][0]), x(float(v)), y.clip(intervals[v][1]), "whisker c0") if v in intervals else None,
                dot(x(float(v)), y.clip(figures["coverage"][v]), "dot c0", r=4.5, title=f"{v}: {percent(figures['coverage'][v])}"),
            )
            for v in levels
        ]
        axes = join(
            y_axis(area, y, tick, title="rows covered"),
            x_axis(area, x, tick, title="level of the interval", at=[float(v) for v in levels if width > 400 or v != "0.95"]),
        )
        says = "Share of rows covered by level: " + ", ".join(f"{v} {percent(figures['coverage'][v])}" for v in levels)
        return picture(width, 276, axes, path([(x(0.42), y(0.42)), (x(1), y(1))], "ideal"), marks, says=says)

    note = "On the dashed line intervals hold what they say. Bars: 95%, groups counted."
    return figure("Coverage by level", sized(draw, HALF), note=note, data=numbers(["level", "covered", "95% interval"], rows))


def _by_decile(figures: dict[str, Any]) -> Html:
    shares = figures["coverage_by_decile"]["0.9"]
    ends = figures.get("coverage_by_decile_interval", {}).get("0.9") or [None] * len(shares)
    shown = figures.get("decile_impressions") or [math.nan] * len(shares)
    rows = [[i + 1, fixed(shown[i], 0), percent(share), interval(ends[i])] for i, share in enumerate(shares)]

    def draw(width: int) -> Html:
        area = Area(46, width - 12, 26, 236)
        x = area.x(0.5, len(shares) + 0.5)
        y = area.y(min(0.7, *shares, *(e[0] for e in ends if e)) - 0.02, 1.0)
        marks = [
            join(
                line(x(i + 1), y(ends[i][0]), x(i + 1), y(ends[i][1]), "whisker c0") if ends[i] else None,
                dot(x(i + 1), y(share), "dot c0", title=f"{percent(share)} at {fixed(shown[i], 0)} impressions"),
            )
            for i, share in enumerate(shares)
        ]
        axes = join(
            y_axis(area, y, tick, title="rows covered by 90% intervals"),
            x_axis(area, x, lambda v: f"{v:.0f}", title="tenth of the rows, by impressions", at=range(1, len(shares) + 1)),
            line(area.left, y(0.9), area.right, y(0.9), "ideal"),
        )
        says = "Coverage of 90% intervals by tenth of impressions: " + ", ".join(percent(share, 0) for share in shares)
        return picture(width, 276, axes, marks, says=says)

    note = "Few impressions on the left, many on the right. Bars: 95%, groups counted."
    head = ["tenth", "median impressions", "covered", "95% interval"]
    return figure("Coverage by impressions", sized(draw, HALF), note=note, data=numbers(head, rows))


def _pit(figures: dict[str, Any]) -> Html:
    counts = figures["pit"]
    shares = [c / max(sum(counts), 1) * len(counts) for c in counts]

    def draw(width: int) -> Html:
        area = Area(46, width - 12, 26, 236)
        x, y = area.x(0, 1), area.y(0, max(1.5, *shares) * 1.05)
        half = 1.96 * math.sqrt(len(counts) / max(sum(counts), 1))
        bars = [
            bar(
                x(i / len(counts)) + 1,
                y(v),
                x((i + 1) / len(counts)) - x(i / len(counts)) - 2,
                area.bottom - y(v),
                "fill c0",
                title=f"{v:.2f}",
            )
            for i, v in enumerate(shares)
        ]
        axes = join(
            y_axis(area, y, lambda v: fixed(v, places(v, 1)), title="rows, relative to flat"),
            x_axis(area, x, lambda v: fixed(v, 1), title="PIT of the count"),
        )
        flat = join(
            bar(area.left, y(1 + half), area.right - area.left, y(1 - half) - y(1 + half), "expected", rx=0.0),
            line(area.left, y(1), area.right, y(1), "ideal"),
        )
        return picture(
            width, 276, axes, bars, flat, says="Histogram of the PIT, relative to flat: " + ", ".join(f"{v:.2f}" for v in shares)
        )

    note = "Flat is right; a bowl means intervals too narrow, a hump too wide, a slope a level that is off. Band: 95% for independent rows."
    width = 1 / len(counts)
    data = numbers(["from", "rows", "relative to flat"], [[fixed(i * width, 2), c, fixed(shares[i], 2)] for i, c in enumerate(counts)])
    return figure("Where counts fall in their predictions (PIT)", sized(draw, HALF), note=note, data=data)


def _reliability(figures: dict[str, Any]) -> Html:
    bins = figures["reliability"]

    def draw(width: int) -> Html:
        area = Area(54, width - 12, 26, 236)
        ends = padded([v for b in bins for v in (b["predicted"], b["lower"], b["upper"])])
        low, high = max(ends[0], 0.0), ends[1]
        x, y = area.x(low, high), area.y(low, high)
        marks = [
            join(
                line(x(b["predicted"]), y(b["lower"]), x(b["predicted"]), y(b["upper"]), "whisker c0"),
                dot(
                    x(b["predicted"]), y(b["observed"]), "dot c0", title=f"predicted {rate(b['predicted'])}, observed {rate(b['observed'])}"
                ),
            )
            for b in bins
        ]
        axes = join(
            y_axis(area, y, rate, title="observed click rate", about=4),
            x_axis(area, x, rate, title="predicted click rate", about=5 if width > 400 else 3),
            path([(x(low), y(low)), (x(high), y(high))], "ideal"),
        )
        says = "Observed against predicted click rate: " + ", ".join(f"{rate(b['predicted'])} to {rate(b['observed'])}" for b in bins)
        return picture(width, 276, axes, marks, says=says)

    rows = [[rate(b["predicted"]), rate(b["observed"]), f"{rate(b['lower'])} to {rate(b['upper'])}", fixed(b["rows"], 0)] for b in bins]
    note = "Tenths of the rows by predicted rate. Bars: 95%, groups counted."
    data = numbers(["predicted", "observed", "95% interval", "rows"], rows)
    return figure("Reliability", sized(draw, HALF), note=note, data=data)
