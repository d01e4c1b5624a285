"""`check`: is the export whole, does it answer what it answered, and does it agree with the trained model?"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.export import known
from recbayes.export.saving import FORMAT, METADATA, MODEL, call, digests
from recbayes.export.schema import OUTPUTS, Input
from recbayes.export.scorer import Scorer
from recbayes.types import UserError


class Check(NamedTuple):
    """What `check` found.

    passed: names of the checks that hold; reasons: why the others do not, a sentence each; milliseconds: what a signature takes here to
    answer its known request, the median of some calls (no check: machines differ).

    >>> print(Check(("metadata",), ("files: saved_model.pb is missing",)))
    holds: metadata
    fails: files: saved_model.pb is missing
    """

    passed: tuple[str, ...]
    reasons: tuple[str, ...]
    milliseconds: Mapping[str, float] = MappingProxyType({})

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "passed": list(self.passed), "reasons": list(self.reasons), "milliseconds": dict(self.milliseconds)}

    def __str__(self) -> str:
        times = [f"{name} takes {milliseconds:.1f} ms here" for name, milliseconds in self.milliseconds.items()]
        return "\n".join([*(f"holds: {name}" for name in self.passed), *(f"fails: {reason}" for reason in self.reasons), *times])


def check(folder: str | os.PathLike[str]) -> Check:
    """Holds an export against its own record and, where it is there, against the trained model.

    In order: the files' digests, the signatures, the known answers, parity with the model that `train` left in the run folder.
    What can't be looked at because an earlier check failed is left out.

    Args:
      folder: an export, or a run folder that holds one.

    Returns: what holds and what does not, with reasons.
    Raises: UserError if there is no export in the folder.

    >>> check("runs/quickstart").ok  # doctest: +SKIP
    True
    >>> check("nowhere")
    Traceback (most recent call last):
    recbayes.types.UserError: nowhere: no export here (no metadata.json). Run the export stage, or give a run folder
    """
    path = Path(folder)
    path = path / "export" if (path / "export").is_dir() else path
    if not (path / METADATA).is_file():
        raise UserError(f"{path}: no export here (no {METADATA}). Run the export stage, or give a run folder")
    passed: list[str] = []
    reasons: list[str] = []
    times: dict[str, float] = {}

    def holds(name: str, look: Callable[[], list[str]]) -> bool:
        try:
            found = look()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            found = [f"{METADATA} holds what no export writes ({type(error).__name__}: {error}). Export again"]
        reasons.extend(f"{name}: {reason}" for reason in found)
        passed.extend([] if found else [name])
        return not found

    record: dict[str, Any] = {}
    if holds("metadata", lambda: _read(path / METADATA, record)) and holds("files", lambda: _files(path / MODEL, record)):
        loaded, faults = _loaded(path / MODEL)
        if holds("loading", lambda: faults) and holds("signatures", lambda: _signatures(loaded, record)):
            if holds("known answers", lambda: _known_answers(loaded, record)):
                times = _times(loaded, record)
        model = path.parent / "model"
        if model.is_dir() and path.name == "export":
            holds("trained model", lambda: _parity(model, record))
    return Check(tuple(passed), tuple(reasons), times)


def _read(path: Path, record: dict[str, Any]) -> list[str]:
    """Fills the record."""
    needed = ("format", "signatures", "known_answers", "files", "policy", "model", "versions")
    try:
        record.update(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        return [f"{path.name} is not whole JSON ({error}). Export again"]
    missing = [key for key in needed if key not in record]
    if missing:
        return [f"{path.name} lacks {', '.join(missing)}. Export again"]
    if record["format"] != FORMAT:
        writer = record["versions"]["recbayes"]
        return [f"{path.name} has format {record['format']}, this version reads {FORMAT}. Check it with recbayes {writer}"]
    return []


def _files(folder: Path, record: dict[str, Any]) -> list[str]:
    have, wanted = digests(folder) if folder.is_dir() else {}, record["files"]
    found = [f"{name} is missing" for name in wanted if name not in have]
    found += [
        f"{name} is not the file that was exported (its SHA-256 differs)" for name in wanted if name in have and have[name] != wanted[name]
    ]
    return found + [f"{name} was not part of the export" for name in have if name not in wanted]


def _loaded(folder: Path) -> tuple[Any, list[str]]:
    try:
        return tf.saved_model.load(str(folder)), []
    except Exception as error:  # whatever a damaged file makes TensorFlow raise is the reason asked for
        return None, [f"TensorFlow {tf.__version__} can't load it: {error}"]


def _signatures(loaded: Any, record: dict[str, Any]) -> list[str]:
    found = []
    for name, declared in record["signatures"].items():
        if name not in loaded.signatures:
            found.append(f"there is no signature {name}")
            continue
        specs = loaded.signatures[name].structured_input_signature[1]
        wanted = {entry["name"]: _spec(entry) for entry in declared["inputs"]}
        found += [f"{name} lacks the input {key}" for key in sorted(set(wanted) - set(specs))]
        found += [f"{name} has an input {key} that metadata.json does not know" for key in sorted(set(specs) - set(wanted))]
        found += [
            f"{name}'s input {key} is {specs[key].dtype.name} {specs[key].shape}, metadata.json says {spec.dtype.name} {spec.shape}"
            for key, spec in wanted.items()
            if key in specs and (specs[key].dtype, specs[key].shape.as_list()) != (spec.dtype, spec.shape.as_list())
        ]
        outputs = set(loaded.signatures[name].structured_outputs)
        found += [f"{name} lacks the output {key}" for key in OUTPUTS.get(name, {}) if key not in outputs]
    return found


def _spec(entry: dict[str, Any]) -> Any:
    return tf.TensorSpec([axis if isinstance(axis, int) else None for axis in entry["shape"]], entry["dtype"])


def _declared(record: dict[str, Any], signature: str) -> list[Input]:
    return [
        Input(entry["name"], entry["dtype"], tuple(entry["shape"]), entry.get("feature"), entry.get("default"), entry["meaning"])
        for entry in record["signatures"][signature]["inputs"]
    ]


def _known_answers(loaded: Any, record: dict[str, Any]) -> list[str]:
    found = []
    for answer in record["known_answers"]:
        name = answer["signature"]
        declared = _declared(record, name)
        try:
            got = call(loaded.signatures[name], known.from_json(answer["inputs"], declared), declared)
        except (tf.errors.OpError, ValueError, TypeError, KeyError) as error:
            found.append(f"{name} does not answer: {error}")
            continue
        found += [f"{name}, {reason}" for reason in known.differences(answer["outputs"], got)]
    return found


def _times(loaded: Any, record: dict[str, Any], calls: int = 9) -> dict[str, float]:
    """Median milliseconds of each signature's known request, after the calls that the known answers were."""
    found = {}
    for answer in record["known_answers"]:
        declared = _declared(record, answer["signature"])
        request, seconds = known.from_json(answer["inputs"], declared), []
        for _ in range(calls):
            start = time.perf_counter()
            call(loaded.signatures[answer["signature"]], request, declared)
            seconds.append(time.perf_counter() - start)
        found[answer["signature"]] = 1e3 * statistics.median(seconds)
    return found


def _parity(model: Path, record: dict[str, Any]) -> list[str]:
    """The click rates of the known requests, by the trained model itself."""
    from recbayes.fitted import load

    try:
        drawn = record["model"]["draws"]
        scorer = Scorer(load(model), draws=drawn["count"], seed=drawn["seed"])
        request = next(answer for answer in record["known_answers"] if answer["signature"] == "click_rate")
        declared = _declared(record, "click_rate")
        got = call(scorer.click_rate, known.from_json(request["inputs"], declared), declared)  # uncompiled: one answer
    except (UserError, tf.errors.OpError, ValueError, TypeError, KeyError, StopIteration) as error:
        return [f"the model in {model} can't be held against the export: {error}"]
    return [f"{reason}. The export is of another model: export again" for reason in known.differences(request["outputs"], got)]
