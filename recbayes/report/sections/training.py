"""The training curve."""

from __future__ import annotations

import pandas as pd

from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed, seconds
from recbayes.report.parts import figure, missing, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import ROOMY, Area, dot, padded, path, picture, sized, words, x_axis, y_axis

LOSS = "loss"


def training(run: Run) -> Html:
    """The section."""
    frame = run.training
    if frame is None or frame.empty:
        return missing("training", "Training", "Loss and held-out log-likelihood by epoch.", "train")
    held = held_out(frame)
    took = float(frame.seconds.sum())
    pace = float(frame.rows_per_second.median())
    best = ""
    if held is not None and frame[held].notna().any():
        row = int(frame[held].argmax())
        best = f"; held-out rows were best after epoch {_epoch(frame)[row]:.0f} ({fixed(frame[held].iloc[row], 3)} nats a row)"
    finding = f"{len(frame)} epochs in {seconds(took)}, {fixed(pace, 0)} rows a second{best}."
    shown = [c for c in ("epoch", "phase", LOSS, held or "", "seconds", "rows_per_second") if c in frame.columns]
    data = numbers([c.replace("_", " ") for c in shown], [[_cell(v) for v in row] for row in frame[shown].itertuples(index=False)])
    note = "Full line: training loss, nats a row. Dashed: minus the log-likelihood of groups set aside from the training log."
    drawing = sized(lambda width: _draw(width, frame, held))
    return part("training", "Training", finding, figure("Loss by epoch", drawing, note=note, data=data))


def held_out(frame: pd.DataFrame) -> str | None:
    """The column of the held-out log-likelihood."""
    return next((c for c in frame.columns if "held" in c or "validation" in c), None)


def _epoch(frame: pd.DataFrame) -> list[float]:
    return [float(v) for v in (frame["epoch"] if "epoch" in frame.columns else range(1, len(frame) + 1))]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return fixed(value, 0 if value >= 1000 else 3)
    return str(value)


def _draw(width: int, frame: pd.DataFrame, held: str | None) -> Html:
    area = Area(50, width - 16, 28, 226)
    epochs = _epoch(frame)
    lines = [([float(v) for v in frame[LOSS]], "curve c0", "dot c0", "training")]
    if held is not None and frame[held].notna().any():
        lines.append(([-float(v) for v in frame[held]], "curve dashed c1", "dot open c1", "held out"))
    x = area.x(min(epochs) - 0.3, max(epochs) + 0.3)
    y = area.y(*padded([v for values, *_ in lines for v in values]))
    axes = join(
        y_axis(area, y, lambda v: fixed(v, 2), title="nats a row", about=4),
        x_axis(area, x, lambda v: f"{v:.0f}", title="epoch", at=_whole(epochs, 12 if width > ROOMY else 6)),
    )
    marks = [
        join(path([(x(e), y(v)) for e, v in zip(epochs, values)], curve), _dots(epochs, values, x, y, mark))
        for values, curve, mark, _ in lines
    ]
    tags = [
        words(area.right, area.top + 6 + 18 * i, name, anchor="end", class_=f"end {curve.split()[-1]}")
        for i, (_, curve, _, name) in enumerate(lines)
    ]
    says = "Training loss by epoch: " + ", ".join(f"{v:.3f}" for v in lines[0][0])
    return picture(width, 270, axes, marks, tags, says=says)


def _dots(epochs: list[float], values: list[float], x: object, y: object, mark: str) -> list[Html]:
    return [dot(x(e), y(v), mark, r=3.0, title=f"epoch {e:.0f}: {v:.3f}") for e, v in zip(epochs, values) if v == v]  # type: ignore[operator]


def _whole(epochs: list[float], about: int) -> list[float]:
    step = max(1, round(len(epochs) / about))
    return epochs[::step]
