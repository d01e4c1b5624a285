"""The audit: every check over a log, a verdict, and the A/A figures."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from recbayes.log.checks.finding import Finding, counted
from recbayes.log.checks.groups import group_sizes, never_shown, spread
from recbayes.log.checks.leaks import leaks
from recbayes.log.checks.propensities import propensities
from recbayes.log.checks.randomisation import randomisation
from recbayes.log.checks.same_arms import same_arms, same_arms_finding
from recbayes.log.checks.values import candidate_sets, constant_features, duplicates, missing_values, time_order, unmatched, unseen_values
from recbayes.log.log import Log
from recbayes.log.read import QUARANTINE, read_log
from recbayes.log.source import LogSource
from recbayes.types import UserError

CHECKS = (
    missing_values,
    constant_features,
    unmatched,
    duplicates,
    time_order,
    candidate_sets,
    never_shown,
    group_sizes,
    spread,
    randomisation,
    propensities,
    leaks,
)
"""Each takes a log and yields findings."""


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is right, odd or wrong in a log. aa: the A/A check's figures (`checks.same_arms`), None where no arms agree.

    verdict: fail when something must be mended first, warn when figures must be read with care, else ok.
    """

    source: str
    findings: tuple[Finding, ...]
    aa: dict[str, Any] | None = None

    @property
    def verdict(self) -> Literal["ok", "warn", "fail"]:
        """The gravest severity."""
        severities = {finding.severity for finding in self.findings}
        return "fail" if "fail" in severities else "warn" if "warn" in severities else "ok"

    def to_dict(self) -> dict[str, Any]:
        """As audit.json has it."""
        found: dict[str, Any] = {"verdict": self.verdict, "findings": [finding.to_dict() for finding in self.findings]}
        return found | ({"aa": self.aa} if self.aa else {})

    def __str__(self) -> str:
        """The verdict and a line a finding, the gravest first."""
        return "\n".join([f"{self.source}: {self.verdict}", *(f"  {f.severity:4}  {f.check}: {f.message}" for f in self._sorted())])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = "".join(f"<tr><td>{f.severity}</td><td>{f.check}</td><td>{html.escape(f.message)}</td></tr>" for f in self._sorted())
        return f"<p>{html.escape(self.source)}: <b>{self.verdict}</b></p><table>{rows}</table>"

    def _sorted(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: ("fail", "warn", "info", "ok").index(finding.severity))


def audit(
    log: Log | LogSource, *, train: Log | None = None, test: Log | None = None, features: Sequence[str] | None = None, **roles: Any
) -> Audit:
    """Check a log, and what its test part has that its training part lacks.

    Args:
      log: a log, or what `read_log` reads; then a log that cannot be read is a finding, not an error.
      train: the rows to learn from, if the log is split.
      test: the rows to judge by.
      features: look at these only; by default the log's own.
      **roles: of `read_log`, where `log` is not a log yet.

    Returns:
      The audit.

    >>> from recbayes.log import audit
    >>> found = audit("example:upworthy", clicks="clicks", impressions="impressions", item="source_row", group="clickability_test_id",
    ...               time="test_created_at", features=["headline", "eyecatcher_id"])
    >>> found.verdict, sorted({finding.check for finding in found.findings if finding.severity == "warn"})
    ('warn', ['randomisation', 'same_arms'])
    >>> round(found.aa["chi2_per_dof"], 2), round(found.aa["distinct"], 2)
    (1.91, 4.07)
    """
    given = isinstance(log, Log)
    if not isinstance(log, Log):
        name = log if isinstance(log, str | Path) else "table"
        try:
            log = read_log(log, features=features, **(roles | {"on_bad_rows": "quarantine"}))
        except UserError as error:
            return Audit(str(name), (Finding("reading", "fail", str(error)),))
    elif features is not None:
        log = dataclasses.replace(log, columns=dataclasses.replace(log.columns, features=tuple(features)))
    asked = roles.get("on_bad_rows", "quarantine" if given else "fail")  # a Log with rows set aside was read with quarantine
    severity: Literal["warn", "fail"] = "fail" if asked == "fail" else "warn"
    aa = same_arms(log)
    found = [*bad_rows_found(log, severity), *(finding for check in CHECKS for finding in check(log)), *same_arms_finding(aa)]
    if train is not None and test is not None:
        found += unseen_values(train, test)
    return Audit(log.source, tuple(found), aa)


def bad_rows_found(log: Log, severity: Literal["warn", "fail"]) -> Iterator[Finding]:
    """The rows that were set aside while reading, by reason."""
    if log.quarantined is None or log.quarantined.num_rows == 0:
        yield Finding("bad_rows", "ok", "No row is impossible: clicks, impressions and what else is named are there and within bounds.")
        return
    reasons, _, numbers = (log.quarantined.column(name).to_pylist() for name in QUARANTINE)
    for reason in dict.fromkeys(reasons):
        rows = [number for number, why in zip(numbers, reasons) if why == reason]
        yield Finding("bad_rows", severity, f"{reason}: {counted(len(rows), 'row')} set aside.", len(rows), tuple(rows[:20]))
