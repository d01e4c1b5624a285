"""The monitor's page: one HTML file, no network."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recbayes.monitor.figures import Monitor
from recbayes.report import document
from recbayes.report.html import Html, h1, p, tag
from recbayes.report.parts import figure, numbers, part
from recbayes.report.svg import Area, dot, padded, path, picture, sized, x_axis, y_axis


def write(found: Monitor, target: str | os.PathLike[str], title: str) -> Path:
    """Writes the page beside and renames it."""
    page = document.document(f"{title}: recbayes monitor", tag("main", h1(title), *body(found)))
    return document.write(page, Path(target))


def body(found: Monitor) -> list[Html]:
    """The sections."""
    figures = found.figures
    says = found.warnings or ["Nothing is out of the ordinary."]
    explored, rate = figures["exploration"], figures["click_rate"]
    summary = [
        ("decisions", f"{figures['decisions']:,}"),
        ("click rate", f"{rate['observed']:.4f}"),
        ("expected", f"{rate['expected']:.4f}"),
    ]
    summary += [("difference in standard errors", f"{rate['z']:.1f}")]
    if "coverage" in figures:
        of = figures["coverage"]
        summary.append((f"{of['level']:.0%} intervals hold", f"{of['share']:.1%} of {of['items']:,} items"))
    spread = [("shown beside the likeliest candidate", f"{explored['not_the_likeliest']:.1%} of decisions")]
    spread += [("spread as over", f"{explored['effective_candidates']:.2f} of {explored['candidates']:.1f} candidates")]
    spread += [("expected price in clicks", f"{explored['cost']:.2%}")]
    drawn = sized(lambda width: _chart(figures["periods"], width))
    note = "Points: observed in ten equal parts of the decisions. Line: expected when they were made."
    chart = figure("Click rate, and what was expected", drawn, note=note, data=_periods(figures["periods"]))
    parts = [
        part("found", "What was found", None, [p(sentence) for sentence in says], numbers(["figure", "value"], summary)),
        part("rate", "Clicks over time", None, chart),
        part("exploration", "Exploration", None, numbers(["figure", "value"], spread)),
    ]
    if "features" in figures:
        rows = [
            (name, f"{f['psi']:.3f}", f"{f['by_chance']:.3f}", _percent(f.get("oov")), _percent(f.get("oov_in_training")))
            for name, f in figures["features"].items()
        ]
        heads = ["feature", "stability index", "of so few by chance", "never seen in training", "in training itself"]
        parts.append(part("drift", "Features", None, numbers(heads, rows)))
    return parts


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _chart(periods: list[dict[str, Any]], width: int) -> Html:
    area = Area(56, width - 12, 12, 190)
    rates = [of[name] for of in periods for name in ("observed", "expected")]
    x, y = area.x(0.5, len(periods) + 0.5), area.y(*padded(rates, include=[0.0]))
    expected = [(x(i + 1), y(of["expected"])) for i, of in enumerate(periods)]
    points = [dot(x(i + 1), y(of["observed"]), "c0", title=f"{of['observed']:.4f}") for i, of in enumerate(periods)]
    axes = [x_axis(area, x, lambda v: f"{v:.0f}", title="tenth of the decisions"), y_axis(area, y, lambda v: f"{v:.3f}")]
    return picture(width, 230, *axes, path(expected, "cu"), *points, says="observed and expected click rate over time")


def _periods(periods: list[dict[str, Any]]) -> Html:
    day = [datetime.fromtimestamp(of["from"], UTC).strftime("%Y-%m-%d %H:%M") for of in periods]
    rows = [
        (when, f"{of['decisions']:,}", f"{of['observed']:.4f}", f"{of['expected']:.4f}", f"{of['z']:.1f}") for when, of in zip(day, periods)
    ]
    return numbers(["from", "decisions", "observed", "expected", "z"], rows)
