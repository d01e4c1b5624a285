"""HTML and SVG as nested calls, escaped by default: what a log says (headlines hold HTML, quotes and emoji) can't become markup.

>>> p("fish ", b("& chips"), " <script>")
'<p>fish <b>&amp; chips</b> &lt;script&gt;</p>'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

VOID = {"meta", "br", "circle", "line", "path", "rect"}


class Html(str):
    """Text that is markup already; only `tag` and `join` make it."""

    __slots__ = ()


def text(value: Any) -> Html:
    """Any value as markup: escaped unless it is markup already; None is nothing.

    >>> text("a < b"), text(Html("<b>")), text(None)
    ('a &lt; b', '<b>', '')
    """
    if isinstance(value, Html):
        return value
    return Html("" if value is None else escape(str(value), quote=True))


def join(*children: Any) -> Html:
    """Children one after the other; lists and other iterables (but texts) are flattened.

    >>> join("a", ["b", None], 3)
    'ab3'
    """
    parts: list[str] = []
    for child in children:
        nested = isinstance(child, Iterable) and not isinstance(child, str)
        parts.append(join(*child) if nested else text(child))
    return Html("".join(parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """One element.

    Args:
      name: of the element.
      *children: texts (escaped), markup, lists of them; None is nothing.
      **attributes: class_ and the like lose the last underscore, others become dashes (viewBox stays); None and False leave the
      attribute out.

    Returns: the markup.

    >>> tag("a", "x", href="#y", aria_label='say "hi"')
    '<a href="#y" aria-label="say &quot;hi&quot;">x</a>'
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(_attribute(value), quote=True)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _element(name: str) -> Callable[..., Html]:
    def element(*children: Any, **attributes: Any) -> Html:
        return tag(name, *children, **attributes)

    element.__doc__ = f"An element <{name}>; see `tag`."
    return element


a, b, code, div, h1, h2, h3, li, ol, p, pre, section, small, span, ul = (
    _element(name) for name in "a b code div h1 h2 h3 li ol p pre section small span ul".split()
)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, class_: str = "", numeric_from: int = 1) -> Html:
    """A table that scrolls sideways in its own box, and whose cells know their column's name (for phones).

    Args:
      head: names of the columns.
      rows: cells, as many a row as head; the first is the row's header.
      class_: of the table.
      numeric_from: the first column that is set flush right.

    Returns: the markup.
    """
    cells = [
        tag(
            "tr",
            [
                tag(
                    "th" if i == 0 else "td",
                    cell,
                    scope="row" if i == 0 else None,
                    class_="number" if i >= numeric_from else None,
                    data_label=str(head[i]) if i else None,
                )
                for i, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    header = [tag("th", name, scope="col", class_="number" if i >= numeric_from else None) for i, name in enumerate(head)]
    return div(tag("table", tag("thead", tag("tr", header)), tag("tbody", cells), class_=class_ or None), class_="scroll", tabindex="0")


def details(summary: Any, *children: Any) -> Html:
    """What only some readers want, folded."""
    return tag("details", tag("summary", summary), *children)


def breakable(name: str) -> Html:
    """A name that may break after its slashes and underscores, so that long ones fit a phone.

    >>> breakable("density/ucb")
    'density/<wbr>ucb'
    """
    return Html(text(name).replace("/", "/<wbr>").replace("_", "_<wbr>"))


def chip(label: Any, kind: str = "") -> Html:
    """A small label: kind is good, warn, bad or nothing."""
    return span(label, class_=f"chip {kind}".strip())
