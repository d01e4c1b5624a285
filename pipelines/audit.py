"""Audit: what is wrong with the log, before anything is learnt from it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.inputs import logs, whole_log
from recbayes.run_folder import RunFolder

READS = ("log", "features", "seed")


def wanted(config: Config) -> bool:
    """Every run is audited."""
    return True


def needs(config: Config) -> tuple[str, ...]:
    """Nothing comes before it."""
    return ()


def check(config: Config) -> None:
    """Bad rows, unless they go to quarantine, and everything else that keeps the log from being read and split."""
    logs(config)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes audit.json, and quarantine.parquet if rows were set aside."""
    log, (train, test) = whole_log(config), logs(config)
    audit = rb.audit(log, train=train, test=test, features=[feature.name for feature in config.features])
    folder.output("audit.json").write_text(json.dumps(audit.to_dict(), indent=2), encoding="utf-8")
    aside = log.quarantined.num_rows
    if aside:
        pq.write_table(log.quarantined, folder.output("quarantine.parquet"))
    rows = f"{len(log):,} rows" + f", {aside:,} more in quarantine.parquet" * bool(aside)
    return {
        "says": f"{audit.verdict}: {len(audit.findings)} findings in {rows}",
        "verdict": audit.verdict,
        "rows": len(log),
        "quarantined": aside,
    }
