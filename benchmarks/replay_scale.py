"""How a replay's cost grows: a replica's share of it as replicas grow, and a whole family of policies over the density learner.

    python benchmarks/replay_scale.py [--seeds 10] [--replicas 1,4,16,64,256] [--save]

Curves are of the second run of a program: LinTS decision by decision (`linear_job.py`), all replicas in one chunk on one thread (on a GPU,
in one chunk on it: there give --replicas up to 10000), and Thompson over the headline tests in chunks of the runner's own width. The
family is that of `rb.policy_family`, twelve policies, over a model with two components and a page effect, the newest fifth of the tests in
100 updates; its seconds hold compiling. Full size is --seeds 100.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from headlines import headline_log
from linear_job import linear_world
from replay import device, headline_tests

import recbayes as rb
from recbayes.replay import replay

EVENTS = 500


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="replicas of the family")
    parser.add_argument("--replicas", default="1,4,16,64,256", help="numbers of replicas of the linear curve")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/replay_scale.json too")
    options = parser.parse_args()
    numbers = [int(number) for number in options.replicas.split(",")]
    policy = rb.thompson(rb.linear_learner(noise=1.0, precision=1.0, intercept=False), draws=1)
    linear = {number: second(policy, linear_world(EVENTS, 1), number, replica_chunk=number) for number in numbers}
    queue = {number: second(rb.thompson(rb.counts(), draws=30), headline_tests(), number) for number in numbers if number <= 64}
    figures: dict[str, Any] = {f"linear_{number}_events_per_second": number * EVENTS / seconds for number, seconds in linear.items()}
    figures |= {f"queue_{number}_seconds_a_replica": seconds / number for number, seconds in queue.items()}
    figures |= family(options.seeds)
    first, last = numbers[0], numbers[-1]
    ratios = {f"linear_{last}_vs_{first}": (last / linear[last]) / (first / linear[first])}
    line = json.dumps({"benchmark": "replay_scale", "device": device(os.cpu_count() or 1), "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "replay_scale.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def family(seeds: int) -> dict[str, float]:
    """Seconds of the whole family over the density learner, and of a replica of a policy."""
    train, _ = headline_log().split(by="time", test_fraction=0.2)
    model = rb.fit(train, features=[rb.text("headline")], density=rb.beta_mixture(components=2), posterior=rb.mle(), epochs=1, held_out=0.0)
    policies = rb.policy_family(model)
    seconds = timed(lambda: replay(headline_tests(), policies, seeds=seeds))
    number = sum(len(policy.members) for policy in policies)
    return {"family_policies": number, "family_seeds": seeds, "family_seconds": seconds, "family_replica_seconds": seconds / number / seeds}


def second(policy: Any, world: Any, replicas: int, **settings: Any) -> float:
    """Seconds of the second run of a program."""
    return [timed(partial(replay, world, [policy], seeds=replicas, seed=seed, **settings)) for seed in range(2)][1]


def timed(work: Callable[[], Any]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
