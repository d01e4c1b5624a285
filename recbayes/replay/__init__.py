"""Replay: what would have happened had a policy run the experiments of a log. See README.md in this folder."""

from recbayes.replay.counts import counts
from recbayes.replay.density import density
from recbayes.replay.learner import Bound, Learner
from recbayes.replay.queue import queue
from recbayes.replay.replay import replay
from recbayes.replay.result import Result
from recbayes.replay.world import World

__all__ = ["Bound", "Learner", "Result", "World", "counts", "density", "queue", "replay"]
