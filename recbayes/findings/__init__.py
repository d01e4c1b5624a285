"""Uncertainty turned into findings: what to collect more of, what to leave out, what to look at. See README.md in this folder."""

from recbayes.findings.findings import findings

__all__ = ["findings"]
