"""What the export holds and how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recbayes.report.html import Html, code, details, div, h3, join, p, pre
from recbayes.report.parts import missing, numbers, part
from recbayes.report.run import Run

SNIPPET = """\
import tensorflow as tf

model = tf.saved_model.load("{folder}/export/1")
rate = model.signatures["click_rate"](**rows)    # mean, data_stddev, model_stddev, lower, upper
choice = model.signatures["decide"](**request)   # action, propensity, probabilities
"""


def export(run: Run) -> Html:
    """The section."""
    if run.export is None:
        return missing(
            "export", "The export", "A TensorFlow SavedModel that makes the same decisions, with its own known answers.", "export"
        )
    policy = run.export.get("policy")
    name = policy.get("name", policy.get("kind")) if isinstance(policy, Mapping) else policy
    finding = join(
        "A SavedModel that decides with ",
        code(name),
        "." if name else None,
        " It takes raw features: text and numbers go in as they are in the log.",
    )
    return part(
        "export",
        "The export",
        finding,
        div(
            h3("Load it"),
            pre(code(SNIPPET.format(folder=run.folder.name))),
            p("It needs TensorFlow alone, not recbayes. ", code(f"recbayes check {run.folder.name}"), " replays its known answers."),
            [details(f"Signature {label}", _signature(found)) for label, found in _signatures(run.export).items()],
            details("metadata.json, shortened", pre(json.dumps(shortened(run.export), indent=2, ensure_ascii=False))),
            class_="card",
        ),
    )


def _signatures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    found = metadata.get("signatures") or {}
    return {name: spec for name, spec in found.items() if isinstance(spec, Mapping)}


def _signature(spec: Mapping[str, Any]) -> Html:
    """Inputs and outputs with dtype and shape, whatever the metadata says of each."""
    rows = [[f"{side}: {name}", _told(about)] for side in ("inputs", "outputs") for name, about in (spec.get(side) or {}).items()]
    return numbers(["tensor", "what"], rows)


def _told(about: Any) -> str:
    if isinstance(about, Mapping):
        return ", ".join(f"{key} {value}" for key, value in about.items())
    return str(about)


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
