"""Numbers as people read them, with a true minus sign."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


def fixed(value: float, digits: int = 1, *, signed: bool = False) -> str:
    """A number with so many decimals and thousands marked; "–" where there is none.

    >>> fixed(-1234.56), fixed(0.04, 1, signed=True), fixed(float("nan"))
    ('−1,234.6', '0.0', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    rounded = round(value, digits)
    sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{digits}f}"


def percent(share: float, digits: int = 1, *, signed: bool = False) -> str:
    """A share as a percentage.

    >>> percent(0.0853), percent(-0.02, signed=True)
    ('8.5%', '−2.0%')
    """
    shown = fixed(share * 100 if share is not None else math.nan, digits, signed=signed)
    return shown if shown == "–" else f"{shown}%"


def places(value: float, least: int = 0) -> int:
    """Decimals that an axis' round number needs, three at most: 2.5 must not read 2.

    >>> places(5.0), places(2.5), places(-4.125), places(1.0, least=2)
    (0, 1, 3, 2)
    """
    return next((n for n in range(least, 3) if abs(round(value, n) - value) < 1e-6), 3)


def tick(share: float, *, signed: bool = False) -> str:
    """A share on an axis, in percent.

    >>> tick(0.05), tick(0.025, signed=True)
    ('5%', '+2.5%')
    """
    return percent(share, places(share * 100), signed=signed)


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """An interval of shares, in percent.

    >>> interval((0.012, 0.034)), interval((-0.02, 0.01))
    ('1.2 to 3.4%', '−2.0 to 1.0%')
    """
    if ends is None or not all(math.isfinite(end) for end in ends):
        return "–"
    return f"{fixed(ends[0] * 100, digits)} to {percent(ends[1], digits)}"


def seconds(value: float) -> str:
    """A time span.

    >>> seconds(0.26), seconds(12.3), seconds(200), seconds(7320)
    ('0.3 s', '12 s', '3 min 20 s', '2 h 2 min')
    """
    if not math.isfinite(value):
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 100:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def rate(value: float) -> str:
    """A click rate: two significant digits after the leading zeros, in percent.

    >>> rate(0.01234), rate(0.00045)
    ('1.23%', '0.045%')
    """
    if not math.isfinite(value) or value <= 0:
        return percent(value, 2)
    return percent(value, min(max(-math.floor(math.log10(value * 100)) + 1, 2), 6))
