"""What people install: the wheel holds everything, and works in a clean environment far from the checkout."""

import json
import shutil
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = {"recbayes": "recbayes", "configs": "recbayes/configs", "pipelines": "recbayes/pipelines"}
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build files are left in the checkout."""
    home = tmp_path_factory.mktemp("wheel")
    source = home / "source"
    source.mkdir()
    for name in SHIPPED:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-c", BUILD, str(home)], cwd=source, check=True, capture_output=True)
    (built,) = home.glob("recbayes-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A clean environment with the wheel in it; its dependencies are those of the environment that runs the tests."""
    home = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def test_everything_ships(wheel):
    """A forgotten sub-package or data file shows only at a user's."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = [
        f"{target}/{file.relative_to(ROOT / folder)}"
        for folder, target in SHIPPED.items()
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".yaml", ".parquet", ".md", ".css", ".js", ".html", ".svg", ".typed") and "__pycache__" not in file.parts
    ]
    assert len(wanted) > 60
    assert not sorted(set(wanted) - packed)
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    assert not [name for name in packed if name.startswith(("tests", "benchmarks", "notebooks", "configs/", "pipelines/"))]


def test_it_works_far_from_the_checkout(python, tmp_path):
    recbayes = python.with_name("recbayes")
    where = "import recbayes.pipelines.run, recbayes.configs; print(recbayes.pipelines.__file__)"
    assert (
        str(python.parent.parent) in subprocess.run([python, "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    )
    listed = subprocess.run([recbayes, "ls"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "quickstart" in listed
    subprocess.run([recbayes, "audit", "quickstart", "--out", "run"], cwd=tmp_path, check=True, capture_output=True)
    assert json.loads((tmp_path / "run" / "audit.json").read_text())["verdict"] == "warn"
