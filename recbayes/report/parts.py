"""What sections are made of: the section itself, figures with their tables, colours of policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from recbayes.report.html import Html, code, details, div, h2, p, section, span, table, tag
from recbayes.report.outcomes import Outcome, greedy_of

HUES = 7  # c0 to c6 in page.css: c0 is the recommended policy's


def part(anchor: str, title: str, finding: Any, *content: Any) -> Html:
    """A section: its title, what it found in a sentence, the evidence."""
    return section(h2(title), p(finding, class_="finding") if finding else None, *content, id=anchor)


def missing(anchor: str, title: str, what: str, stage: str) -> Html:
    """A section whose stage has not run: what would be here, and how to get it."""
    return part(anchor, title, None, p(what, " To get it: ", code(f"recbayes {stage} CONFIG --out RUN"), ".", class_="missing"))


def figure(title: Any, drawing: Any, *, note: Any = None, data: Html | None = None, class_: str = "") -> Html:
    """A picture with its title, how to read it, and its numbers as a table for those who can't see it or want to check."""
    caption = tag("figcaption", span(title, class_="figure-title"), span(note, class_="note") if note else None)
    return tag("figure", caption, drawing, details("The numbers", data) if data is not None else None, class_=f"card {class_}".strip())


def grid(*cards: Any) -> Html:
    """Cards side by side where there is room."""
    return div(*cards, class_="cards")


def numbers(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Html:
    """The table behind a figure."""
    return table(head, rows, class_="plain")


def words(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Html:
    """A small table of texts."""
    return table(head, rows, class_="plain texts", numeric_from=len(head))


def colours(policies: Sequence[Outcome], chosen: Outcome | None) -> dict[str, str]:
    """A colour class a policy: c0 the chosen one, cu uniform, the next most telling ones c1 and so on, the rest faint.

    Telling are greedy on the chosen policy's learner, the other greedy ones, the worst, then the best.
    """
    hue = {o.name: "cu" for o in policies if o.kind == "uniform"}
    others = [o for o in policies if o.name not in hue]
    twin = greedy_of(chosen, list(policies)) if chosen else None
    ranked = [chosen, twin, *(o for o in others if o.kind == "greedy"), *others[-1:], *others]
    for outcome in ranked:
        if outcome is not None and outcome.name not in hue:
            used = len([c for c in hue.values() if c != "cu"])
            hue[outcome.name] = f"c{used}" if used < HUES else "cf"
    return hue


def key(names: Iterable[str], hues: dict[str, str]) -> Html:
    """Which colour is which policy."""
    return div([span(span(class_=f"swatch {hues[name]}"), name, class_="key") for name in names], class_="keys", aria_hidden="true")
