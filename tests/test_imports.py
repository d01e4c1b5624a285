"""Imports go one way, nothing heavy is imported early, and every public name is there."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import recbayes

ROOT = Path(__file__).parent.parent
# Each room may import from its own tier and from those before it.
TIERS = [
    {"types", "elementwise", "files", "random", "runtime"},
    {"engine"},
    {"log"},
    {"features"},
    {"densities"},
    {"models"},
    {"posteriors", "training", "streamed", "workers"},
    {"predictive"},
    {"calibration"},
    {"fitted", "fitting"},
    {"findings"},
    {"comparison"},
    {"policies"},
    {"replay"},
    {"evaluation"},
    {"export"},
    {"report"},
    {"monitor"},
    {"configs"},
    {"plugins", "config", "console", "run_folder"},
    {"pipelines"},
    {"cli"},
]
RANK = {room: rank for rank, rooms in enumerate(TIERS) for room in rooms}
NEVER = {"densities": {"log", "features"}, "policies": {"models", "posteriors", "training", "fitted", "calibration"}}


def sources():
    for folder in ("recbayes", "pipelines", "configs"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            room = folder if folder != "recbayes" else parts[1]
            if room != "__init__":
                yield file, room


def imported(file):
    """Rooms that a file imports, also inside functions, but not for type checking alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "recbayes":
            yield from (alias.name for alias in node.names if alias.name in RANK)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recbayes."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("recbayes."))


def test_imports_go_one_way():
    """A room that imports a later one can no longer be read, tested or changed alone."""
    wrong, seen = [], set()
    for file, room in sources():
        seen.add(room)
        assert room in RANK, f"{file}: say where {room} stands in TIERS"
        for other in imported(file):
            if other != room and (RANK[other] > RANK[room] or other in NEVER.get(room, ())):
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong, "\n".join(wrong)
    assert len(seen) > 10


def test_the_test_sees_an_import(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "from recbayes import fitted, thompson\ndef f():\n    from recbayes.replay.queue import queue\nimport recbayes.log.read as r\n"
    )
    assert sorted(imported(file)) == ["fitted", "log", "replay"]


def test_the_library_reads_no_yaml():
    readers = [
        file.name
        for file, room in sources()
        if "yaml" in {alias.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import) for alias in node.names}
        and room not in {"config", "pipelines", "report"}
    ]
    assert not readers


@pytest.mark.parametrize(
    "command", ["import recbayes", "import recbayes as rb; rb.read_log, rb.text", "import recbayes.cli", "import recbayes.config"]
)
def test_tensorflow_stays_out(command):
    """`recbayes --help` and `import recbayes` are instant because of it."""
    heavy = "{'tensorflow', 'keras', 'tensorflow_probability'} & set(sys.modules)"
    code = f"import sys; {command}; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cold_start_imports_little():
    """What `recbayes ls` imports: one slow module more is a tenth of a second for every user."""
    code = "import sys; import recbayes.cli; print({'pandas', 'numpy', 'pyarrow', 'pydantic', 'scipy', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("name", [name for name in recbayes.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    value = getattr(recbayes, name)
    assert callable(value)
    assert value.__doc__
    assert name in dir(recbayes)


def test_functions_are_not_hidden_by_rooms_of_their_name():
    """`rb.replay` must be the function, also after something imported the room recbayes.replay."""
    code = "import recbayes.replay, recbayes.export, recbayes.report; assert callable(recbayes.replay) and callable(recbayes.export)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_travels_by_its_name():
    """A notebook's own function that says `rb.fit` is pickled with the module it looks into, and workers must get that."""
    assert pickle.loads(pickle.dumps(recbayes)) is recbayes


def test_unknown_names_list_the_known():
    with pytest.raises(AttributeError, match="read_log"):
        getattr(recbayes, "read_logs")  # noqa: B009


def test_recipes_use_public_names_alone():
    """`rb.fitted` is there once something else has imported that room, as the tests do; a command of its own would end in a traceback."""
    used = {
        (file.name, node.attr)
        for file, room in sources()
        if room == "pipelines"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rb"
    }
    assert len(used) > 20
    assert not [(file, name) for file, name in used if name not in recbayes.__all__]
