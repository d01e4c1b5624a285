"""The shipped configs: one commented YAML an experiment. `recbayes ls` lists them, `recbayes cp NAME FILE` copies one."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from recbayes.types import UserError


def shipped() -> dict[str, Traversable]:
    """The configs that come with recbayes, by name."""
    entries = sorted(files("recbayes.configs").iterdir(), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".yaml"): entry for entry in entries if entry.name.endswith(".yaml")}


def source(name: str) -> str:
    """The text of a config: a path, or the name of a shipped one.

    Raises: UserError if it is neither, or no text.
    """
    path = Path(name)
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{name}: not a text file. A config is YAML; `recbayes cp quickstart my.yaml` makes one to start from.") from None
    if name in shipped():
        return shipped()[name].read_text(encoding="utf-8")
    what = "no such file" if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 else "neither a file nor a shipped config"
    raise UserError(f"{name}: {what}. Shipped: {', '.join(shipped())}; `recbayes cp quickstart my.yaml` makes a file to start from.")


def headline(name: str) -> str:
    """The first comment line of a shipped config: what it is for."""
    return shipped()[name].read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
