"""Each notebook runs from top to bottom on small sizes, opens as a notebook, and shows pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

mpl.use("Agg")
pytest.importorskip("IPython", reason="ipykernel is not installed (recbayes[notebooks])")
jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed (recbayes[notebooks])")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))
SMALL: dict[str, dict[str, Any]] = {
    "quickstart": {"EPOCHS": 1, "SEEDS": 2, "STEPS": 3, "NEWEST": 100},
    "tutorial": {"EPOCHS": 2, "NEWEST": 60, "DRAWS": 64, "WARMUP": 50, "MEMBERS": 2, "TIMES": 2},
    "evaluation": {"ROWS": 4000, "LOGS": 8},
    "loop": {"DAYS": 2, "PAGES": 9, "BATCHES": 8, "EPOCHS": 3},
    "exploring": {"EPOCHS": 1, "SEEDS": 2, "STEPS": 3, "NEWEST": 100, "SCALES": [1.0, 2.0]},
}
ENDS = {
    "quickstart": ("chances", {"UCB", "Thompson", "Thompson, a quarter"}),
    "tutorial": ("chances", {"UCB", "Thompson"}),
    "evaluation": ("covered", {"trust", "doubt"}),
    "loop": ("mean_lift", {"uniform", "served"}),
    "exploring": ("answer", {"best scale", "over uniform", "over greedy", "paid back", "regret in the twin"}),
}


def resized(source: str, sizes: dict[str, Any]) -> str:
    """The script with other values for what its cell tagged `parameters` sets.

    Raises: KeyError if that cell does not set one of them: an override that matches nothing would run the full size unseen.
    """
    before, mark, rest = source.partition('# %% tags=["parameters"]\n')
    cell, following, after = rest.partition("\n# %%")
    for name, value in sizes.items():
        cell, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", cell, flags=re.MULTILINE)
        if found != 1:
            raise KeyError(f"the notebook has no parameter {name}")
    return before + mark + cell + following + after


def test_each_notebook_is_here() -> None:
    """A notebook without sizes would not be run."""
    assert {path.stem for path in NOTEBOOKS} == set(SMALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_as_a_notebook(path: Path) -> None:
    """Cells of text and code, and a valid notebook file."""
    import nbformat

    notebook = jupytext.read(path)
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.count("markdown") > 5
    assert kinds.count("code") > 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path) -> None:
    """Every cell, on small sizes; it ends with a decision and has drawn its pictures."""
    import matplotlib.pyplot as plt

    plt.close("all")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(resized(path.read_text(encoding="utf-8"), SMALL[path.stem]), str(path), "exec"), names)
    assert len(plt.get_fignums()) >= 3
    name, keys = ENDS[path.stem]
    assert set(names[name]) == keys
    plt.close("all")


def test_an_override_that_matches_nothing_is_an_error() -> None:
    """A renamed parameter must not make the test run for minutes."""
    with pytest.raises(KeyError, match="no parameter EPOCH"):
        resized(NOTEBOOKS[-1].read_text(encoding="utf-8"), {"EPOCH": 1})
