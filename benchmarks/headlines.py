"""The quickstart's model and policies on the newest fifth of the headline tests, beside simpler ones fitted in the same run.

    python benchmarks/headlines.py [--seeds 20]

Held-out log likelihood a row, coverage, and lift over uniform at 10 and 200 updates, in shares; ratios > 1 are better than the peer
(for log likelihoods: exp of the difference, the factor on a row's probability). Greedy without a model comes in two forms, as its first
batch is all ties: `counts/greedy` and `fitted/greedy` share it among the tied arms as every policy here does, which is a small A/B test of
its own; `..._one_tie` show one of them, as an argmax does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import recbayes as rb
from recbayes.densities import BetaMixture, baselines
from recbayes.replay import replay, tallies
from recbayes.replay.learner import Bound, Learner
from recbayes.replay.world import World


def main() -> None:
    """Fits, replays, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/headlines.json too")
    options = parser.parse_args()
    seeds = options.seeds
    train, test = headline_log().split(by="time", test_fraction=0.2)
    fitted = quickstarts(train)
    calibration, _ = rb.calibrate(fitted, train, test)
    deciles = calibration["coverage_by_decile"]["0.9"]
    figures = {
        "log_likelihood": calibration["log_likelihood_per_row"],
        **{f"log_likelihood_{k}": v for k, v in calibration["baselines"].items()},
    }
    figures |= {
        "coverage_90": calibration["coverage"]["0.9"],
        "coverage_90_lowest_decile": min(deciles),
        "coverage_90_highest_decile": max(deciles),
    }
    ratios = {f"likelihood_vs_{k}": float(np.exp(figures["log_likelihood"] - v)) for k, v in calibration["baselines"].items()}
    for steps in (10, 200):
        figures |= lifts(replay(rb.queue(test, steps=steps), policies(fitted, train), seeds=seeds), f"{steps}_updates")
    early = replay(rb.queue(test, steps=10, horizon=0.1), policies(fitted, train), seeds=seeds)
    figures |= lifts(early, "tenth_of_horizon")
    for name in ("10_updates", "200_updates"):
        ratios[f"ucb_vs_counts_greedy_{name}"] = (1 + figures[f"density/ucb_{name}"]) / (1 + figures[f"counts/greedy_{name}"])
    for peer in ("greedy", "greedy_one_tie"):
        ratios[f"ucb_lift_vs_fitted_{peer}_tenth"] = figures["density/ucb_tenth_of_horizon"] / figures[f"fitted/{peer}_tenth_of_horizon"]
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    line = json.dumps({"benchmark": "headlines", "device": device, "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "headlines.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def headline_log() -> Any:
    """The embedded log, as the quickstart reads it."""
    columns = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id"}
    return rb.read_log("example:upworthy", **columns, time="test_created_at", features=("headline", "eyecatcher_id"))


def quickstarts(train: Any) -> Any:
    """The quickstart's model, fitted."""
    features = [rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at", bends=4)]
    return rb.fit(train, features=features, density=rb.beta_mixture(components=2), posterior=rb.last_layer(draws=64, prior_scale=2.0))


def policies(fitted: Any, train: Any) -> list[Any]:
    """Simple ones, and the model's."""
    prior = rb.counts(train, prior="fitted")
    return [
        rb.uniform(),
        rb.greedy(rb.counts()),
        rb.greedy(prior, name="fitted/greedy"),
        rb.greedy(one_tie("flat", 0.5, 2.0), name="counts/greedy_one_tie"),
        rb.greedy(one_tie("fitted", *baselines.beta_binomial(train.clicks, train.impressions)), name="fitted/greedy_one_tie"),
        rb.greedy(fitted),
        rb.ucb(fitted, exploration=1.5),  # as the quickstart has it; chosen on training tests (ucb_width.py)
        rb.ucb(fitted, name="density/ucb_single"),
        rb.ucb(fitted, stddev="total", name="density/ucb_total"),
        rb.ucb(fitted, exploration=2.0, name="density/ucb_double"),
        rb.thompson(fitted),
        rb.thompson(fitted, exploration=0.25, name="density/thompson_quarter"),
        rb.knowledge_gradient(fitted),
    ]


def one_tie(name: str, mean: float, concentration: float) -> Learner:
    """A beta prior with a hair's breadth between the arms' means, so that no two tie."""

    def bind(world: World) -> Bound:
        apart = mean * (1.0 + 1e-4 * np.random.default_rng(0).random((len(world.segments), 1, 1)))
        return tallies.bound(BetaMixture(np.zeros_like(apart), apart, np.full_like(apart, concentration)), None)

    return Learner("one_tie", {"prior": name}, None, bind)


def lifts(result: Any, name: str) -> dict[str, float]:
    """Lift over uniform of each policy with its 95% interval over tests, and paired: each against greedy on plain counts."""
    found: dict[str, float] = {}
    for policy in result.policies:
        lift = result.over_uniform(policy)
        found |= {f"{policy}_{name}": lift.lift, f"{policy}_{name}_low": lift.interval[0], f"{policy}_{name}_high": lift.interval[1]}
        for peer in ("counts/greedy", "counts/greedy_one_tie"):
            paired, key = result.compare(policy, peer), f"{policy}_vs_{peer.replace('/', '_')}_{name}"
            found |= {f"{key}_low": paired.interval[0], f"{key}_high": paired.interval[1]}
    return {key: round(float(value), 5) for key, value in found.items()}


if __name__ == "__main__":
    main()
