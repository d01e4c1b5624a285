"""How the figures were obtained: stages and their times, versions, the data and whose it is, the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from recbayes.report.html import Html, b, code, details, div, h3, p, pre
from recbayes.report.numbers import seconds
from recbayes.report.parts import numbers, part
from recbayes.report.run import Run


def method(run: Run) -> Html:
    """The section."""
    timed = timings(run)
    total = sum(timed.values())
    return part(
        "method",
        "How this was obtained",
        f"Everything here follows from the config, the data and the seed below; the stages took {seconds(total)}." if timed else None,
        div(
            _attribution(run),
            [h3("Stages"), numbers(["stage", "took"], [[name, seconds(took)] for name, took in timed.items()])] if timed else None,
            _facts(run),
            details("The config as resolved", pre(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True))) if run.config else None,
            p("Run again: ", code(f"recbayes run {run.folder.name}/config.yaml --out NEW"), class_="note") if run.config else None,
            class_="card",
        ),
    )


def timings(run: Run) -> dict[str, float]:
    """Seconds of each stage."""
    stages = (run.stages or {}).get("stages", {})
    return {name: float(record["seconds"]) for name, record in stages.items() if "seconds" in record}


def _attribution(run: Run) -> Html | None:
    said = found(run.audit, "attribution") or found(run.config, "attribution") or found(run.export, "attribution")
    return p(b("Data. "), said) if isinstance(said, str) and said else None


def _facts(run: Run) -> Html | None:
    """Versions, seed, fingerprint: from the config, else from the export's metadata."""
    versions = found(run.config, "versions") or found(run.export, "versions") or {}
    rows = [[name, str(value)] for name, value in versions.items()] if isinstance(versions, Mapping) else []
    for name in ("seed", "fingerprint", "data_fingerprint"):
        value = found(run.config, name)
        if value is not None:
            rows.append([name.replace("_", " "), str(value)])
    return div(h3("Versions and data"), numbers(["what", "which"], rows)) if rows else None


def found(data: Any, key: str) -> Any:
    """The first value of a key anywhere in nested mappings, outer ones first.

    >>> found({"a": {"b": 1}, "c": {"b": 2}}, "b")
    1
    """
    if not isinstance(data, Mapping):
        return None
    if key in data:
        return data[key]
    return next((value for value in (found(inner, key) for inner in data.values()) if value is not None), None)
