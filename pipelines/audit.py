"""Audit: what is wrong with the log, before anything is learnt from it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import recbayes as rb
from recbayes.config import Config
from recbayes.console import Console
from recbayes.pipelines.inputs import logs, of_rows, whole_log
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

READS = ("log", "features", "calibration", "seed")


def wanted(config: Config) -> bool:
    """Every log is audited."""
    return bool(config.log.path)


def needs(config: Config) -> tuple[str, ...]:
    """Nothing comes before it."""
    return ()


def check(config: Config) -> None:
    """Bad rows, unless they go to quarantine, and everything else that keeps the log from being read and split."""
    logs(config)


def run(config: Config, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Writes audit.json, and quarantine.parquet if rows were set aside."""
    log, audit = whole_log(config), audited(config)
    folder.output("audit.json").write_text(json.dumps(audit.to_dict(), indent=2), encoding="utf-8")
    bad = [log.quarantined] + [logs(config)[1].quarantined] * (config.log.test_path is not None)
    aside = sum(table.num_rows for table in bad)
    if aside:
        pq.write_table(pa.concat_tables(bad, promote_options="default"), folder.output("quarantine.parquet"))
    rows = f"{len(log):,} rows{of_rows(config)}" + f" ({aside:,} bad ones in quarantine.parquet)" * bool(aside)
    lines = [
        f"  {finding.severity} {finding.check}: {finding.message}" for finding in audit.findings if finding.severity in ("warn", "fail")
    ]
    says = "\n".join([f"{audit.verdict}, {rows}", *lines])
    return {"says": says, "verdict": audit.verdict, "rows": len(log), "quarantined": aside}


def audited(config: Config) -> Any:
    """The audit of the config's log, made once a process."""
    return _audited(whole_log(config), *logs(config), tuple(feature.name for feature in config.features))


def check_passed(config: Config) -> None:
    """For the stages that learn from the log.

    Raises: UserError if the audit fails, unless the config accepts the checks that do.
    """
    failed = [finding for finding in audited(config).findings if finding.severity == "fail" and finding.check not in config.audit.accept]
    if failed:
        lines = [f"{finding.check}: {finding.message} Rows {', '.join(map(str, finding.first[:5]))}" for finding in failed]
        names = ", ".join(dict.fromkeys(finding.check for finding in failed))
        mend = f"Mend the log or the config; what you have looked at and accept can be named: audit.accept=[{names}]"
        raise UserError("\n  ".join([f"audit: {config.log.path} is not fit to learn from.", *lines]) + f"\n{mend}")


@cache
def _audited(log: Any, train: Any, test: Any, features: tuple[str, ...]) -> Any:
    return rb.audit(log, train=train, test=test, features=features)
