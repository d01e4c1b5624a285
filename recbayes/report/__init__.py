"""The report of a run: one HTML file, the decision first."""

from recbayes.report.page import write
from recbayes.report.page import write as report

__all__ = ["report", "write"]
