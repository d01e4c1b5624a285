"""The log's own policy: what it earned, the yardstick of all others."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbayes.evaluation.target import Choices, Target


def logged(*, name: str = "logged") -> Target:
    """The policy that wrote the log; every weight is 1, its value the mean reward.

    >>> logged().name
    'logged'
    """
    return Target("logged", name, choices, own=True)


def choices(log: Any) -> Choices:
    """It shows what it showed, with the propensity that it logged."""
    return Choices(np.ones(len(log)) if log.propensity is None else np.asarray(log.propensity, np.float64))
