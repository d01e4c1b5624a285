"""The estimators, one file each: see base.py for what they share, docs/evaluation.md for when to use which."""

from recbayes.evaluation.estimators.base import Estimator, Terms
from recbayes.evaluation.estimators.clipped_ips import clipped_ips
from recbayes.evaluation.estimators.dm import dm
from recbayes.evaluation.estimators.dr import dr
from recbayes.evaluation.estimators.dros import dros
from recbayes.evaluation.estimators.ips import ips
from recbayes.evaluation.estimators.replay import replay
from recbayes.evaluation.estimators.sndr import sndr
from recbayes.evaluation.estimators.snips import snips
from recbayes.evaluation.estimators.sub_gaussian import sub_gaussian
from recbayes.evaluation.estimators.switch_dr import switch_dr

__all__ = [
    "Estimator",
    "Terms",
    "clipped_ips",
    "dm",
    "dr",
    "dros",
    "ips",
    "replay",
    "sndr",
    "snips",
    "sub_gaussian",
    "switch_dr",
]
