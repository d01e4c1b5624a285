"""Cost of exploration against its scale: policies that differ in nothing but how much they explore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from recbayes.report.html import Html, join
from recbayes.report.numbers import fixed, interval, percent, tick
from recbayes.report.outcomes import Outcome, greedy_of
from recbayes.report.parts import HUES, figure, key, numbers, part
from recbayes.report.svg import ROOMY, Area, Scale, dot, line, padded, path, picture, sized, words, x_axis, y_axis


class Family(NamedTuple):
    """Policies of one kind, learner and settings, by rising exploration; greedy on the same learner is exploration 0."""

    name: str
    hue: str
    members: list[Outcome]


def families(policies: Sequence[Outcome]) -> list[Family]:
    """Families of at least two scales, greedy counted."""
    grouped: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in policies:
        if math.isfinite(outcome.exploration) and outcome.kind not in ("greedy", "uniform"):
            settings = repr(sorted(outcome.settings.items()))
            grouped.setdefault((outcome.learner, outcome.kind, settings), []).append(outcome)
    found: list[Family] = []
    for members in grouped.values():
        greedy = greedy_of(members[0], policies)
        line_up = [*([greedy._replace(exploration=0.0)] if greedy else []), *sorted(members, key=lambda o: o.exploration)]
        if len(line_up) > 1:
            found.append(Family(min((o.name.partition("@")[0] for o in members), key=len), f"c{len(found) % HUES}", line_up))
    return found


def exploration(policies: list[Outcome]) -> Html | None:
    """The section; None where no two policies differ in exploration alone."""
    found = families(policies)
    if not found:
        return None
    hues = {family.name: family.hue for family in found}
    says = "Lift over uniform against exploration. " + "; ".join(
        f"{f.name}: " + ", ".join(f"{percent(o.lift, signed=True)} at {o.exploration:g}" for o in f.members) for f in found
    )
    rows = [
        [
            f"{family.name}, {o.exploration:g}",
            *(percent(v, signed=True) for v in (o.lift, o.early)),
            interval(o.interval),
            percent(o.cost, 2),
        ]
        for family in found
        for o in family.members
    ]
    drawing = join(sized(lambda width: _draw(width, found, says)), key([f.name for f in found], hues))
    return part(
        "exploration",
        "The scale of exploration",
        _finding(found),
        figure(
            "Lift over uniform by the scale of exploration",
            drawing,
            note="0 is greedy on the same learner. Full line with 95% interval: at the horizon's end. Dashed: after its first tenth.",
            data=numbers(
                ["policy, exploration", "lift at the end", "after a tenth", "95% interval at the end", "ever behind greedy"], rows
            ),
        ),
    )


def _finding(found: Sequence[Family]) -> str:
    best = [max(family.members, key=lambda o: o.lift) for family in found]
    scales = "; ".join(f"{family.name} does best at {fixed(o.exploration, 2).rstrip('0').rstrip('.')}" for family, o in zip(found, best))
    worst = min((o for family in found for o in family.members), key=lambda o: o.lift)
    top = max(best, key=lambda o: o.lift)
    return f"Of the scales tried, {scales}. The wrong scale costs up to {percent(top.lift - worst.lift)} of uniform's clicks."


def _draw(width: int, found: Sequence[Family], says: str) -> Html:
    area = Area(left=44, right=width - 16, top=28, bottom=(320 if width > ROOMY else 250) - 46)
    members = [o for family in found for o in family.members]
    scales = sorted({o.exploration for o in members})
    place = {scale: i for i, scale in enumerate(scales)}  # equal steps: scales are tried at ratios, and 0 has no logarithm
    x = area.x(-0.35, len(scales) - 0.65)
    y = area.y(*padded([v for o in members for v in (o.lift, o.early, *(o.interval or ()))], include=[0.0]))
    axes = join(
        y_axis(area, y, lambda v: tick(v, signed=True), title="lift over uniform"),
        x_axis(area, x, lambda v: _name(scales[round(v)]), title="exploration", at=range(len(scales))),
        line(area.left, y(0), area.right, y(0), "zero"),
        words(area.right, y(0) - 6, "uniform", anchor="end", class_="tick"),
    )
    shift = [(i - (len(found) - 1) / 2) * 9 for i in range(len(found))]
    marks = [_family(family, [x(place[o.exploration]) + move for o in family.members], y) for family, move in zip(found, shift)]
    return picture(width, area.bottom + 46, axes, marks, says=says)


def _name(scale: float) -> str:
    return "0 (greedy)" if scale == 0 else f"{scale:g}"


def _family(family: Family, xs: Sequence[float], y: Scale) -> Html:
    ends = [
        line(px, y(o.interval[0]), px, y(o.interval[1]), f"whisker {family.hue}") if o.interval else None
        for px, o in zip(xs, family.members)
    ]
    early = [(px, y(o.early)) for px, o in zip(xs, family.members) if math.isfinite(o.early)]
    return join(
        path(early, f"curve dashed {family.hue}") if len(early) > 1 else None,
        [dot(px, py, f"dot open {family.hue}", r=3.0) for px, py in early],
        ends,
        path([(px, y(o.lift)) for px, o in zip(xs, family.members)], f"curve {family.hue}"),
        [dot(px, y(o.lift), f"dot {family.hue}", title=f"{o.name}: {percent(o.lift, signed=True)}") for px, o in zip(xs, family.members)],
    )
