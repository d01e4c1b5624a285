"""The training curve."""

from __future__ import annotations

import pandas as pd

from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed, seconds
from recbayes.report.parts import figure, missing, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import ROOMY, Area, dot, padded, path, picture, sized, words, x_axis, y_axis

LOSS, HELD_OUT = "loss", "held_out"


def training(run: Run) -> Html:
    """The section."""
    frame = run.training
    if frame is None or frame.empty:
        return missing("training", "Training", "Loss and held-out log-likelihood by epoch.", "train")
    pace = fixed(float(frame.rows_per_second.median()), 0)
    finding = f"{len(frame)} epochs in {seconds(float(frame.seconds.sum()))}, {pace} rows a second"
    if HELD_OUT in frame:
        best = int(frame[HELD_OUT].argmax())
        finding += f"; groups set aside were best after epoch {frame.epoch.iloc[best]} ({fixed(frame[HELD_OUT].iloc[best], 3)} nats a row)"
    columns = [c for c in ("epoch", LOSS, HELD_OUT, "seconds", "rows_per_second") if c in frame]
    data = numbers(
        [c.replace("_", " ") for c in columns],
        [[fixed(v, 0 if c in ("epoch", "rows_per_second") else 3) for c, v in zip(columns, row)] for row in frame[columns].to_numpy()],
    )
    note = "Full line: training loss, nats a row, the prior's share included. Dashed: minus the log-likelihood of groups set aside."
    return part("training", "Training", f"{finding}.", figure("Loss by epoch", sized(lambda w: _draw(w, frame)), note=note, data=data))


def _draw(width: int, frame: pd.DataFrame) -> Html:
    area = Area(50, width - 16, 28, 226)
    curves = [(frame[LOSS], "c0", "", "training")] + ([(-frame[HELD_OUT], "c1", "dashed", "set aside")] if HELD_OUT in frame else [])
    x = area.x(frame.epoch.min() - 0.3, frame.epoch.max() + 0.3)
    y = area.y(*padded([float(v) for values, *_ in curves for v in values[_settled(values) :]]))
    axes = join(
        y_axis(area, y, lambda v: fixed(v, 2), title="nats a row", about=4),
        x_axis(area, x, lambda v: f"{v:.0f}", title="epoch", at=_every(list(frame.epoch), 12 if width > ROOMY else 6)),
    )
    marks = []
    for i, (values, hue, dashed, name) in enumerate(curves):
        points = [(x(e), y(v)) for e, v in zip(frame.epoch, values)][_settled(values) :]
        shown = [dot(px, py, f"dot {'open' if dashed else ''} {hue}", r=3.0) for px, py in points]
        label = words(area.right, area.top + 6 + 18 * i, name, anchor="end", class_=f"end {hue}")
        marks.append(join(path(points, f"curve {dashed} {hue}"), shown, label))
    says = "Training loss by epoch: " + ", ".join(f"{v:.3f}" for v in frame[LOSS])
    return picture(width, 270, axes, marks, says=says)


def _settled(values: pd.Series) -> int:
    """Where to begin: an epoch or two far above all that follows would flatten the rest; they are in the table."""
    rest = values.iloc[1:]
    return int(len(values) > 3 and values.iloc[0] - rest.max() > 2 * (rest.max() - rest.min()))


def _every(epochs: list[float], about: int) -> list[float]:
    return epochs[:: max(1, round(len(epochs) / about))]
