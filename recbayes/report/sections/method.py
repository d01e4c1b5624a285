"""How the figures were obtained: stages and their times, versions, the data and whose it is, the config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from recbayes.log.embedded import PREFIX, attribution
from recbayes.report.html import Html, a, code, details, div, h3, join, li, p, pre, ul
from recbayes.report.numbers import fixed, seconds
from recbayes.report.parts import grid, part, words
from recbayes.report.run import Run
from recbayes.types import UserError

LINK = re.compile(r"(https?://[^\s)]+[^\s).,])")


def method(run: Run) -> Html:
    """The section."""
    timed = timings(run)
    return part(
        "method",
        "How this was obtained",
        f"All figures follow from the config, the data and the seed below; the stages took {seconds(sum(timed.values()))}."
        if timed
        else None,
        _data(run),
        grid(
            div(h3("Stages"), words(["stage", "took", "found"], [_stage(run, *each) for each in timed.items()]), class_="card")
            if timed
            else None,
            _facts(run),
        ),
        _config(run),
    )


def timings(run: Run) -> dict[str, float]:
    """Seconds of each stage."""
    stages = (run.stages or {}).get("stages", {})
    return {name: float(record["seconds"]) for name, record in stages.items() if "seconds" in record}


def _stage(run: Run, name: str, took: float) -> list[Any]:
    said = run.stages["stages"][name].get("summary", {}).get("says", "") if run.stages else ""
    return [name, seconds(took), said.partition("\n")[0]]


def _data(run: Run) -> Html | None:
    """Whose the data are: an embedded example has authors and a licence."""
    path = str(((run.config or {}).get("log") or {}).get("path", ""))
    rows = found(run.stages, "rows")
    size = f", {fixed(rows, 0)} rows" if isinstance(rows, int) else ""
    if not path.startswith(PREFIX):
        return div(h3("Data"), p(code(path), size), class_="card") if path else None
    try:
        told = markdown(attribution(path))
    except UserError:
        told = None
    return div(h3("Data"), p(code(path), size), told, class_="card")


def markdown(source: str) -> Html:
    r"""Paragraphs, lists, links and code of a short Markdown text; its first line, the heading, is left out.

    >>> markdown("head\n\nSee https://a.org/b.\n\n- `x` one\n- two")
    '<p>See <a href="https://a.org/b" rel="noreferrer">https://a.org/b</a>.</p><ul><li><code>x</code> one</li><li>two</li></ul>'
    """
    blocks = re.split(r"\n\s*\n", source.partition("\n")[2].strip())
    return join(_block(" ".join(block.split())) if not block.startswith("- ") else _list(block) for block in blocks if block)


def _block(words: str) -> Html:
    return p(_inline(words))


def _list(block: str) -> Html:
    return ul([li(_inline(" ".join(entry.split()))) for entry in re.split(r"^- ", block, flags=re.MULTILINE)[1:]])


def _inline(words: str) -> Html:
    return join(
        code(piece[1:-1])
        if piece.startswith("`")
        else [a(bit, href=bit, rel="noreferrer") if LINK.fullmatch(bit) else bit for bit in LINK.split(piece)]
        for piece in re.split(r"(`[^`]+`)", words)
    )


def _facts(run: Run) -> Html | None:
    """Versions, seed, fingerprints: from the config as resolved, else from the export's metadata."""
    versions = found(run.config, "versions") or found(run.export, "versions") or {}
    rows = [["seed", str(run.config["seed"])]] if run.config and "seed" in run.config else []
    rows += [[f"data: {name}", str(mark)[:16]] for name, mark in ((found(run.config, "resolved") or {}).get("data") or {}).items()]
    rows += [[str(name), str(value)] for name, value in versions.items()]
    return div(h3("Seed, data, versions"), words(["what", "which"], rows), class_="card") if rows else None


def _config(run: Run) -> Html | None:
    if not run.config:
        return None
    text = yaml.safe_dump({key: value for key, value in run.config.items() if key != "resolved"}, sort_keys=False, allow_unicode=True)
    return div(
        p("To run it again: ", code(f"recbayes run {run.folder.name}/config.yaml --out NEW")),
        details("The config, every setting", pre(text)),
        class_="card",
    )


def found(data: Any, key: str) -> Any:
    """The first value of a key anywhere in nested mappings, outer ones first.

    >>> found({"a": {"b": 1}, "c": {"b": 2}}, "b")
    1
    """
    if not isinstance(data, Mapping):
        return None
    if key in data:
        return data[key]
    return next((value for value in (found(inner, key) for inner in data.values()) if value is not None), None)
