"""The items that the model is least sure of, and why: too little data (model), or a spread that the features can't explain (data)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from recbayes.report.html import Html, div, h3, join, li, ol, p, span, tag
from recbayes.report.numbers import percent, rate, tick
from recbayes.report.parts import figure, grid, missing, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import ROOMY, Area, dot, padded, picture, sized, x_axis, y_axis

SHOWN = 6
CLOUD = 900
RESERVED = {
    *("item", "group", "clicks", "impressions", "mean", "data_stddev", "model_stddev", "stddev"),
    *("lower", "upper", "clicks_lower", "clicks_upper", "pit", "new"),
}


def doubt(run: Run) -> Html:
    """The section."""
    title = "What it is least sure of, and why"
    if run.predictions is None or run.predictions.empty:
        return missing(
            "doubt", title, "Held-out items with their uncertainty, split into what data could tell and what features can't.", "train"
        )
    rows = run.predictions.assign(
        data=run.predictions.data_stddev / run.predictions["mean"],
        model=run.predictions.model_stddev / run.predictions["mean"],
        share=(run.predictions.model_stddev / run.predictions.stddev) ** 2,
    )
    by_data = _list("The features can't tell here", "More rows would not help; a better feature would.", rows, "data")
    if not rows.model.max() > 0:
        return part("doubt", title, "This posterior is a point: it has no doubt of its own, and all uncertainty is the data's.", by_data)
    by_model = _list("The model knows too little here", "More impressions of items like these would tell.", rows, "model")
    return part("doubt", title, _finding(rows), _cloud(rows), grid(by_model, by_data))


def _finding(rows: pd.DataFrame) -> str:
    return (
        f"A click rate is typically known to within ±{percent(float(np.median(rows.stddev / rows['mean'])), 0)} before an item is shown; "
        f"{percent(float(rows.share.median()), 0)} of that variance is the model's own doubt, the rest what features can't explain."
    )


def label_of(row: Any, columns: list[str]) -> str:
    """What a reader knows the item by: its longest readable feature, else its id."""
    texts = [str(getattr(row, column)) for column in columns]
    readable = [t for t in texts if " " in t.strip()]
    return max(readable, key=len) if readable else f"item {getattr(row, 'item', row.Index)}"


def _list(title: str, note: str, rows: pd.DataFrame, by: str) -> Html:
    columns = [c for c in rows.columns if c not in RESERVED | {"data", "model", "share"} and pd.api.types.is_string_dtype(rows[c])]
    top = _one_a_group(rows.sort_values(by, ascending=False)).head(SHOWN)
    return div(h3(title), p(note, class_="note"), ol([_entry(row, columns) for row in top.itertuples()], class_="items"), class_="card")


def _one_a_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a group share much of their doubt: one of each is enough to read."""
    return rows.drop_duplicates("group") if "group" in rows.columns else rows


def _entry(row: Any, columns: list[str]) -> Html:
    text = label_of(row, columns)
    why = getattr(row, "new", "") or "nothing in it is new to the model"
    return li(
        span(text if len(text) <= 140 else text[:139].rstrip() + "…", class_="item"),
        span(
            span(
                class_="share-bar",
                style=f"--model:{row.share:.3f}",
                role="img",
                aria_label=f"model {percent(row.share, 0)} of the variance",
            ),
            span(f"model {percent(row.share, 0)}, data {percent(1 - row.share, 0)} of the variance", class_="note"),
            class_="split",
        ),
        span(f"{rate(row.mean)} ({rate(row.lower)} to {rate(row.upper)}); {why}", class_="note"),
    )


def _cloud(rows: pd.DataFrame) -> Html:
    sample = rows.sample(min(len(rows), CLOUD), random_state=0)
    top = {by: _one_a_group(rows.sort_values(by, ascending=False)).head(SHOWN) for by in ("model", "data")}

    def draw(width: int) -> Html:
        area = Area(46, width - 14, 28, (330 if width > ROOMY else 270) - 46)
        x = area.x(*padded([*rows.data], share=0.03, include=[rows.data.min() * 0.98]))
        y = area.y(0, float(rows.model.max()) * 1.08 or 1.0)
        dust = tag("path", d="".join(f"M{x(d):.0f} {y(m):.0f}h0" for d, m in zip(sample.data, sample.model)), class_="dust")
        axes = join(
            y_axis(area, y, lambda v: f"±{tick(v)}", title="model: what more data would tell"),
            x_axis(area, x, lambda v: f"±{tick(v)}", title="data: what the features can't explain"),
        )
        marks = [
            [dot(x(d), y(m), f"dot {hue}") for d, m in zip(top[by].data, top[by].model)] for by, hue in (("data", "c2"), ("model", "c0"))
        ]
        medians = " and ".join(percent(float(rows[by].median()), 0) for by in ("model", "data"))
        says = f"Model against data uncertainty of {len(rows)} held-out rows, relative to the rate; medians {medians}"
        return picture(width, area.bottom + 46, axes, dust, marks, says=says)

    deciles = rows[["data", "model"]].quantile([0.1, 0.5, 0.9])
    data = numbers(
        ["quantile over rows", "data", "model"],
        [[str(level), percent(float(row.data)), percent(float(row.model))] for level, row in deciles.iterrows()],
    )
    note = "Standard deviations relative to the predicted rate, a point a held-out row. Marked: the rows listed below."
    return figure("Two kinds of not knowing", sized(draw), note=note, data=data)
