"""`export`: a fitted model and a policy as a folder that any TensorFlow server loads."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from recbayes import __version__
from recbayes.export import known
from recbayes.export.schema import OUTPUTS
from recbayes.export.scorer import DEFAULTS, INTERVAL, Scorer
from recbayes.policies import Policy
from recbayes.types import UserError

FORMAT = 1
MODEL, METADATA = "1", "metadata.json"


def export(
    fitted: Any,
    policy: Policy,
    folder: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    rows: Any = None,
    draws: int | None = None,
    seed: int = 0,
    floor: float = 0.01,
    defaults: Mapping[str, float] = DEFAULTS,
    slate: int | None = None,
) -> Path:
    """Writes the SavedModel (`folder/1`) and metadata.json beside it; an older export is replaced when the new one is whole.

    Args:
      fitted: the model.
      policy: chooses the action of `decide`.
      folder: where to.
      metadata: what else metadata.json is to say: held-out figures, the config's name.
      rows: columns whose first rows become the known answers' requests; None makes requests up.
      draws: weight draws the model carries; None is as many as the posterior was built with. Serving time and size grow with it.
      seed: of the weight draws.
      floor: every candidate gets at least this share of a uniform choice, so that the logged decisions can be evaluated later.
      defaults: of `remaining` and `batch`, for callers that have none.
      slate: positions of a page: adds the signature `slate`, which fills them without repeating a candidate.

    Returns: the folder.
    Raises: UserError if the policy does not learn from the density, the floor is outside [0, 1), a slate has no position, `metadata` holds
      a key of the export's own, or the folder holds something else.

    >>> from recbayes.policies import ucb
    >>> export(fitted, ucb(exploration=1.0), "export")  # doctest: +SKIP
    PosixPath('export')
    >>> export(None, ucb(), "export", floor=1.5)
    Traceback (most recent call last):
    recbayes.types.UserError: export: floor is 1.5, must be in [0, 1)
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not (target / METADATA).is_file():
        raise UserError(f"{target}: holds something that is no export. Give an empty or a new folder")
    scorer = Scorer(fitted, policy, draws=draws, seed=seed, floor=floor, defaults=defaults, positions=slate)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        options = tf.saved_model.SaveOptions(
            experimental_custom_gradients=False
        )  # a served model is not trained; tracing them takes seconds
        tf.saved_model.save(scorer, str(beside / MODEL), signatures=scorer.functions(), options=options)
        record = about(scorer, fitted, policy, floor, seed) | {
            "signatures": signatures(scorer, beside / MODEL),
            "tolerance": {"absolute": known.ABSOLUTE, "relative": known.RELATIVE},
            "known_answers": answers(scorer, rows),
            "files": digests(beside / MODEL),
        }
        clash = sorted(set(record) & set(metadata or {}))
        if clash:
            raise UserError(f"export: metadata has {', '.join(clash)}, which the export writes itself. Use other keys")
        text = json.dumps({**record, **(metadata or {})}, indent=1, allow_nan=False, ensure_ascii=False)
        (beside / METADATA).write_text(text, encoding="utf-8")
        replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def about(scorer: Scorer, fitted: Any, policy: Policy, floor: float, seed: int) -> dict[str, Any]:
    """What metadata.json says of the model, the policy, the data and the interface."""
    effect = fitted.group_effect
    return {
        "format": FORMAT,
        "versions": {
            "recbayes": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "data": {key: fitted.record[key] for key in ("fingerprint", "rows", "groups") if key in fitted.record},
        "model": {
            "density": {"kind": fitted.family.name, **fitted.family.settings()},
            "posterior": {"kind": fitted.posterior.kind, **fitted.posterior.settings},
            "draws": {"seed": seed, "count": _draw_count(scorer)},
            "group_effect": None if effect is None else {"column": fitted.group, "tau": float(effect.tau)},
            "features": [{"name": f.name, "kind": f.kind, "side": f.side} for f in scorer.encoder.features],
            "recalibration": _recalibration(fitted),
        },
        "policy": {"name": policy.name, "kind": policy.kind, "settings": dict(policy.settings), "floor": floor}
        | ({"slate": scorer.positions} if scorer.positions else {}),
    }


def signatures(scorer: Scorer, folder: Path) -> dict[str, Any]:
    """What metadata.json says of each input and output; `tensor` is its name in the graph, for servers by the C API."""
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
    return {
        name: {
            "inputs": [{**entry.to_dict(), "tensor": saved[name].inputs[entry.name].name} for entry in scorer.inputs[name]],
            "outputs": [
                {"name": out, "dtype": dtype, "shape": list(shape), "meaning": meaning, "tensor": saved[name].outputs[out].name}
                for out, (dtype, shape, meaning) in OUTPUTS[name].items()
            ],
        }
        for name in scorer.signatures
    }


def answers(scorer: Scorer, rows: Any) -> list[dict[str, Any]]:
    """Requests and what the model answers to them, operation by operation: a graph's first answer takes longer, and is what they check."""
    found = []
    for name, request in known.requests(scorer, rows).items():
        outputs = call(getattr(scorer, name), request, scorer.inputs[name])
        found.append({"signature": name, "inputs": known.to_json(request), "outputs": known.to_json(outputs)})
    return found


def call(function: Any, request: Mapping[str, Any], declared: Any) -> dict[str, Any]:
    """A signature's answer to NumPy arrays, as NumPy arrays; traced or not."""
    kinds = {entry.name: entry.dtype for entry in declared}
    outputs = function(**{name: tf.constant(value, kinds[name]) for name, value in request.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def replace(new: Path, target: Path) -> None:
    """Puts a folder in another's place; a kill in between leaves the old one under a hidden name beside it, never half of either."""
    os.chmod(new, 0o755)
    if target.exists():
        old = new.with_name(f"{new.name}-old")
        os.replace(target, old)
        os.replace(new, target)
        shutil.rmtree(old)
    else:
        os.replace(new, target)


def _recalibration(fitted: Any) -> dict[str, Any] | None:
    """The map of click_rate's interval, and what it does not touch."""
    found = getattr(fitted, "recalibration", None)
    if found is None:
        return None
    return {
        **found.record(),
        "outputs": ["lower", "upper"],
        "levels": {"lower": found.level(INTERVAL[0]), "upper": found.level(INTERVAL[1])},
        "meaning": (
            "lower and upper are the model's own quantiles at these levels, by a map fitted on groups set aside from training; the levels "
            "go back to 5% and 95% as own counts shrink a row's variance. mean and the stddevs, which decide acts on, are the model's own."
        ),
    }


def _draw_count(scorer: Scorer) -> int:
    example = scorer.encoder(scorer.encoder.example(1))
    return int(scorer.density(example)[0].shape[0])
