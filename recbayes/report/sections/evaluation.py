"""Off-policy estimates with their verdicts."""

from __future__ import annotations

from recbayes.report.html import Html, chip, div, table
from recbayes.report.numbers import fixed
from recbayes.report.parts import part
from recbayes.report.run import Run

KINDS = {"trust": "good", "caution": "warn", "do_not_trust": "bad"}


def evaluation(run: Run) -> Html | None:
    """The section; None where the run evaluates no policy."""
    estimates = (run.evaluation or {}).get("estimates")
    if not estimates:
        return None
    trusted = [e for e in estimates if e["verdict"] == "trust"]
    rows = [
        [
            f"{e['policy']}, {e['estimator']}",
            fixed(e["value"], 5),
            f"{fixed(e['interval'][0], 5)} to {fixed(e['interval'][1], 5)}",
            fixed(e["ess"], 0),
            fixed(e["effective_clicks"], 0),
            div(chip(e["verdict"].replace("_", " "), KINDS.get(e["verdict"], "")), div(e["reason"], class_="note")),
        ]
        for e in estimates
    ]
    head = ["policy, estimator", "value", "95% interval", "effective rows", "effective clicks", "verdict"]
    finding = f"{len(trusted)} of {len(estimates)} estimates can be trusted; the others say why not."
    return part("evaluation", "Policies judged from the log", finding, div(table(head, rows, class_="stack"), class_="card"))
