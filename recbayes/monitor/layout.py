"""The layout of served decisions: one row a decision, in Parquet, as `read_log` reads it.

| column | type | what |
|---|---|---|
| group | string or integer | the page or request whose candidates share an effect |
| item | string or integer | what was shown |
| time | float64 | when, Unix seconds |
| clicks | int64 | 1 or 0; null until it is known |
| propensity | float64 | probability with which `decide` chose the item, as it answered it |
| candidates | list | the items that could have been shown |
| probabilities | list of float32 | of the candidates, in their order |
| mean, stddev | float32 | expected click rate of the item shown, and its standard deviation, when it was chosen |
| best_mean | float32 | the highest mean among the candidates: what greedy would have expected |
| policy_mean | float32 | mean expected under the probabilities: what the policy expected |
| each feature | as served | of the item shown, and of the context, under its own name |

A row is one impression, so there is no column of impressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbayes.types import Array, UserError

ROLES = {"clicks": "clicks", "item": "item", "group": "group", "time": "time", "propensity": "propensity", "candidates": "candidates"}
"""For `read_log(path, **ROLES, features=...)`, or a config's log.columns."""
COLUMNS = (*ROLES, "probabilities", "mean", "stddev", "best_mean", "policy_mean")
UNKNOWN = "\x1a"
"""How a null list is served."""


class Possible(NamedTuple):
    """What numbers of a column may be: how it is told, and whether each is."""

    says: str
    holds: Callable[[Array], Array]


RATE = Possible("above 0 and below 1", lambda x: (x > 0.0) & (x < 1.0))
ONE_OR_NOT = Possible("0, 1 or null", lambda x: (x == 0.0) | (x == 1.0))
NUMBERS = {
    "time": Possible("a number", np.isfinite),
    "mean": RATE,
    "stddev": Possible("a number of at least 0", lambda x: np.isfinite(x) & (x >= 0.0)),
    "best_mean": RATE,
    "policy_mean": RATE,
}
"""The numbers that every decision has."""


def served(
    metadata: Mapping[str, Any],
    request: Mapping[str, Array],
    answer: Mapping[str, Array],
    *,
    items: Array,
    groups: Array,
    at: Array,
    clicks: Array | None = None,
) -> pa.Table:
    """Rows of the layout from one call of `decide`.

    Args:
      metadata: the export's metadata.json.
      request: the inputs that were sent.
      answer: the outputs that came.
      items: what the candidates are, [B, A].
      groups: the decisions' pages or requests, [B].
      at: Unix seconds, [B].
      clicks: what came of each decision, [B]; None where it is not known yet.

    Returns: B rows.
    Raises: UserError if a feature has the name of a column of the layout.

    >>> answer = {"action": [1], "propensity": [0.9], "probabilities": [[0.1, 0.9]], "mean": [[0.01, 0.02]], "stddev": [[0.001, 0.002]]}
    >>> about = {"signatures": {"decide": {"inputs": []}}}
    >>> request = {"candidates": [[True, True]]}
    >>> rows = served(about, request, answer, items=[["a", "b"]], groups=["page"], at=[0.0], clicks=[1])
    >>> rows["item"].to_pylist(), rows["candidates"].to_pylist(), rows["propensity"].to_pylist()
    (['b'], [['a', 'b']], [0.9])
    """
    inputs = [entry for entry in metadata["signatures"]["decide"]["inputs"] if entry.get("feature")]
    clash = sorted({entry["feature"] for entry in inputs} & set(COLUMNS))
    if clash:
        raise UserError(f"monitor: features {', '.join(clash)} have names of the layout's own columns. Rename them in the log")
    action, there = np.asarray(answer["action"]), np.asarray(request["candidates"], bool)
    mean, probabilities, items = np.asarray(answer["mean"]), np.asarray(answer["probabilities"]), np.asarray(items)
    shown = (np.arange(len(action)), action)
    columns: dict[str, Any] = {
        "group": pa.array(_plain(groups), _kind(groups)),
        "item": pa.array(_plain(items[shown]), _kind(items)),
        "time": np.asarray(at, np.float64),
        "clicks": pa.nulls(len(action), pa.int64()) if clicks is None else np.asarray(clicks, np.int64),
        "propensity": np.asarray(answer["propensity"], np.float64),
        "candidates": pa.array([_plain(row[here]) for row, here in zip(items, there)], pa.list_(_kind(items))),
        "probabilities": pa.array([row[here].tolist() for row, here in zip(probabilities, there)], pa.list_(pa.float32())),
        "mean": mean[shown].astype(np.float32),
        "stddev": np.asarray(answer["stddev"], np.float32)[shown],
        "best_mean": np.where(there, mean, 0.0).max(1, initial=0.0).astype(np.float32),
        "policy_mean": (probabilities * np.where(there, mean, 0.0)).sum(1).astype(np.float32),
    }
    for entry in inputs:
        value = np.asarray(request[entry["name"]])
        columns[entry["feature"]] = _feature(value[shown] if entry["shape"][:2] == ["B", "A"] else value, entry)
    return pa.table(columns)


