"""Where independent tasks run: in this process, or spread over the workers of a Ray cluster, with the same results."""

from recbayes.engine.kept import Kept
from recbayes.engine.opening import Kind, engine, opened
from recbayes.engine.results import Engine, Work, results

__all__ = ["Engine", "Kept", "Kind", "Work", "engine", "opened", "results"]
