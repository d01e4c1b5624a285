"""Held-out log-likelihood of the network against the feature-free baselines of the same run."""

from __future__ import annotations

from typing import Any

from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed
from recbayes.report.parts import figure, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import ROOMY, Area, dot, line, picture, sized, ticks, words

NAMES = {"constant": "constant rate", "beta_binomial": "one beta-binomial", "page_effect": "page effect, no features"}


def likelihood(run: Run) -> Html | None:
    """The section; None before training."""
    if run.calibration is None:
        return None
    network, baselines = run.calibration["log_likelihood_per_row"], run.calibration["baselines"]
    rows = [*((NAMES.get(name, name), value) for name, value in baselines.items()), ("the network", network)]
    rows.sort(key=lambda row: row[1])
    return part(
        "likelihood",
        "What the features are worth",
        _finding(network, baselines) + _more(run.calibration),
        figure(
            "Held-out log-likelihood a row",
            sized(lambda width: _draw(width, rows)),
            note="Joint over a group, binomial coefficients included; further right is better. Baselines see the same training rows.",
            data=numbers(
                ["model", "nats a row", "network ahead by"], [[name, fixed(v, 3), fixed(network - v, 3, signed=True)] for name, v in rows]
            ),
        ),
    )


def _finding(network: float, baselines: dict[str, float]) -> str:
    if not baselines:
        return f"{fixed(network, 3)} nats a row on held-out rows."
    name, best = max(baselines.items(), key=lambda item: item[1])
    word = "ahead of" if network > best else "behind"
    reference = f"the best baseline ({NAMES.get(name, name)}, {fixed(best, 3)})"
    return f"{fixed(network, 3)} nats a row on held-out rows: {fixed(abs(network - best), 3)} {word} {reference}."


def _more(figures: dict[str, Any]) -> str:
    """What the model itself expected, and how far its counts were off."""
    expected, score = figures.get("log_likelihood_expected"), figures.get("crps")
    found = ""
    if expected and expected["stderr"]:
        off = (expected["observed"] - expected["expected"]) / expected["stderr"]
        word = "as it should" if abs(off) < 3 else "it is surer than it should be" if off < 0 else "it is less sure than it could be"
        both = f"It expected {fixed(expected['expected'], 2)} and got {fixed(expected['observed'], 2)}"
        found += f" {both} on {fixed(expected['rows'], 0)} of the rows: {word}."
    if score:
        best = min(score["baselines"].values())
        found += f" Its counts are off by {fixed(score['clicks'], 1)} clicks (CRPS), against {fixed(best, 1)} of the best baseline."
    return found


def _draw(width: int, rows: list[tuple[str, float]]) -> Html:
    """A dot a model; those far behind the rest sit at the edge with an arrow, so that the others can be told apart."""
    step, top = 40, 20
    area = Area(16, width - 20, top, top + step * len(rows))
    values = [value for _, value in rows]  # rising
    near = values[1:] if len(values) > 3 and values[1] - values[0] > 3 * (values[-1] - values[1]) else values
    spread = (max(near) - min(near)) or 0.1
    x = area.x(min(near) - spread * 0.3, max(near) + spread * 0.12)
    marks = []
    for i, (name, value) in enumerate(rows):
        y, hue, off = top + step * (i + 0.5) + 8, "c0" if name == "the network" else "cu", value < x.low
        at = x.clip(value)
        marks.append(
            join(
                line(area.left, y, area.right, y, "grid"),
                dot(at, y, f"dot {hue}", r=5.5, title=f"{name}: {fixed(value, 3)}"),
                words(
                    at,
                    y - 10,
                    f"{'← ' if off else ''}{name} {fixed(value, 3)}{' (off the scale)' if off else ''}",
                    anchor="start" if at < area.left + 150 else "end" if at > area.right - 150 else "middle",
                    class_=f"label {'strong' if hue == 'c0' else ''}".strip(),
                ),
            )
        )
    bottom = [
        words(x(v), area.bottom + 26, fixed(v, 2), anchor="middle", class_="tick") for v in ticks(x.low, x.high, 6 if width > ROOMY else 3)
    ]
    says = "Held-out log-likelihood a row: " + ", ".join(f"{name} {fixed(value, 3)}" for name, value in rows)
    return picture(width, area.bottom + 34, marks, bottom, says=says)
