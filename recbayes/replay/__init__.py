"""Replay: what would have happened had a policy run the experiments of a log. See README.md in this folder."""

from recbayes.replay.classification import classification
from recbayes.replay.counts import counts
from recbayes.replay.density import density
from recbayes.replay.halving import Halving, halve, policy_family
from recbayes.replay.learner import Bound, Learner, Prior
from recbayes.replay.linear import linear
from recbayes.replay.linear import linear as linear_learner
from recbayes.replay.neural_linear import neural_linear
from recbayes.replay.neural_linear import neural_linear as neural_linear_learner
from recbayes.replay.propensity import propensity
from recbayes.replay.queue import queue
from recbayes.replay.refit import refit
from recbayes.replay.rejection import rejection
from recbayes.replay.replay import replay
from recbayes.replay.result import Result
from recbayes.replay.twin import twin
from recbayes.replay.wheel import wheel
from recbayes.replay.world import Events, Feedback, Offer, Part, Rules, Scene, World

__all__ = [
    "Bound",
    "Events",
    "Feedback",
    "Halving",
    "Learner",
    "Offer",
    "Part",
    "Prior",
    "Result",
    "Rules",
    "Scene",
    "World",
    "classification",
    "counts",
    "density",
    "halve",
    "linear",
    "linear_learner",
    "neural_linear",
    "neural_linear_learner",
    "policy_family",
    "propensity",
    "queue",
    "refit",
    "rejection",
    "replay",
    "twin",
    "wheel",
]
