"""Parts of charts as inline SVG: scales, axes, marks. Colours are classes that page.css sets for light and dark.

Every chart is drawn at several widths, from a phone's to a wide screen's, so that its type is hardly scaled; CSS shows one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from recbayes.report.html import Html, div, join, tag

FULL = (340, 620, 920)  # widths at which a chart is drawn that has the page's width to itself
HALF = (340, 470)  # and one of two side by side
ROOMY = 500  # from this width on there is room for names beside the curves
LETTER = 7.4  # width to allow for a letter of the charts' bold type, px


class Scale(NamedTuple):
    """A linear scale: low at start px, high at end px."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies, in px; values beyond the ends lie beyond them.

        >>> Scale(0, 1, 10, 110)(0.5)
        60.0
        """
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clip(self, value: float) -> float:
        """Where a value lies, held within the scale."""
        return self(min(max(value, self.low), self.high))


class Area(NamedTuple):
    """The plotting area inside a chart, px."""

    left: float
    right: float
    top: float
    bottom: float

    def x(self, low: float, high: float) -> Scale:
        """The horizontal scale; of values that are all the same, such as a doubt that is 0 throughout, one of length 1.

        >>> Area(10, 110, 0, 50).x(0.0, 0.0)(0.0)
        10.0
        """
        return Scale(low, high if high > low else low + 1.0, self.left, self.right)

    def y(self, low: float, high: float) -> Scale:
        """The vertical scale, upwards; of values that are all the same, one of length 1."""
        return Scale(low, high if high > low else low + 1.0, self.bottom, self.top)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high], about so many.

    >>> ticks(0, 1.0, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.85)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], *, share: float = 0.06, include: Sequence[float] = ()) -> tuple[float, float]:
    """Ends of a scale that holds all finite values with some air.

    >>> padded([1.0, 3.0], share=0.5)
    (0.0, 4.0)
    """
    finite = [v for v in (*values, *include) if v is not None and math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = (high - low) * share or abs(high) * 0.1 or 0.5
    return low - air, high + air


def words(x: float, y: float, content: Any, *, anchor: str = "start", class_: str = "label", **attributes: Any) -> Html:
    """Text at a point; anchor is start, middle or end."""
    return tag("text", content, x=float(x), y=float(y), text_anchor=None if anchor == "start" else anchor, class_=class_, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def dot(x: float, y: float, class_: str, *, r: float = 4.0, title: Any = None) -> Html:
    """A point, with what it says when the pointer rests on it."""
    return tag("circle", *([tag("title", title)] if title else []), cx=float(x), cy=float(y), r=r, class_=class_)


def bar(x: float, y: float, width: float, height: float, class_: str, *, title: Any = None, rx: float = 2.0) -> Html:
    """A rectangle."""
    inner = [tag("title", title)] if title else []
    return tag("rect", *inner, x=float(x), y=float(y), width=max(float(width), 0.0), height=max(float(height), 0.0), rx=rx, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, *, close: bool = False) -> Html:
    """A line through points; a gap where a point is not finite."""
    parts, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return tag("path", d="".join(parts) + ("Z" if close else ""), class_=class_)


def band(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], class_: str) -> Html:
    """The area between two lines."""
    points = [*zip(xs, highs), *zip(reversed(xs), reversed(lows))]
    return path([(x, y) for x, y in points if math.isfinite(y)], class_, close=True)


def y_axis(area: Area, scale: Scale, label: Callable[[float], str], *, title: str = "", about: int = 5) -> Html:
    """Horizontal grid lines with their values on the left, and the axis' name above."""
    grid = [
        join(
            line(area.left, scale(v), area.right, scale(v), "grid"),
            words(area.left - 7, scale(v) + 4, label(v), anchor="end", class_="tick"),
        )
        for v in ticks(scale.low, scale.high, about)
    ]
    return join(grid, words(0, 12, title, class_="axis") if title else None)


def x_axis(area: Area, scale: Scale, label: Callable[[float], str], *, title: str = "", at: Sequence[float] = (), about: int = 5) -> Html:
    """The values below the plotting area, and the axis' name below them."""
    marks = [
        words(scale(v), area.bottom + 17, label(v), anchor="middle", class_="tick") for v in (at or ticks(scale.low, scale.high, about))
    ]
    middle = (area.left + area.right) / 2
    name = words(middle, area.bottom + 36, title, anchor="middle", class_="axis") if title else None
    return join(line(area.left, area.bottom, area.right, area.bottom, "base"), marks, name)


def apart(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as need be so that neighbours are at least a gap apart, within [low, high] if there is room.

    >>> apart([10.0, 11.0, 40.0], 12.0, 0.0, 100.0)
    [10.0, 22.0, 40.0]
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [0.0] * len(positions)
    floor = low
    for i in order:
        placed[i] = max(positions[i], floor)
        floor = placed[i] + gap
    ceiling = high
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def picture(width: float, height: float, *content: Any, says: str) -> Html:
    """An SVG picture; `says` is what someone who can't see it is told ("": nothing, the text beside it says it all)."""
    return tag(
        "svg",
        tag("desc", says) if says else None,
        *content,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img" if says else None,
        aria_label=says or None,
        aria_hidden=None if says else "true",
        class_="chart",
    )


def sized(draw: Callable[[int], Html], widths: Sequence[int] = FULL) -> Html:
    """A chart drawn at several widths, so that its type is hardly scaled; the style sheet shows the one that fits its card."""
    return div([div(draw(width), class_=f"w{width}") for width in widths], class_="full" if widths == FULL else "half")
