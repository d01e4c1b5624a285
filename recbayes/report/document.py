"""A page as one file: no network, dark and light, good on a phone; written beside its target, then renamed."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from recbayes.report.html import Html, tag


def document(title: str, *body: Any) -> str:
    """The text of a page.

    >>> document("a run", "hello").splitlines()[0], "<title>a run</title>" in document("a run", "hello")
    ('<!doctype html>', True)
    """
    style = files("recbayes.report").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", *body), lang="en") + "\n"


def write(text: str, target: Path) -> Path:
    """Puts a text where it belongs, whole or not at all."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, target)
    return target
