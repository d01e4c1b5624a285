"""What exploring costs: clicks behind greedy as the horizon passes, by item, under other horizons and delays; how the policy was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbayes.report.html import Html, breakable, div, h3, join, p
from recbayes.report.numbers import fixed, interval, percent, tick
from recbayes.report.parts import figure, grid, numbers, part
from recbayes.report.run import Run
from recbayes.report.svg import ROOMY, Area, band, line, padded, path, picture, sized, words, x_axis, y_axis


def planning(run: Run) -> Html | None:
    """The section; None where no exploring policy was replayed beside greedy."""
    simulation = run.simulation or {}
    plan, halving = simulation.get("plan"), (simulation.get("choice") or {}).get("halving")
    if not plan and not halving:
        return None
    cards = [_items(plan), _sensitivity(plan["sensitivity"])] if plan else []
    content = [_behind(plan), grid(*(card for card in cards if card is not None))] if plan else []
    return part("plan", "What exploring costs, and when it pays back", plan["says"] if plan else None, *content, _halving(halving))


def _behind(plan: Mapping[str, Any]) -> Html:
    rows = plan["by_step"]
    by_day = "day" in rows[0]
    at = [row["day" if by_day else "share"] for row in rows]
    says = f"Clicks of {plan['policy']} behind {plan['greedy']}: " + ", ".join(
        f"{fixed(row['behind'], 0)} after {percent(row['share'], 0)}" for row in rows[:: max(1, len(rows) // 5)]
    )

    def draw(width: int) -> Html:
        area = Area(58, width - 16, 28, (300 if width > ROOMY else 240) - 46)
        x = area.x(0.0, at[-1])
        y = area.y(*padded([v for row in rows for v in (row["behind"], row["lower"], row["upper"]) if v is not None], include=[0.0]))
        xs = [x(0.0), *(x(value) for value in at)]
        lows, highs = ([y(0.0), *(y(row["behind"] if row[end] is None else row[end]) for row in rows)] for end in ("lower", "upper"))
        curve = [(x(0.0), y(0.0)), *((x(value), y(row["behind"])) for value, row in zip(at, rows, strict=True))]
        return picture(
            width,
            area.bottom + 46,
            y_axis(area, y, lambda v: fixed(v, 0, signed=True), title="clicks behind greedy"),
            x_axis(area, x, (lambda v: f"{v:g}") if by_day else tick, title="day" if by_day else "share of the horizon"),
            line(area.left, y(0.0), area.right, y(0.0), "zero"),
            words(area.right, y(0.0) - 6, "greedy", anchor="end", class_="tick"),
            band(xs, lows, highs, "band c0"),
            path(curve, "curve c0"),
            says=says,
        )

    head = ["day" if by_day else "share of the horizon", "decisions", "clicks behind", "95% over replicas", "of uniform's clicks"]
    data = [
        [
            fixed(value, 1) if by_day else percent(value, 0),
            fixed(row["decisions"], 0),
            fixed(row["behind"], 1, signed=True),
            "–" if row["lower"] is None else f"{fixed(row['lower'], 1)} to {fixed(row['upper'], 1)}",
            percent(row["of_uniform"], 2, signed=True),
        ]
        for value, row in zip(at, rows, strict=True)
    ]
    note = "Cumulative clicks of greedy over the same learner, less the policy's: above the line exploring is still being paid for."
    return figure("Clicks behind greedy", sized(draw), note=note, data=numbers(head, data))


def _items(plan: Mapping[str, Any]) -> Html | None:
    rows = [row for row in plan["by_item"] if row["lost"] > 0][:10]
    if not rows:
        return None
    table = numbers(
        ["item", "showings", "more than greedy", "clicks lost"],
        [[str(row["item"]), fixed(row["shown"], 0), fixed(row["more"], 0), fixed(row["lost"], 1)] for row in rows],
    )
    note = "Items that the policy shows more often than greedy does, at fewer clicks a showing than what they replace; means over replicas."
    return div(h3("Where the clicks go"), p(note, class_="note"), table, class_="card")


def _sensitivity(rows: Sequence[Mapping[str, Any]]) -> Html | None:
    if not rows:
        return None
    table = numbers(
        ["changed", "over greedy", "95% interval", "worst, clicks", "paid back after"],
        [
            [
                f"horizon {row['horizon']:g}" if row["horizon"] is not None else f"delay of {_late(row['delay'])}",
                percent(row["lift_over_greedy"], signed=True),
                interval(row["interval"]),
                fixed(row["worst"], 0),
                "not at all" if row["paid_back"] is None else percent(row["paid_back"], 0),
            ]
            for row in rows
        ],
    )
    return div(h3("Under other horizons and delays"), table, class_="card")


def _late(delay: Any) -> str:
    """A delay in words: steps, or the settings of their distribution."""
    return " ".join(f"{key} {value}" for key, value in delay.items()) if isinstance(delay, Mapping) else f"{delay} steps"


def _places(name: str, rounds: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where a policy came in each round that kept it, the last first."""
    return [one["kept"].index(name) for one in reversed(rounds) if name in one["kept"]]


def _halving(halving: Mapping[str, Any] | None) -> Html | None:
    """How the policy was found, round by round; what is said of it elsewhere comes from groups that had no part in this."""
    if halving is None:
        return None
    rounds = halving["rounds"]
    names = list(rounds[0]["lifts"])
    order = sorted(names, key=lambda name: [-sum(name in one["kept"] for one in rounds), *_places(name, rounds)])
    rows = [[breakable(name), *(percent(one["lifts"].get(name), signed=True) for one in rounds)] for name in order]
    note = (
        f"{halving['tried']} policies were tried on the newest training groups, the better half in more replicas each round. These lifts"
        " flatter the winner, which was picked for them; the figures above are of test groups that had no part in the choice."
    )
    head = ["policy", *(f"{one['seeds']} replicas" for one in rounds)]
    return div(h3("How the policy was found"), p(note, class_="note"), join(numbers(head, rows)), class_="card")
