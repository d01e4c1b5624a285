"""Rows where the model was sure and wrong, and how much of what tells rows of one group apart it catches."""

from __future__ import annotations

from typing import Any

import pandas as pd

from recbayes.report.html import Html, div, h3, li, ol, p, span
from recbayes.report.numbers import fixed, percent, rate
from recbayes.report.parts import grid, numbers, part
from recbayes.report.run import Run
from recbayes.report.sections.doubt import RESERVED, label_of
from recbayes.report.sections.leans import todo


def surprises(run: Run) -> Html | None:
    """The section; None before training."""
    if run.findings is None or run.predictions is None:
        return None
    found, within = run.findings["surprises"], run.findings["within"]
    rows = run.predictions.iloc[[position for position in found["listed"] if position < len(run.predictions)]]
    cards = [_listed(rows) if len(rows) else None, _within(within) if within else None]
    return part("surprises", "Where it was sure and wrong", found["says"], grid(*cards), todo([record["says"] for record in within]))


def _listed(rows: pd.DataFrame) -> Html:
    columns = [c for c in rows.columns if c not in RESERVED and pd.api.types.is_string_dtype(rows[c])]
    entries = [_entry(row, columns) for row in rows.itertuples()]
    note = "Counts outside the central 99% of what it thought possible; the surest, one a group."
    return div(h3("Counts that it thought impossible"), p(note, class_="note"), ol(entries, class_="items"), class_="card")


def _entry(row: Any, columns: list[str]) -> Html:
    text = label_of(row, columns)
    seen = rate(row.clicks / row.impressions) if row.impressions else "–"
    side = "above" if row.pit > 0.5 else "below"
    return li(
        span(text if len(text) <= 140 else text[:139].rstrip() + "…", class_="item"),
        span(
            f"{fixed(row.clicks, 0)} clicks of {fixed(row.impressions, 0)}: {seen}, {side} {rate(row.lower)} to {rate(row.upper)}",
            class_="note",
        ),
        span(getattr(row, "new", "") or "nothing in it is new to the model", class_="note"),
    )


def _within(records: list[dict[str, Any]]) -> Html:
    rows = [
        [
            r["column"],
            fixed(r["parts"], 0),
            f"±{percent(r['seen'])}",
            f"±{percent(r['predicted'])}",
            "–" if r["caught"] is None else percent(r["caught"]),
        ]
        for r in records
    ]
    widest = [[str(one["part"]), f"±{percent(one['seen'])}"] for one in records[0]["widest"]]
    note = "Standard deviations of the rate's logit within one part: about relative ones of the rate. Seen is net of the counts' noise."
    return div(
        h3("Within one group"),
        p(note, class_="note"),
        numbers(["within one", "parts", "seen", "predicted", "caught"], rows),
        h3("Furthest apart in what was seen"),
        numbers([records[0]["column"], "seen"], widest),
        class_="card",
    )
