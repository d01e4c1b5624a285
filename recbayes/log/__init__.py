"""What a click log is: reading, audit, splits, embedded examples."""

from recbayes.log.aggregate import Aggregated, aggregate
from recbayes.log.audit import Audit, audit
from recbayes.log.checks.finding import Finding
from recbayes.log.columns import Columns
from recbayes.log.embedded import attribution, example_names, example_path
from recbayes.log.log import Log
from recbayes.log.read import read_log
from recbayes.log.source import fingerprint
from recbayes.log.stream import stream_log

__all__ = [
    "Aggregated",
    "Audit",
    "Columns",
    "Finding",
    "Log",
    "aggregate",
    "attribution",
    "audit",
    "example_names",
    "example_path",
    "fingerprint",
    "read_log",
    "stream_log",
]
