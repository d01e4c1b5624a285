"""Replay: keep the rows where the policy would have shown what the log showed, and average their rewards.

    V = sum of p r / sum of p,   p = policy(shown item)

The policy is drawn from its whole probability vector; this is the average over all such draws, so it has no noise of its own. It is for
logs whose propensities are all equal; elsewhere the kept rows lean to what the log showed often, and the verdict says so.

Source: Li, Chu, Langford and Wang 2011, arXiv:1003.5956.
"""

from __future__ import annotations

from recbayes.evaluation.estimators.base import Estimator, ratio


def replay() -> Estimator:
    """Mean reward of matched rows.

    >>> replay().kind
    'replay'
    """
    return Estimator("replay", ratio, matches=True)
