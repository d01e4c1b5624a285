"""What the export holds and how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from recbayes.report.html import Html, code, details, div, h3, join, p, pre
from recbayes.report.parts import missing, part, words
from recbayes.report.run import Run

SIZES = {"N": 1, "B": 1, "A": 2}
FILLERS: dict[str, Any] = {"string": "...", "bool": True, "float32": 0.0, "float64": 0.0}
TIME = 1.7e9  # Unix seconds


def export(run: Run) -> Html:
    """The section."""
    if run.export is None:
        return missing(
            "export", "The export", "A TensorFlow SavedModel that makes the same decisions, with its own known answers.", "export"
        )
    policy, signatures = run.export.get("policy", {}), run.export.get("signatures", {})
    finding = join(
        "A TensorFlow SavedModel that decides with ",
        code(policy.get("name", "its policy")),
        ". Features go in as they are in the log, texts and all: their coding is inside.",
        *(f" {told}" for told in run.export.get("caveats", ())),
    )
    return part(
        "export",
        "The export",
        finding,
        div(
            h3("Load it and decide"),
            pre(code(snippet(run.folder.name, signatures.get("decide", {}).get("inputs", [])))),
            p("It needs TensorFlow alone, not recbayes. ", code(f"recbayes check {run.folder.name}"), " replays its known answers."),
            [details(["Inputs and outputs of ", code(name)], _signature(spec)) for name, spec in signatures.items()],
            details(["What ", code("metadata.json"), " says, shortened"], pre(_shown(run.export))),
            class_="card",
        ),
    )


def snippet(folder: str, inputs: Sequence[Mapping[str, Any]]) -> str:
    """Python that loads the export and asks for one decision between two candidates."""
    arguments = "\n".join(f"    {entry['name']}={example(entry)}," for entry in inputs)
    return f"""\
import tensorflow as tf

decide = tf.saved_model.load("{folder}/export/1").signatures["decide"]
decision = decide(
{arguments}
)
decision["action"], decision["propensity"]  # log both beside the outcome
"""


def example(entry: Mapping[str, Any]) -> str:
    """A value that an input takes, as code.

    >>> example({"name": "clicks", "dtype": "int64", "shape": ["B", "A"], "default": 0})
    'tf.constant([[0, 0]], tf.int64)'
    """
    default = entry.get("default")
    value = default if isinstance(default, int | float) else FILLERS.get(entry["dtype"], 1)
    if "Unix seconds" in entry.get("meaning", ""):
        value = TIME
    for axis in reversed(entry["shape"]):
        value = [value] * SIZES.get(axis, axis if isinstance(axis, int) else 1)
    return f"tf.constant({json.dumps(value) if isinstance(value, str) else value}, tf.{entry['dtype']})".replace("'...'", '"..."')


def _signature(spec: Mapping[str, Any]) -> Html:
    rows = [
        [code(entry["name"]), f"{entry['dtype']} [{', '.join(map(str, entry['shape']))}]", entry.get("meaning", ""), side]
        for side, entries in (("in", spec.get("inputs", [])), ("out", spec.get("outputs", [])))
        for entry in entries
    ]
    return words(["tensor", "type", "meaning", "in or out"], rows)


def _shown(metadata: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in metadata.items() if key not in ("signatures", "known_answers", "files", "config")}
    return json.dumps(shortened(kept), indent=2, ensure_ascii=False)


def shortened(value: Any, depth: int = 0) -> Any:
    """Plain data cut to what is worth reading: long lists and texts end in a count of what is left out.

    >>> shortened(list(range(9)))
    [0, 1, 2, '… 6 more']
    """
    if isinstance(value, Mapping):
        return {k: shortened(v, depth + 1) for k, v in value.items()} if depth < 5 else f"… {len(value)} entries"
    if isinstance(value, list):
        return [shortened(v, depth + 1) for v in value[:3]] + ([f"… {len(value) - 3} more"] if len(value) > 3 else [])
    if isinstance(value, str) and len(value) > 160:
        return value[:160] + "…"
    return value
