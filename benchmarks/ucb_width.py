"""How wide UCB should reach: the contrast's standard deviation against the whole one, times 1 to 3, chosen on training tests alone.

    python benchmarks/ucb_width.py [--seeds 12]

The quickstart's model is fitted to the older tests of each of three origins within the training tests; lifts over uniform are replays of
the tenth that follows, all origins' tests together, at 10 and 200 updates and over a tenth of the horizon, in shares with 95% intervals
over tests. `_vs_default`: over one of the contrast's standard deviations, paired by test. The ratio is 1 + the lift of the best width of
the contrast over that of the best width of the whole, at 200 updates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from defaults import origins
from headlines import quickstarts

import recbayes as rb
from recbayes.replay import replay
from recbayes.replay.result import Result

WIDTHS = (1.0, 1.5, 2.0, 3.0)
DEFAULT = "contrast_1.0"
SETTINGS = {"10_updates": (10, 1.0), "200_updates": (200, 1.0), "tenth_of_horizon": (10, 0.1)}


def main() -> None:
    """Fits, replays, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/ucb_width.json too")
    options = parser.parse_args()
    fits = [(following, policies(quickstarts(older), older)) for older, following in origins()]
    figures: dict[str, Any] = {}
    for name, (steps, horizon) in SETTINGS.items():
        result = pooled([replay(rb.queue(log, steps=steps, horizon=horizon), asked, seeds=options.seeds) for log, asked in fits])
        for policy in result.policies:
            for what, lift in {"": result.over_uniform(policy), "_vs_default": result.compare(policy, DEFAULT)}.items():
                figures[f"{policy}{what}_{name}"] = [round(float(x), 4) for x in (lift.lift, *lift.interval)]
    best = {kind: max(figures[f"{kind}_{width}_200_updates"][0] for width in WIDTHS) for kind in ("contrast", "total")}
    ratios = {"contrast_vs_total": (1.0 + best["contrast"]) / (1.0 + best["total"])}
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    line = json.dumps({"benchmark": "ucb_width", "device": device, "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "ucb_width.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def pooled(results: Sequence[Result]) -> Result:
    """The tests of several replays, of different ones, as those of one; lifts alone are read from it."""
    first = results[0]
    expected = {name: np.concatenate([result.expected[name] for result in results], 1) for name in first.policies}
    clusters = np.concatenate([[f"{origin}:{c}" for c in result.clusters] for origin, result in enumerate(results)])
    return replace(first, expected=expected, uniform=np.concatenate([r.uniform for r in results], -1), clusters=clusters)


def policies(fitted: Any, log: Any) -> list[Any]:
    """UCB of each kind and width, and what it must beat."""
    wide = [rb.ucb(fitted, stddev=kind, exploration=width, name=f"{kind}_{width}") for kind in ("contrast", "total") for width in WIDTHS]
    return [rb.uniform(), rb.greedy(rb.counts(log, prior="fitted"), name="fitted/greedy"), rb.greedy(fitted), *wide]


if __name__ == "__main__":
    main()
