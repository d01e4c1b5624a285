"""What the command line shows: lines and progress bars on stderr, quiet bars when nobody watches; results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

Advance: TypeAlias = Callable[..., None]
"""Called with (done, total, ...) as work goes on."""


class Console:
    """Where a pipeline says what it does.

    Attributes:
      as_json: print one JSON object at the end and nothing else.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, line: str) -> None:
        """One line for the reader."""
        if not self.as_json:
            print(line, file=sys.stderr, flush=True)

    def result(self, summary: Mapping[str, Any], text: str = "") -> None:
        """What the command found: as JSON if so asked, else as text."""
        if self.as_json:
            print(json.dumps(summary, indent=2))
        elif text:
            print(text)

    @contextmanager
    def progress(self, label: str) -> Iterator[Advance]:
        """A bar for as long as the block lasts; nothing when stderr is no terminal."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda *_: None
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn())
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as bars:
            task = bars.add_task(label, total=1)

            def advance(done: int, total: int, about: object = None) -> None:
                bars.update(task, completed=done, total=total, description=f"{label} {about}" if isinstance(about, str) else label)

            yield advance
