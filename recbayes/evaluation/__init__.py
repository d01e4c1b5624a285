"""Off-policy evaluation that says when not to believe it. See README.md in this folder."""

from recbayes.evaluation.evaluate import evaluate
from recbayes.evaluation.exported import exported
from recbayes.evaluation.logged import logged
from recbayes.evaluation.modelled import modelled
from recbayes.evaluation.rates import rates
from recbayes.evaluation.result import Estimate, Evaluation
from recbayes.evaluation.table import table
from recbayes.evaluation.target import Choices, Target

__all__ = ["Choices", "Estimate", "Evaluation", "Target", "evaluate", "exported", "logged", "modelled", "rates", "table"]
