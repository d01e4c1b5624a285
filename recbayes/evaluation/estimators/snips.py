"""Self-normalised IPS: the weights' mean is 1 in expectation, so divide by what it is.

    V = sum of w r / sum of w

Within the rewards' range always, unchanged when all rewards shift, biased by O(1/n). Its error comes from the influence values
w (r - V) / mean(w), numerator and denominator together: the spread of w r alone, or of the ratio's resampled numerator, is wrong.

Source: Swaminathan and Joachims 2015, The self-normalized estimator for counterfactual learning, NeurIPS.
"""

from __future__ import annotations

from recbayes.evaluation.estimators.base import Estimator, ratio


def snips() -> Estimator:
    """Sum of weight x reward over the sum of weights.

    >>> snips().kind
    'snips'
    """
    return Estimator("snips", ratio)
