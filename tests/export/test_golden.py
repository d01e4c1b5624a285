"""Exports of past versions load for ever, in a process without recbayes, and answer what they answered."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import recbayes as rb

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/metadata.json"))
OUTPUTS = {
    "click_rate": {"mean", "data_stddev", "model_stddev", "stddev", "lower", "upper"},
    "decide": {"action", "propensity", "probabilities", "mean", "stddev"},
}
SLATE = {"slate": {"actions", "propensities", "probabilities", "mean", "stddev"}}


def test_this_versions_exports_are_kept():
    """A release without goldens can break every server that was set up with it, unseen."""
    assert {folder.name for folder in FOLDERS} >= {f"{rb.__version__}-{kind}" for kind in ("page", "plain", "slate")}
    assert sum(path.stat().st_size for folder in FOLDERS for path in folder.rglob("*") if path.is_file()) < 8e6


SERVED = """
import json, sys, traceback
sys.modules["recbayes"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf

def sizes(folder):
    about = json.load(open(folder + "/metadata.json"))
    loaded = tf.saved_model.load(folder + "/1")
    for known in about["known_answers"] + json.load(open(folder + "/batches.json")):
        declared = about["signatures"][known["signature"]]
        kinds = {entry["name"]: entry["dtype"] for entry in declared["inputs"]}
        inputs = {k: tf.constant(np.array(v, object if kinds[k] == "string" else kinds[k])) for k, v in known["inputs"].items()}
        got = loaded.signatures[known["signature"]](**inputs)
        for entry in declared["outputs"]:
            value = got[entry["name"]]
            assert value.dtype.name == entry["dtype"], entry
            assert len(value.shape) == len(entry["shape"]), entry
            close = {"rtol": about["tolerance"]["relative"], "atol": about["tolerance"]["absolute"]}
            np.testing.assert_allclose(value, known["outputs"][entry["name"]], **close)
        yield len(got["mean"])

found = {}
for folder in sys.argv[1:]:
    try:
        found[folder] = list(sizes(folder))
    except Exception:
        found[folder] = traceback.format_exc()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def served():
    """What each export answers in one process that has no recbayes: the sizes of its right answers, or what went wrong."""
    done = subprocess.run([sys.executable, "-c", SERVED, *map(str, FOLDERS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_load_without_us_and_answer_as_they_did(served, folder):
    """An update of recbayes or TensorFlow breaks what is in production. One decision, seven, and the known answers."""
    assert served[str(folder)] == ([15, 3, 3, 1, 7] if folder.name.endswith("slate") else [15, 3, 1, 7])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_their_interface_is_the_one_they_promised(folder):
    """A name or type that callers rely on is gone."""
    about = json.loads((folder / "metadata.json").read_text())
    assert {name: {out["name"] for out in spec["outputs"]} for name, spec in about["signatures"].items()} == (
        OUTPUTS | SLATE if folder.name.endswith("slate") else OUTPUTS
    )
    names = [entry["name"] for entry in about["signatures"]["decide"]["inputs"]]
    assert names[-7:] == ["clicks", "impressions", "candidates", "remaining", "batch", "exploration", "seed"]
    assert rb.check(folder).ok


def test_the_generator_is_a_dry_run(monkeypatch, capsys):
    """Running it by mistake replaces what must stay."""
    monkeypatch.setattr(sys, "argv", ["make.py"])
    runpy.run_path(str(GOLDEN / "make.py"), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    assert said
    assert all("left as it is" in line or "would be written" in line for line in said)
    assert sorted(path.parent for path in GOLDEN.glob("*/metadata.json")) == FOLDERS
