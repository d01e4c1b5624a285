"""Served decisions as a log, the counts they add up to, and a watch over them. See README.md in this folder."""

from recbayes.monitor.counts import Counts
from recbayes.monitor.figures import Monitor, monitor
from recbayes.monitor.layout import COLUMNS, ROLES, served

__all__ = ["COLUMNS", "ROLES", "Counts", "Monitor", "monitor", "served"]
