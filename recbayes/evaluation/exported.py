"""A policy as it ships: the probabilities that an export's own `decide` answers, so what is judged is what will be served.

The export is loaded as any server would load it, from the SavedModel and metadata.json. Its candidates in a row are the row's own list,
else the items of the row's group, else all items that the log shows, whatever batch holds them (`offered.py`); their own counts are 0:
the log's clicks are what it is judged by.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recbayes.evaluation.catalog import Catalog
from recbayes.evaluation.offered import Offered
from recbayes.evaluation.target import Choices, Target, contexts
from recbayes.log.counts import equal_rows
from recbayes.log.stream import Stream, stream_log
from recbayes.types import Array, UserError

CHUNK = 65_536
"""Candidates in one call."""


def exported(folder: str | os.PathLike[str], *, name: str = "", exploration: float | None = None, seed: int = 0) -> Target:
    """The policy of an export.

    Args:
      folder: an export, or a run folder that holds one.
      name: in results; by default the exported policy's.
      exploration: sent with each request; by default the export's own.
      seed: of the requests; a sampled policy (Thompson) answers with the frequencies of its draws.

    Raises: UserError if there is no export in the folder; when it meets the log, if a feature is not in it, or a candidate's are not.

    >>> exported("nowhere")
    Traceback (most recent call last):
    recbayes.types.UserError: evaluate: nowhere holds no export (no metadata.json). Run the export stage, or give its folder
    """
    path = Path(folder)
    path = path / "export" if (path / "export").is_dir() else path
    if not (path / "metadata.json").is_file():
        raise UserError(f"evaluate: {path} holds no export (no metadata.json). Run the export stage, or give its folder")
    about = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
    called = name or about["policy"]["name"]

    @cache
    def served() -> Any:
        import tensorflow as tf

        return tf.saved_model.load(str(path / "1"))

    def over(stream: Stream) -> Callable[[Any], Choices]:
        items = [feature["name"] for feature in about["model"]["features"] if feature["side"] == "item"]
        offered = Offered.of(stream, items)
        return lambda log: _choices(log, offered, about, served().signatures["decide"], exploration, seed)

    return Target("exported", called, lambda log: over(stream_log(log))(log), over=over)


def _choices(log: Any, offer: Offered, about: Any, decide: Any, exploration: float | None, seed: int) -> Choices:
    inputs = about["signatures"]["decide"]["inputs"]
    kinds = {feature["name"]: feature for feature in about["model"]["features"]}
    shared = [name for name, feature in kinds.items() if feature["side"] != "item"]
    catalog = offer.catalog
    code = catalog.rows(np.asarray(log.item), "the export")
    sets = offer.sets(log, code)
    own = equal_rows(log.table, shared)[0] if shared else np.zeros(len(log), np.int64)
    place = equal_rows(log.table, [log.columns.position])[0] if log.columns.position is not None else np.zeros(len(log), np.int64)
    number, key = len(sets[1]), (own * (int(place.max()) + 1) + place).astype(np.int64)
    context, first = contexts(key * number + sets[0])
    offered = sets[1][sets[0][first]]  # [C, A], places in the catalog, -1 where there is nothing
    size = max(CHUNK // offered.shape[1], 1)
    parts = []
    for start in range(0, len(first), size):
        rows, places = first[start : start + size], offered[start : start + size]
        request = _request(log, inputs, kinds, catalog, rows, places)
        parts.append(_answer(decide, inputs, request, exploration, (seed, start)))
    probability = np.concatenate(parts).astype(np.float64)
    probability /= probability.sum(1, keepdims=True)
    shown = (np.where(offered[context] == code[:, None], probability[context], 0.0)).sum(1)
    return Choices(shown, context, np.asarray(catalog.items)[offered], probability, first)


def _request(log: Any, inputs: Any, kinds: Any, catalog: Catalog, rows: Array, places: Array) -> dict[str, Any]:
    """Raw features of some contexts [B] and of their candidates [B, A], by the features' names."""
    there = places >= 0
    items = catalog.columns(np.where(there, places, places.max(1, keepdims=True)).ravel())
    found: dict[str, Any] = {"candidates": there}
    for entry in inputs:
        feature = entry.get("feature")
        if feature is not None:
            of_item = kinds[feature]["side"] == "item"
            value = _raw(items[feature] if of_item else log.column(feature).take(pa.array(rows)), kinds[feature]["kind"], entry)
            found[entry["name"]] = value.reshape(*there.shape, *value.shape[1:]) if of_item else value
    return found


def _raw(column: Any, kind: str, entry: Any) -> Array:
    """A column as the served input takes it, [N, ...]: missing values as the schema says, lists padded to their fixed length."""
    from recbayes.features import columns as features
    from recbayes.features.bags import UNKNOWN
    from recbayes.features.times import unix_seconds

    array, name = features.plain(column, entry["feature"]), entry["feature"]
    width = entry["shape"][-1] if isinstance(entry["shape"][-1], int) else 0
    if kind == "time":
        return unix_seconds(array, name)
    if width and entry["dtype"] == "string":
        lists = [[str(value) for value in values][:width] if values is not None else [UNKNOWN] for values in array.to_pylist()]
        return np.array([values + [""] * (width - len(values)) for values in lists], object).reshape(len(array), width)
    if width:
        return np.array([values if values is not None else [np.nan] * width for values in array.to_pylist()], np.float64)
    if entry["dtype"] == "string":
        return features.objects(features.strings(array, name).fill_null(entry["default"]))
    values = array.cast(pa.int64() if entry["dtype"] == "int64" else pa.float64(), safe=False)
    return values.fill_null(int(entry["default"]) if entry["dtype"] == "int64" else np.nan).to_numpy(zero_copy_only=False)


def _answer(decide: Any, inputs: Any, request: dict[str, Any], exploration: float | None, seed: tuple[int, int]) -> Array:
    """Probabilities of each candidate, [B, A]."""
    import tensorflow as tf

    shape = request["candidates"].shape
    given: dict[str, Any] = {}
    for entry in inputs:
        if entry["name"] in request:
            value = request[entry["name"]]
        elif entry["name"] == "seed":
            value = np.array(seed, np.int32)
        elif entry["name"] == "exploration" and exploration is not None:
            value = exploration
        else:
            value = np.full([{"B": shape[0], "A": shape[1]}[axis] for axis in entry["shape"]], entry["default"])
        given[entry["name"]] = tf.constant(value, entry["dtype"])
    return np.asarray(decide(**given)["probabilities"])
