"""The training curves: loss, and log-likelihood of the groups that were set aside."""

from __future__ import annotations

from collections.abc import Sequence

from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed, places, seconds
from recbayes.report.parts import figure, grid, missing, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import HALF, Area, dot, padded, path, picture, sized, x_axis, y_axis

LOSS, HELD_OUT = "loss", "held_out"


def training(run: Run) -> Html:
    """The section."""
    frame = run.training
    if frame is None or frame.empty:
        return missing("training", "Training", "Loss and held-out log-likelihood by epoch.", "train")
    epochs, pace = [int(e) for e in frame.epoch], fixed(float(frame.rows_per_second.median()), 0)
    finding = f"{len(frame)} epochs in {seconds(float(frame.seconds.sum()))}, {pace} rows a second"
    cards = [_curve("Training loss", "Nats a row, the prior's share included.", epochs, [float(v) for v in frame[LOSS]], "c2")]
    if HELD_OUT in frame:
        values = [float(v) for v in frame[HELD_OUT]]
        best = max(range(len(values)), key=lambda i: values[i])
        finding += f"; groups set aside were best after epoch {epochs[best]} ({fixed(values[best], 3)} nats a row)"
        note = "Nats a row of the newest training groups, which decide when to stop."
        cards.append(_curve("Log-likelihood of groups set aside", note, epochs, values, "c0"))
    return part("training", "Training", f"{finding}.", grid(cards))


def _curve(title: str, note: str, epochs: Sequence[int], values: Sequence[float], hue: str) -> Html:
    def draw(width: int) -> Html:
        area = Area(50, width - 16, 28, 216)
        x, y = area.x(min(epochs) - 0.3, max(epochs) + 0.3), area.y(*padded(values))
        axes = join(
            y_axis(area, y, lambda v: fixed(v, places(v, 2)), about=4),
            x_axis(area, x, lambda v: f"{v:.0f}", title="epoch", at=epochs[:: max(1, round(len(epochs) / 8))]),
        )
        points = [(x(e), y(v)) for e, v in zip(epochs, values)]
        marks = [dot(px, py, f"dot {hue}", r=3.0, title=fixed(v, 3)) for (px, py), v in zip(points, values)]
        says = f"{title} by epoch: " + ", ".join(fixed(v, 3) for v in values)
        return picture(width, 256, axes, path(points, f"curve {hue}"), marks, says=says)

    rows = [[epoch, fixed(value, 3)] for epoch, value in zip(epochs, values)]
    return figure(title, sized(draw, HALF), note=note, data=numbers(["epoch", "nats a row"], rows))
