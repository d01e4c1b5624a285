"""The audit's verdict and findings, and the A/A check with the two cautions that follow from it."""

from __future__ import annotations

from typing import Any

from recbayes.report.html import Html, b, chip, details, div, join, li, p, span, ul
from recbayes.report.numbers import fixed
from recbayes.report.parts import missing, part
from recbayes.report.run import Run

KINDS = {"ok": "good", "info": "", "warn": "warn", "warning": "warn", "fail": "bad", "error": "bad"}
RANK = {"bad": 0, "warn": 1, "": 2, "good": 3}


def audit(run: Run) -> Html:
    """The section."""
    if run.audit is None:
        return missing("audit", "The log", "What is wrong, odd or missing in the log, and the A/A check.", "audit")
    cautions = _same_arms(run)
    told = [f for f in run.audit.get("findings", []) if cautions is None or f["check"] != "same_arms"]
    findings = sorted(told, key=lambda f: RANK[KINDS.get(f["severity"], "")])
    verdict = run.audit["verdict"]
    return part(
        "audit",
        "The log",
        join("The audit's verdict: ", chip(verdict, KINDS.get(verdict, "")), f", {len(findings)} checks."),
        cautions,
        div(
            ul([_finding(f) for f in findings if f["severity"] != "ok"], class_="findings"),
            _passed([f for f in findings if f["severity"] == "ok"]),
            class_="card",
        ),
    )


def _passed(findings: list[dict[str, Any]]) -> Html | None:
    """Checks that found nothing are folded."""
    if not findings:
        return None
    return details(f"{len(findings)} checks found nothing to mend", ul([_finding(f) for f in findings], class_="findings"))


def _finding(finding: dict[str, Any]) -> Html:
    rows = finding.get("rows")
    count = len(rows) if isinstance(rows, list) else rows
    counted = f" {fixed(float(count), 0)} row{'s' * (count != 1)}" if isinstance(count, int | float) and count else ""
    return li(
        chip(finding["severity"], KINDS.get(finding["severity"], "")),
        span(b(str(finding["check"]).replace("_", " ")), span(counted, class_="note"), " ", finding["message"], class_="message"),
    )


def _same_arms(run: Run) -> Html | None:
    """The A/A check: rows of one group that agree in every feature should differ by chance alone."""
    aa = (run.audit or {}).get("aa")
    if not aa or not isinstance(aa.get("chi2_per_dof"), int | float):
        return None
    ends = aa.get("interval")
    between = f" (95% interval {fixed(ends[0], 2)} to {fixed(ends[1], 2)})" if ends else ""
    distinct = f", against {fixed(aa['distinct'], 2)} for arms that differ" if isinstance(aa.get("distinct"), int | float) else ""
    figure = f"chi² {fixed(aa['chi2_per_dof'], 2)} a degree of freedom{between}"
    over = ends[0] > 1 if ends else aa["chi2_per_dof"] > 1
    first = (
        f"Arms identical in every recorded feature differ more than chance: {figure}{distinct}. A cause "
        "is unrecorded, or clicks depend on each other. The replay draws clicks as if independent, so intervals over its replicas are too "
        "narrow: use those over test groups, which this report does."
        if over
        else f"Arms identical in every recorded feature differ by chance alone: {figure}."
    )
    left_out = (run.simulation or {}).get("groups_left_out")
    second = (
        f"{fixed(left_out, 0)} test groups have nothing to choose among: one arm, or arms that agree in every item-side feature (A/A "
        "tests). They are left out of the comparison of policies and serve this check."
        if left_out
        else None
    )
    return div(
        p(b("Two cautions. " if over and second else "A/A check. "), first),
        p(second) if second else None,
        class_="card caution" if over else "card",
    )
