"""The logs that ship with the package, by name: `example:upworthy`, `example:open_bandit` and its siblings."""

from __future__ import annotations

import re
from pathlib import Path

from recbayes.log.columns import listed, nearest
from recbayes.types import UserError

PREFIX = "example:"
FOLDER = Path(__file__).parent / "examples"


def example_names() -> list[str]:
    """Names of the embedded logs.

    >>> example_names()
    ['open_bandit', 'open_bandit_bts', 'open_bandit_bts_policy', 'upworthy']
    """
    return sorted(path.stem for path in FOLDER.glob("*.parquet"))


def example_path(source: str) -> Path:
    """The file behind `example:NAME`.

    Raises:
      UserError: no such example.
    """
    name = source.removeprefix(PREFIX)
    if name not in example_names():
        raise UserError(f"log: there is no {PREFIX}{name}.{nearest(name, example_names())} The examples: {listed(example_names())}.")
    return FOLDER / f"{name}.parquet"


def attribution(source: str) -> str:
    """Authors, licence and citation of an embedded log, as Markdown.

    >>> "CC BY 4.0" in attribution("example:upworthy")
    True
    """
    text = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    name = re.escape(source.removeprefix(PREFIX))
    return next(section.strip() for section in sections if re.search(rf"\b{name}\.parquet", section.splitlines()[0]))
