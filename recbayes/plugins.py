"""What may stand in a config's `{kind: NAME, ...}` sections: a room's builders, their settings read from their signatures.

A room is written `folder:Type`: its kinds are the functions in that folder of recbayes that say they return such a type, and that are
called like their file or stand in the room's `__all__`. So a new file in posteriors/ with a function of its name is a new kind, and
nothing else changes. The files are parsed, not imported: a config is checked in milliseconds and without TensorFlow.

>>> settings("posteriors:Posterior", "last_layer")["draws"]
Setting(annotation='int', default=64)
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

REQUIRED = object()
"""The default of a setting that has none."""

_TYPES = {t.__name__: t for t in (bool, int, float, str, list, tuple, dict)} | {
    "Literal": Literal,
    "Sequence": Sequence,
    "Mapping": Mapping,
}


class Setting(NamedTuple):
    """One parameter of a plugin: its annotation as written, its default, and whether the default is a plain value."""

    annotation: str | None
    default: Any


@cache
def kinds(room: str) -> tuple[str, ...]:
    """Names that `kind` may have in a room such as `posteriors:Posterior`."""
    return tuple(sorted(_builders(room)))


@cache
def settings(room: str, kind: str) -> Mapping[str, Setting]:
    """Parameters of the function that a kind names, in order.

    Raises: KeyError if the room has no such kind.
    """
    arguments = _builders(room)[kind].function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults, *arguments.kw_defaults]
    return {
        argument.arg: Setting(ast.unparse(argument.annotation) if argument.annotation else None, _value(default))
        for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True)
    }


def build(room: str, kind: str, *given: Any, **named: Any) -> Any:
    """The function that a kind names, called. Only here is its room imported."""
    return getattr(import_module(_builders(room)[kind].module), kind)(*given, **named)


def faults(room: str, kind: str, given: Mapping[str, Any], supplied: frozenset[str]) -> list[tuple[str, str]]:
    """What is wrong with the settings of a section: (key, message) pairs.

    Args:
      room: as for `kinds`.
      kind: the section's kind.
      given: the section's settings, kind left out.
      supplied: parameters that the caller fills in, which a config may not name.
    """
    if kind not in kinds(room):
        return [("kind", f"unknown kind {kind!r}. {nearest(kind, kinds(room))}")]
    known = {name: setting for name, setting in settings(room, kind).items() if name not in supplied}
    found = [(name, f"{kind} has no setting {name!r}. {nearest(name, known)}") for name in given if name not in known]
    found += [(name, f"{kind} needs a value here") for name, setting in known.items() if setting.default is REQUIRED and name not in given]
    return found + [(name, fault) for name, value in given.items() if name in known and (fault := _misfit(known[name].annotation, value))]


def nearest(name: str, right: Mapping[str, Any] | Sequence[str]) -> str:
    """The mend for a misspelt name, as a sentence.

    >>> nearest("epoch", ["epochs", "batch_size"])
    'Did you mean epochs? Known: batch_size, epochs'
    """
    if not right:
        return "It takes none"
    guess = get_close_matches(str(name), list(right), n=1)
    return (f"Did you mean {guess[0]}? " if guess else "") + f"Known: {', '.join(sorted(right))}"


class _Builder(NamedTuple):
    module: str
    function: ast.FunctionDef


@cache
def _builders(room: str) -> dict[str, _Builder]:
    """The functions of a room, by name. Its folder is found without running its __init__, which may import TensorFlow."""
    folder, _, wanted = room.partition(":")
    first, *inner = folder.split(".")
    spec = find_spec(f"recbayes.{first}")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"recbayes has no room {folder!r}")
    home = Path(spec.submodule_search_locations[0], *inner)
    named = _named(home / "__init__.py")
    return {
        node.name: _Builder(f"recbayes.{folder}.{path.stem}", node)
        for path in sorted(home.glob("[a-z]*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name in {path.stem, *named} and _returns(node).endswith(wanted)
    }


def _named(file: Path) -> list[str]:
    """The names in a room's `__all__`."""
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return [name for names in lists for name in ast.literal_eval(names)]


def _returns(function: ast.FunctionDef) -> str:
    """The last word of a function's return annotation: `Posterior` for `base.Posterior`."""
    return ast.unparse(function.returns).strip("'\"").rpartition(".")[2] if function.returns else ""


def _value(node: ast.expr | None) -> Any:
    """A default as a plain value; an expression (a module's constant) stays as Ellipsis: known to be there, not known here."""
    if node is None:
        return REQUIRED
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def _misfit(annotation: str | None, value: Any) -> str | None:
    """Why a value does not fit an annotation; None if it does or if the annotation is not made of plain types."""
    try:
        wanted = eval(annotation or "", {"__builtins__": {}}, _TYPES)
        TypeAdapter(wanted).validate_python(value)
    except ValidationError as error:
        return f"{error.errors()[0]['msg']}, got {value!r} (wanted: {annotation})"
    except (NameError, SyntaxError, TypeError, AttributeError):
        return None
    return None
