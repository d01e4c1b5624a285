"""Exports of past versions load for ever, in a process without recbayes, and answer what they answered."""

import json
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


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_load_without_us_and_answer_as_they_did(folder):
    """An update of recbayes or TensorFlow breaks what is in production. One decision, seven, and the known answers."""
    code = """
import json, sys
sys.modules["recbayes"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder = sys.argv[1]
about = json.load(open(folder + "/metadata.json"))
loaded = tf.saved_model.load(folder + "/1")
asked = about["known_answers"] + json.load(open(folder + "/batches.json"))
sizes = []
for known in asked:
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
    sizes.append(len(got["mean"]))
print(sizes)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ("[15, 3, 3, 1, 7]" if folder.name.endswith("slate") else "[15, 3, 1, 7]"), done.stderr[-2000:]


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


def test_the_generator_is_a_dry_run():
    """Running it by mistake replaces what must stay."""
    done = subprocess.run([sys.executable, str(GOLDEN / "make.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all("left as it is" in line or "would be written" in line for line in done.stdout.splitlines())
    assert sorted(path.parent for path in GOLDEN.glob("*/metadata.json")) == FOLDERS
