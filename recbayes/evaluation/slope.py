"""How much to shrink: the most that is not yet seen to be biased.

Settings go from the least biased, with the widest interval, to the most. A setting is admitted as long as its estimate agrees with those of
all settings before it:

    |V_i - V_j| <= z (s_i + (sqrt(6) - 1) s_j)   for all i before j,   s standard errors

and the last one admitted is taken. Its error is within a constant of the best setting's, which nobody knows.

Source: Su, Srinath and Krishnamurthy 2020, Adaptive estimator selection for off-policy evaluation, arXiv:2002.07729; the constant: Tucker
and Lee 2021, Improved estimator selection for off-policy evaluation (SLOPE++).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from recbayes.evaluation.value import Value

Z = 1.96


def choose(values: Sequence[Value]) -> int:
    """The place of the setting to take.

    Args:
      values: estimates of the settings, the least biased first.

    >>> choose([Value(0.5, 0.3, 100.0), Value(0.4, 0.1, 100.0), Value(0.1, 0.01, 100.0)])
    1
    """
    kept = [0]
    least = values[0].stderr
    for place, new in enumerate(values[1:], 1):
        stderr = min(new.stderr, least)  # monotone: shrinking more can't make the interval wider
        if any(abs(values[i].value - new.value) > Z * (values[i].stderr + (math.sqrt(6.0) - 1.0) * stderr) for i in kept):
            break
        kept.append(place)
        least = stderr
    return kept[-1]
