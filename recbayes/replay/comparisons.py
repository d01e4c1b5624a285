"""Which policy is better than which: every one against greedy and against its own control, the error rate kept over all of them.

Comparisons are paired: the same groups, the same replicas, the same luck. Each has its bootstrap interval, Student's p over clusters of
groups (over replicas where the world is one group), Holm's p, which holds for all comparisons of a replay together, and a confidence
sequence for who looks after every group. A verdict is better or worse only where Holm's p is below 5%.

Where the world is one log, more replicas tell no more of what the log was drawn from. Resamples of it err by their spread; passes of
the same rows differ by the policies' dice alone, so that their p is 1; and looking after every replica is no experiment: the sequence is
infinite.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recbayes.replay.intervals import LEVEL, Lift
from recbayes.replay.sequential import FIRST, Sequential, holm, paired_p, sequence
from recbayes.types import Array

TUNED = {"groups": 500, "replicas": 20}
"""Numbers at which a sequence is narrowest."""


class Comparison(NamedTuple):
    """One policy against another.

    ahead: clicks of policy beyond other's in a replica; lift: the same over other's clicks, NaN where those are not above 0; interval: 95%
    over clusters; p: of no difference; p_holm: the same, all comparisons together; sequence: which holds however often one looks;
    verdict: better, worse or same.
    """

    policy: str
    other: str
    ahead: float
    lift: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    sequence: Sequential
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """Its figures; what is not finite is None."""
        lift, interval, ends = (_finite(value) for value in (self.lift, self.interval, self.sequence.interval))
        sequence = {"interval": ends, "decided_after": self.sequence.decided}
        return self._asdict() | {"lift": lift, "interval": interval, "sequence": sequence}


def units(clicks: Array, codes: Array) -> Array:
    """What comparisons count as independent: clicks of clusters, mean over replicas [C]; of replicas [R] where all is one cluster.

    Args:
      clicks: of one policy, [R, G].
      codes: cluster of each group, [G].
    """
    number = int(codes.max()) + 1
    return clicks.sum(1) if number < 2 else np.bincount(codes, clicks.mean(0), number)


def over(codes: Array, log_order: str = "") -> str:
    """Whether units are groups or replicas, and what replicas are of one log; log_order as `World.log_order`."""
    if log_order:
        return {"resampled": "resamples of the log", "logged": "passes of the log"}[log_order]
    return "replicas" if int(codes.max()) < 1 else "groups"


def running(clicks: Array, reference: Array, codes: Array, log_order: str = "") -> Sequential:
    """The confidence sequence of a lift over the units, in the world's order; clicks and reference [R, G]; of one log, nothing is said."""
    kind = over(codes)
    ours, theirs = (units(np.broadcast_to(values, clicks.shape), codes) for values in (clicks, reference))
    first = len(ours) + 1 if log_order else 2 if kind == "replicas" else FIRST
    return sequence(ours, theirs, tuned=TUNED[kind], first=first)


def judged(pairs: list[tuple[str, str, Lift, Array, Array]], codes: Array, log_order: str = "") -> list[Comparison]:
    """All pairs of a replay, judged together.

    Args:
      pairs: policy, other, the lift, clicks of both [R, G].
      codes: cluster of each group, [G].
      log_order: as `World.log_order`.
    """

    def unlike(ours: Array, theirs: Array) -> float:
        of_log = log_order == "resampled"
        return 1.0 if log_order == "logged" else paired_p(units(ours, codes), units(theirs, codes), of_log=of_log)

    p = np.array([unlike(ours, theirs) for *_, ours, theirs in pairs])
    found = []
    for (policy, other, lift, ours, theirs), one, both in zip(pairs, p.tolist(), holm(p).tolist(), strict=True):
        ahead = float((ours - theirs).sum(1).mean())
        verdict = "same" if both >= 1.0 - LEVEL else "better" if ahead > 0.0 else "worse"
        found.append(
            Comparison(policy, other, ahead, lift.lift, lift.interval, one, both, running(ours, theirs, codes, log_order), verdict)
        )
    return found


def _finite(value: Any) -> Any:
    """A number, or each of a pair, None where it is not finite."""
    return tuple(_finite(one) for one in value) if isinstance(value, tuple) else float(value) if np.isfinite(value) else None


def says(comparison: Comparison) -> str:
    """What a policy's comparison with its control means, in a sentence."""
    policy, control, (low, high) = comparison.policy, comparison.other, comparison.interval
    lift, low, high = (round(share, 3) + 0.0 for share in (comparison.lift, low, high))  # no "-0.0%"
    figures = f"{lift:+.1%} clicks over {control} ({low:+.1%} to {high:+.1%})"
    if np.isnan(comparison.lift):
        figures = f"{comparison.ahead:+,.1f} beyond {control}"
    if comparison.verdict == "better":
        return f"The uncertainty helped {policy}: {figures}, which explores as much with the uncertainty shuffled among the candidates."
    worse = "does better" if comparison.verdict == "worse" else "does as well"
    return f"The uncertainty did not help {policy}: with it shuffled among the candidates it {worse} ({figures})."
