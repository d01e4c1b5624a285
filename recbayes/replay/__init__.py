"""Replay: what would have happened had a policy run the experiments of a log. See README.md in this folder."""

from recbayes.replay.counts import counts
from recbayes.replay.density import density
from recbayes.replay.halving import Halving, halve, policy_family
from recbayes.replay.learner import Bound, Learner, Prior
from recbayes.replay.queue import queue
from recbayes.replay.replay import replay
from recbayes.replay.result import Result
from recbayes.replay.twin import twin
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
    "counts",
    "density",
    "halve",
    "policy_family",
    "queue",
    "replay",
    "twin",
]
