"""Posteriors side by side: what each is worth, how far from the reference, what it costs; bias against noise as draws are added."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recbayes.report.html import Html, breakable, div, join, li, p, span, table, ul
from recbayes.report.numbers import fixed, percent, seconds
from recbayes.report.parts import HUES, figure, grid, key, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import HALF, Area, Scale, dot, line, path, picture, sized, words

LEAST = 1e-3
"""Errors below this, in reference stddevs, are drawn here."""
ERRORS = {
    "mean_error": ("Error of the mean", "Root mean square over rows, in the reference's model stddevs."),
    "stddev_error": ("Error of the model stddev", "Root mean square over rows of the stddev's ratio to the reference's, less 1."),
}


def comparison(run: Run) -> Html | None:
    """The section; None without a comparison."""
    found = run.comparison
    if found is None:
        return None
    rows, errors = found["rows"], found["error_by_draws"]
    hues = {name: f"c{i}" if i < HUES else "cf" for i, name in enumerate(errors)}
    fitted = [row for row in rows if row["reason"] is None]
    cards = [_curves(which, errors, hues) for which in ERRORS] if errors else []
    return part(
        "comparison",
        "Posteriors side by side",
        _finding(fitted, found["reference"]),
        div(_table(fitted, hues), class_="card") if fitted else None,
        grid(*cards) if cards else None,
        p(_lesson(errors, rows, found["reference"]), class_="note") if errors else None,
        _left_out(rows),
    )


def _finding(fitted: list[dict[str, Any]], reference: Mapping[str, Any] | None) -> str:
    if not fitted:
        return "No posterior could be fitted."
    best = max(fitted, key=lambda row: row["log_likelihood_per_row"])
    says = f"{best['name']} predicts held-out rows best: {fixed(best['log_likelihood_per_row'], 3)} nats a row, its 90% intervals hold "
    says += f"{percent(best['coverage'])}."
    if reference is not None:
        kind = "exact up to its draws" if reference["exact"] else "itself an approximation: NUTS is not in the comparison"
        says += f" Distances are to {reference['name']} ({fixed(reference['draws'], 0)} draws, {kind})."
        says += "".join(f" Its fit warns: {warning}." for warning in reference["warnings"])
    return says


def _table(fitted: list[dict[str, Any]], hues: Mapping[str, str]) -> Html:
    policies = sorted({policy for row in fitted for policy in row["lift"]})
    head = ["posterior", "nats a row", "90% hold", "CRPS", "data", "model", "mean off by", "stddev to reference", "training", "to map"]
    head += ["64 draws, 10,000 rows", *(f"lift, {policy}" for policy in policies)]
    ordered = sorted(fitted, key=lambda row: -row["log_likelihood_per_row"])
    return table(head, [_cells(row, hues, policies) for row in ordered], class_="plain")


def _cells(row: dict[str, Any], hues: Mapping[str, str], policies: list[str]) -> list[Any]:
    def shown(name: str, digits: int) -> str:
        return fixed(row[name], digits) if row.get(name) is not None else "–"

    few = "" if row["inference_draws"] == 64 else f" ({row['inference_draws']} draws)"
    return [
        span(span(class_=f"swatch {hues.get(row['name'], 'cf')}"), span(breakable(row["name"])), class_="policy"),
        shown("log_likelihood_per_row", 3),
        percent(row["coverage"]),
        shown("crps", 2),
        f"±{percent(row['data_stddev'], 0)}",
        f"±{percent(row['model_stddev'], 1)}",
        shown("mean_distance", 2),
        shown("stddev_ratio", 2),
        seconds(row["train_seconds"]),
        f"{shown('train_ratio', 1)}×",
        f"{seconds(row['inference_seconds'])}{few}",
        *(percent(row["lift"].get(policy, math.nan), signed=True) for policy in policies),
    ]


def _lesson(errors: Mapping[str, list[dict[str, Any]]], rows: list[dict[str, Any]], reference: Mapping[str, Any]) -> str:
    """Bias against noise, in figures: what averaging more draws bought."""
    kinds = {row["name"]: row["kind"] for row in rows}
    names = [name for name in errors if kinds[name] == "mean_field"]
    says = (
        "A sampler's draws err by noise, which falls as 1/√S (dashed); an approximation errs by its bias too, and no number of draws helps."
    )
    for name in names:
        last = errors[name][-1]
        says += f" {name} comes to rest at {fixed(last['mean_error'], 2)} of a stddev in the mean and {percent(last['stddev_error'], 0)} in"
        says += f" the stddev after {last['draws']} draws."
    own = errors.get(reference["name"])
    if own:
        says += f" {reference['name']} is still falling at {own[-1]['draws']} draws ({fixed(own[-1]['mean_error'], 2)})."
    return says


def _curves(which: str, errors: Mapping[str, list[dict[str, Any]]], hues: dict[str, str]) -> Html:
    title, note = ERRORS[which]
    sizes = sorted({record["draws"] for records in errors.values() for record in records})

    def draw(width: int) -> Html:
        area = Area(46, width - 14, 14, 236)
        values = [max(record[which], LEAST) for records in errors.values() for record in records]
        low, high = math.floor(math.log10(min(values)) * 2) / 2, math.ceil(math.log10(max(values)) * 2) / 2
        x, y = area.x(math.log2(sizes[0]) - 0.2, math.log2(sizes[-1]) + 0.2), area.y(low, max(high, low + 0.5))
        lines = [_line(records, which, x, y, hues[name], name) for name, records in errors.items()]
        says = f"{title} by draws: " + "; ".join(
            f"{name} {fixed(records[0][which], 2)} at {records[0]['draws']}, {fixed(records[-1][which], 2)} at {records[-1]['draws']}"
            for name, records in errors.items()
        )
        return picture(width, 276, _axes(area, x, y, sizes), _root(area, x, y, sizes), lines, says=says)

    data = numbers(
        ["draws", *errors],
        [
            [size, *(next((fixed(r[which], 3) for r in records if r["draws"] == size), "–") for records in errors.values())]
            for size in sizes
        ],
    )
    return figure(title, join(sized(draw, HALF), key(errors, hues)), note=note, data=data)


def _axes(area: Area, x: Scale, y: Scale, sizes: list[int]) -> Html:
    """Logarithms on both axes, with the numbers themselves as labels."""
    levels = [level for level in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0) if y.low <= math.log10(level) <= y.high]
    rows = [
        join(
            line(area.left, y(math.log10(level)), area.right, y(math.log10(level)), "grid"),
            words(area.left - 7, y(math.log10(level)) + 4, f"{level:g}", anchor="end", class_="tick"),
        )
        for level in levels
    ]
    columns = [words(x(math.log2(size)), area.bottom + 17, size, anchor="middle", class_="tick") for size in sizes]
    name = words((area.left + area.right) / 2, area.bottom + 36, "draws averaged, S", anchor="middle", class_="axis")
    return join(rows, line(area.left, area.bottom, area.right, area.bottom, "base"), columns, name)


def _root(area: Area, x: Scale, y: Scale, sizes: list[int]) -> Html:
    """1 / sqrt(S): the standard error of a mean of independent draws, in their stddevs."""
    ends = [(math.log2(size), -0.5 * math.log10(size)) for size in sizes if y.low <= -0.5 * math.log10(size) <= y.high]
    return line(x(ends[0][0]), y(ends[0][1]), x(ends[-1][0]), y(ends[-1][1]), "ideal") if len(ends) > 1 else join()


def _line(records: list[dict[str, Any]], which: str, x: Scale, y: Scale, hue: str, name: str) -> Html:
    points = [(x(math.log2(r["draws"])), y(math.log10(max(r[which], LEAST)))) for r in records]
    marks = [dot(px, py, f"dot {hue}", r=3.0, title=f"{name}, {r['draws']}: {fixed(r[which], 3)}") for (px, py), r in zip(points, records)]
    return join(path(points, f"curve {hue}"), marks)


def _left_out(rows: list[dict[str, Any]]) -> Html | None:
    """Methods without held-out figures, or without distances, and why."""
    told = [(row["name"], what, row[reason]) for row in rows for reason, what in REASONS.items() if row.get(reason)]
    return ul([li(f"{name}, {what}: {why}") for name, what, why in told], class_="note") if told else None


REASONS = {"reason": "no held-out figures", "small_reason": "no distance"}