def _feature(value: Array, entry: Mapping[str, Any]) -> Any:
    """A served feature as a column: padding and stand-ins for nulls taken out again."""
    if entry["dtype"] == "string" and value.ndim == 2:
        lists = [_plain(row) for row in value]
        return pa.array([None if UNKNOWN in row else [text for text in row if text] for row in lists], pa.list_(pa.string()))
    if value.ndim == 2:
        return pa.array(value.tolist(), pa.list_(pa.float32()))
    missing = entry.get("default")
    listed = [None if entry["dtype"] == "int64" and v == missing else v for v in _plain(value)]
    return pa.array(listed, pa.type_for_alias(entry["dtype"]))  # named: a batch without a value must have the type of the next


def _kind(values: Any) -> Any:
    """Arrow's type of names, the same for a batch without any."""
    array = np.asarray(values)
    if array.dtype.kind in "US":
        return pa.string()
    return pa.array(_plain(array.ravel())).type if array.dtype == object else pa.from_numpy_dtype(array.dtype)


def _plain(values: Any) -> list[Any]:
    """Python values; bytes as text."""
    listed = np.asarray(values).tolist() if not isinstance(values, list) else values
    return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in listed]


def checked(rows: pa.Table) -> None:
    """Raises UserError, with all that is wrong, if a table is not in the layout of `served` or knows no clicks yet."""
    missing = [name for name in (*NUMBERS, "clicks", "probabilities", "item", "group") if name not in rows.column_names]
    if missing:
        raise UserError(f"monitor: no column {', '.join(missing)}. Give a log that `served` wrote (recbayes/monitor/layout.py)")
    wrong = [fault for name, possible in NUMBERS.items() if (fault := _fault(rows, name, possible))]
    wrong += [fault for fault in [_fault(rows, "clicks", ONE_OR_NOT)] if fault]
    empty = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(pc.list_value_length(rows["probabilities"]), 0), True)))
    if len(empty):
        wrong.append(f"probabilities[{empty[0]}] is empty ({len(empty):,} of {len(rows):,} rows)")
    if wrong:
        raise UserError(f"monitor: {'; '.join(wrong)}. Drop these rows, or log what `decide` answered")
    if not rows["clicks"].is_valid().to_numpy().any():
        raise UserError("monitor: no clicks are known yet. Fill the column clicks in first")


def _fault(rows: pa.Table, name: str, possible: Possible) -> str | None:
    """What is wrong with a column, by its first bad row; a null click is not known yet."""
    column = rows[name]
    try:
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return f"{name} is {column.type}, not numbers"
    bad = ~possible.holds(values) & ~(np.asarray(column.is_null()) & (name == "clicks"))
    if not bad.any():
        return None
    first = int(bad.argmax())
    return f"{name}[{first}] is {column[first]}, must be {possible.says} ({bad.sum():,} of {len(rows):,} rows)"
