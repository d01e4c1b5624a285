"""Questions with known answers: requests whose outputs metadata.json keeps, for `check` and for any other consumer to replay.

The requests are made up from the encoder (values of the training log and unseen ones, counts from none to many, a place that may not be
shown), or taken from rows that the caller gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbayes.export.schema import Input
from recbayes.export.scorer import Scorer
from recbayes.types import Array

ABSOLUTE, RELATIVE = 1e-6, 1e-4
"""How far an answer may be off on another machine: float32 sums depend on their order."""
DECISIONS, ARMS = 3, 5


def requests(scorer: Scorer, rows: Any = None) -> dict[str, dict[str, Array]]:
    """One request a signature.

    Args:
      scorer: the model.
      rows: columns to take features from (a mapping, table or frame of some 15 rows); None makes them up.
    """
    size = DECISIONS * ARMS
    raw = scorer.encoder.example(size) if rows is None else scorer.encoder.raw(rows)
    names = {entry.feature: entry.name for entry in scorer.inputs["click_rate"] if entry.feature}
    raw = {name: np.resize(values, (size, *values.shape[1:])) for name, values in raw.items()}
    impressions = np.resize(np.array([0, 100, 2500, 1, 0]), size).astype(np.int64)
    clicks = np.resize(np.array([0, 0, 60, 1, 0]), size).astype(np.int64)
    features = {names[feature]: values for feature, values in raw.items()}
    found = {"click_rate": {**features, "clicks": clicks, "impressions": impressions}}
    candidates = np.ones((DECISIONS, ARMS), bool)
    candidates[1, 2:] = False
    for name in scorer.signatures[1:]:
        found[name] = {
            **{names[feature]: _shaped(values, scorer, feature) for feature, values in raw.items()},
            "clicks": clicks.reshape(DECISIONS, ARMS),
            "impressions": impressions.reshape(DECISIONS, ARMS),
            "candidates": candidates,
            "remaining": np.full(DECISIONS, scorer.defaults["remaining"], np.float32),
            "batch": np.full(DECISIONS, scorer.defaults["batch"], np.float32),
            "exploration": np.float32(scorer.defaults["exploration"]),
            "seed": np.array([7, 11], np.int32),
        }
    return found


def to_json(values: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays as JSON holds them: bytes as text, numbers with all their digits, NaN as the string NaN."""
    return {name: _plain(np.asarray(value)) for name, value in values.items()}


def from_json(values: Mapping[str, Any], declared: list[Input]) -> dict[str, Array]:
    """The arrays of a request again."""
    kinds = {entry.name: entry.dtype for entry in declared}
    return {name: np.array(value, object if kinds[name] == "string" else kinds[name]) for name, value in values.items()}


def differences(
    expected: Mapping[str, Any], got: Mapping[str, Array], *, absolute: float = ABSOLUTE, relative: float = RELATIVE
) -> list[str]:
    """What is wrong with the answers, a sentence an output."""
    found = []
    for name, value in expected.items():
        if name not in got:
            found.append(f"output {name} is missing")
            continue
        wanted, have = np.asarray(value, np.float64), np.asarray(got[name], np.float64)
        if wanted.shape != have.shape:
            found.append(f"{name} has shape {list(have.shape)}, known is {list(wanted.shape)}")
        elif not np.allclose(have, wanted, rtol=relative, atol=absolute):
            worst = int(np.argmax(np.nan_to_num(np.abs(have - wanted), nan=np.inf)))
            found.append(f"{name}: {have.flat[worst]:.7g} where {wanted.flat[worst]:.7g} is known (entry {worst} of {wanted.size})")
    return found


def _shaped(values: Array, scorer: Scorer, feature: str) -> Array:
    if scorer.encoder.specs[feature].side == "context":
        return values[::ARMS]
    return values.reshape(DECISIONS, ARMS, *values.shape[1:])


def _plain(value: Array) -> Any:
    if value.dtype == object:
        return np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else text, otypes=[object])(value).tolist()
    if value.dtype.kind == "f":
        return (
            np.where(np.isnan(value), "NaN", value.astype(object)).tolist() if np.isnan(value).any() else value.astype(np.float64).tolist()
        )
    return value.tolist()
