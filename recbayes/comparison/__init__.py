"""Posteriors side by side: held-out figures, distance to a reference, costs."""

from recbayes.comparison.compare import compare
from recbayes.comparison.distances import by_draws, distance
from recbayes.comparison.judge import Problem
from recbayes.comparison.result import Comparison

__all__ = ["Comparison", "Problem", "by_draws", "compare", "distance"]
