"""The report: one HTML file with its styles and pictures inside, from whatever stages have left in a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from recbayes.report import document
from recbayes.report.decision import Decision, decide
from recbayes.report.html import Html, a, div, join, p, tag
from recbayes.report.outcomes import Outcome, outcomes
from recbayes.report.run import Run, read_run
from recbayes.report.sections.audit import audit
from recbayes.report.sections.calibration import calibration
from recbayes.report.sections.comparison import comparison
from recbayes.report.sections.doubt import doubt
from recbayes.report.sections.evaluation import evaluation
from recbayes.report.sections.exploration import exploration
from recbayes.report.sections.export import export
from recbayes.report.sections.exposure import exposure
from recbayes.report.sections.leans import leans
from recbayes.report.sections.likelihood import likelihood
from recbayes.report.sections.method import method
from recbayes.report.sections.planning import planning
from recbayes.report.sections.policies import policies_table
from recbayes.report.sections.replay import replay
from recbayes.report.sections.surprises import surprises
from recbayes.report.sections.top import top
from recbayes.report.sections.training import training

NAV = {
    "replay": "Exploring",
    "policies": "Policies",
    "plan": "Cost",
    "evaluation": "From the log",
    "calibration": "Calibration",
    "comparison": "Posteriors",
    "doubt": "Doubt",
    "leans": "Findings",
    "audit": "The log",
    "export": "Export",
}
SECTIONS: tuple[Callable[[Run, Decision, list[Outcome]], Html | None], ...] = (
    replay,
    lambda run, decision, policies: exploration(policies),
    policies_table,
    lambda run, decision, policies: planning(run),
    lambda run, decision, policies: evaluation(run),
    lambda run, decision, policies: calibration(run),
    lambda run, decision, policies: likelihood(run),
    lambda run, decision, policies: comparison(run),
    lambda run, decision, policies: training(run),
    lambda run, decision, policies: doubt(run),
    lambda run, decision, policies: leans(run),
    lambda run, decision, policies: exposure(run),
    lambda run, decision, policies: surprises(run),
    lambda run, decision, policies: audit(run),
    lambda run, decision, policies: export(run),
    lambda run, decision, policies: method(run),
)


def write(run_folder: Path | str, *, out: Path | str | None = None) -> Path:
    """Writes a run's report.

    Args:
      run_folder: where the stages' files are; any may be absent, its section then says how to get it.
      out: the file to write; report.html in the run folder if not given. It is written beside and renamed.

    Returns: the file.
    Raises: UserError if there is no such folder, or a file in it can't be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     "no decision to report" in write(folder).read_text()
    True
    """
    folder = Path(run_folder)
    target = folder / "report.html" if out is None else Path(out)
    return document.write(render(read_run(folder)), target)


def render(run: Run) -> str:
    """The page of a run."""
    decision, policies = decide(run), outcomes(run)
    body = [part for part in (section(run, decision, policies) for section in SECTIONS) if part is not None]
    foot = tag("footer", p("Made by recbayes. This page holds all that it shows and asks nothing of the network."))
    title = f"{run.folder.name}: recbayes report"
    return document.document(title, tag("main", top(run, decision), _nav(body), *body, foot))


def _nav(body: Iterable[Html]) -> Html:
    there = join(*body)
    links = [a(label, href=f"#{anchor}") for anchor, label in NAV.items() if f'id="{anchor}"' in there]
    return tag("nav", div(links), aria_label="sections")
