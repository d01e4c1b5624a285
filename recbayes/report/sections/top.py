"""The head of the page: the decision in one sentence, what it brings and costs, what not to use, key figures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recbayes.report.decision import Decision
from recbayes.report.html import Html, b, breakable, div, h1, join, li, p, span, tag, ul
from recbayes.report.numbers import fixed, interval, percent, seconds
from recbayes.report.run import Run
from recbayes.report.sections.method import timings

FIGURE = re.compile(r"(\([^()]*%\)|[+−]?\d[\d.,]*%)")


def top(run: Run, decision: Decision) -> Html:
    """The head."""
    points = [
        ("What it brings", decision.gain),
        ("What it costs", decision.cost),
        ("Whether the uncertainty helps", decision.control),
        ("What not to use", decision.avoid),
        ("How far to trust it", decision.trust),
    ]
    return tag(
        "header",
        p(span("recbayes", class_="brand"), span(source(run), class_="source"), class_="kicker"),
        h1(_marked(decision.headline)),
        warnings(run),
        div([div(b(name), p(words), class_="point") for name, words in points if words], class_="points"),
        div(
            [div(span(value, class_="big"), span(label, class_="note"), class_="tile") for value, label in tiles(run, decision)],
            class_="tiles",
        ),
    )


def warnings(run: Run) -> Html | None:
    """What the trained posterior warns of, before any figure: a doubt that did not converge is no doubt to decide by."""
    told = (run.calibration or {}).get("warnings") or []
    if not told:
        return None
    return div(
        p(b("Warning: the model's doubt may be wrong.")), ul([li(sentence) for sentence in told]), class_="card caution", role="alert"
    )


def source(run: Run) -> str:
    """What was looked at: the log's path and the run folder's name."""
    path = ((run.config or {}).get("log") or {}).get("path")
    return " · ".join(str(part) for part in (path, run.folder.name) if part)


def _marked(sentence: str) -> Html:
    """A sentence with its percentages set in the accent's colour, their intervals small, its names breakable."""
    parts = FIGURE.split(sentence)
    return join([span(s, class_="range" if s[0] == "(" else "figure") if i % 2 else breakable(s) for i, s in enumerate(parts)])


def tiles(run: Run, decision: Decision) -> Iterator[tuple[str, str]]:
    """Key figures and what they are."""
    chosen = decision.chosen
    if chosen is not None:
        yield percent(chosen.lift, signed=True), f"clicks over uniform, {interval(chosen.interval)}"
        if chosen.greedy_interval is not None:
            yield percent(chosen.over_greedy, signed=True), f"clicks over greedy, {interval(chosen.greedy_interval)}"
    if run.calibration is not None:
        yield percent(run.calibration["coverage"]["0.9"]), "of held-out counts in 90% intervals"
        network, baselines = run.calibration["log_likelihood_per_row"], run.calibration["baselines"]
        if baselines:
            yield fixed(network - max(baselines.values()), 3, signed=True), "nats a row over the best baseline"
    if run.simulation is not None and run.simulation.get("groups"):
        yield fixed(run.simulation["groups"], 0), "held-out groups replayed"
    if timings(run):
        yield seconds(sum(timings(run).values())), "for all stages"
