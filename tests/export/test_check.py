"""The self-check: it passes a good export, and names what is wrong with any other."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import recbayes as rb
from recbayes.export import saving
from recbayes.export.schema import served_names
from recbayes.types import UserError


@pytest.fixture(scope="module")
def small(plain, tmp_path_factory):
    """A small export, quick to load."""
    return rb.export(plain, rb.ucb(), tmp_path_factory.mktemp("small") / "export")


def change(folder, edit):
    path = folder / "metadata.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_a_good_run_passes(small, plain, tmp_path):
    """The check cries wolf."""
    shutil.copytree(small, tmp_path / "export")
    plain.save(tmp_path / "model")
    found = rb.check(tmp_path)
    assert found.ok, str(found)
    assert found.passed == ("metadata", "files", "loading", "signatures", "known answers", "trained model")
    told = found.to_dict()
    assert set(told.pop("milliseconds")) == {"click_rate", "decide"}
    assert told == {"ok": True, "passed": list(found.passed), "reasons": []}


def test_an_export_alone_passes(small):
    """An export that was copied to a server can't be checked there."""
    found = rb.check(small)
    assert found.ok, str(found)
    assert "trained model" not in found.passed


def test_another_model_is_noticed(small, plain, tmp_path):
    """The run was trained again and the old export is served."""
    shutil.copytree(small, tmp_path / "export")
    plain.save(tmp_path / "model")
    assert rb.check(tmp_path).passed[-1] == "trained model"
    shutil.rmtree(tmp_path / "model")
    trained_again = dataclasses.replace(plain, state=tf.nest.map_structure(lambda t: t + 0.1, plain.state))
    trained_again.save(tmp_path / "model")
    reasons = rb.check(tmp_path).reasons
    assert reasons[0].startswith("trained model: mean: ")
    assert reasons[0].endswith("The export is of another model: export again")
    (tmp_path / "model" / "fitted.json").unlink()
    assert "can't be held against the export" in rb.check(tmp_path).reasons[0]


def damaged(name, position):
    def damage(folder):
        path = next(folder.glob(f"1/{name}"))
        content = bytearray(path.read_bytes())
        if position is None:
            path.write_bytes(content[: len(content) // 2])
        else:
            content[position] ^= 1
            path.write_bytes(content)

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damaged("saved_model.pb", None), "files: saved_model.pb is not the file that was exported"),
        (damaged("variables/variables.data*", 100), "files: variables/variables.data.* is not the file"),
        (lambda folder: next(folder.glob("1/variables/variables.index")).unlink(), "files: variables/variables.index is missing"),
        (lambda folder: (folder / "1" / "more").write_text("x"), "files: more was not part of the export"),
        (lambda folder: shutil.rmtree(folder / "1"), "files: .* is missing"),
        (lambda folder: (folder / "metadata.json").write_text('{"format": 1'), "metadata: metadata.json is not whole JSON"),
        (lambda folder: (folder / "metadata.json").write_text("{}"), "metadata: metadata.json lacks format, signatures"),
        (lambda folder: change(folder, lambda r: r.update(format=99)), "metadata: metadata.json has format 99"),
        (lambda folder: (folder / "metadata.json").write_text("[1, 2]"), "metadata: metadata.json is not whole JSON"),
        (lambda folder: change(folder, lambda r: r.update(files=["saved_model.pb"])), "files: metadata.json holds what no export writes"),
        (
            lambda folder: change(folder, lambda r: r.update(signatures={"decide": {}})),
            "signatures: metadata.json holds what no export writes",
        ),
        (
            lambda folder: change(folder, lambda r: r["known_answers"][0]["outputs"]["mean"].__setitem__(2, 0.5)),
            "known answers: click_rate, mean: ",
        ),
        (lambda folder: change(folder, lambda r: r["known_answers"][1]["inputs"].pop("headline")), "known answers: decide does not answer"),
        (
            lambda folder: change(folder, lambda r: r["signatures"]["decide"]["inputs"][0].update(dtype="int32")),
            "signatures: decide's input headline is string",
        ),
        (
            lambda folder: change(folder, lambda r: r["signatures"]["decide"]["inputs"].pop(0)),
            "signatures: decide has an input headline that",
        ),
    ],
)
def test_damage_is_named(small, tmp_path, damage, reason):
    """A truncated or altered export is served, or the check itself crashes."""
    shutil.copytree(small, tmp_path / "export")
    damage(tmp_path / "export")
    found = rb.check(tmp_path)
    assert not found.ok
    assert any(re.match(reason, line) for line in found.reasons), found.reasons
    assert f"fails: {found.reasons[0]}" in str(found)


def test_no_export_is_the_users_mistake(tmp_path):
    """A wrong path is a traceback."""
    with pytest.raises(UserError, match="no export here"):
        rb.check(tmp_path)


def test_a_failed_export_leaves_the_old_one(small, plain, tmp_path, monkeypatch):
    """A kill or a full disk half-way leaves half an export."""
    folder = tmp_path / "export"
    shutil.copytree(small, folder)
    before = saving.digests(folder)

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(saving, "answers", fail)
    with pytest.raises(OSError, match="No space left"):
        rb.export(plain, rb.greedy(), folder)
    assert saving.digests(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_an_export_is_replaced_whole(small, plain, tmp_path):
    """Files of the old export stay among the new ones."""
    folder = tmp_path / "export"
    shutil.copytree(small, folder)
    (folder / "1" / "old").write_text("x")
    assert rb.export(plain, rb.greedy(), folder) == folder
    assert rb.check(folder).ok
    assert not (folder / "1" / "old").exists()


def test_known_answers_may_come_from_rows(plain, rows, tmp_path):
    """The known answers are about made-up rows, though the caller gave real ones."""
    folder = rb.export(plain, rb.greedy(), tmp_path / "export", rows=rows.head(15))
    record = json.loads((folder / "metadata.json").read_text())
    assert record["known_answers"][0]["inputs"]["headline"] == rows.headline.head(15).tolist()
    assert rb.check(folder).ok


def test_wrong_exports_are_refused(plain, tmp_path):
    """A policy that the model can't play is exported, or someone's folder is deleted."""
    with pytest.raises(UserError, match="learns from counts"):
        rb.export(plain, rb.ucb(rb.counts()), tmp_path / "export")
    with pytest.raises(UserError, match=r"floor is 1\.5"):
        rb.export(plain, rb.ucb(), tmp_path / "export", floor=1.5)
    with pytest.raises(UserError, match="metadata has policy"):
        rb.export(plain, rb.ucb(), tmp_path / "export", metadata={"policy": "mine"})
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="no export"):
        rb.export(plain, rb.ucb(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_served_names_are_names_and_differ():
    """Two features are served under one name, or under one that TensorFlow refuses."""
    names = served_names(["a-b", "a_b", "a b", "self", "2x", "_x", "é", ""])
    assert len(set(names.values())) == len(names)
    assert all(name.isascii() and name.isidentifier() and not name.startswith("_") for name in names.values())
    assert names["self"] != "self"
    assert np.all([len(name) for name in names.values()])
