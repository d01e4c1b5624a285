"""kill -9 at random: of a sweep's workers, and of the process that hands out its tasks. Lost, doubled and differing results are counted.

A sweep runs on two workers; after a random time one of them, or the head (one kill in three), is killed. A head that was killed is started
again and goes on from the chunks that are kept; a sweep that is done is held against this process's own and a new one begins. All counts
must be 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]  # its stubs are not among the dependencies

import recbayes as rb
from recbayes.engine import engine
from recbayes.runtime import start

STEPS, SEEDS, WIDTH = 3000, 24, 1


def study(**given: Any) -> Any:
    """A small study of some hundred short chunks."""
    start("cpu")
    rng = np.random.default_rng(0)
    shown = rng.integers(3000, 6000, 60)
    log = pd.DataFrame({"clicked": rng.binomial(shown, rng.uniform(0.02, 0.06, 60)), "shown": shown, "page": np.repeat(np.arange(15), 4)})
    world = rb.queue(rb.read_log(log, clicks="clicked", impressions="shown", group="page"), steps=STEPS)
    policies = [rb.uniform(), rb.greedy(rb.counts()), rb.thompson(rb.counts(), exploration=[0.5, 1.0, 2.0])]
    return rb.replay(world, policies, seeds=SEEDS, replica_chunk=WIDTH, **given)


def digest(found: Any) -> str:
    """Of every number, to the last bit."""
    rows = found.rows.sort_values(["policy", "seed", "checkpoint"]).to_csv(float_format="%.17g", index=False)
    return hashlib.sha256(rows.encode()).hexdigest()


def drive(folder: Path) -> None:
    """The head of a sweep: writes what it found, and what it was told of each chunk."""
    told: list[list[int]] = []
    runner = engine("ray", workers=2)
    found = study(engine=runner, checkpoint=folder / "chunks", progress=lambda done, total, name: told.append([done, total]))
    runner.close()
    beside = folder / "found.tmp"
    beside.write_text(json.dumps({"digest": digest(found), "told": told}))
    beside.replace(folder / "found.json")


def killed(folder: Path, dice: random.Random, left: int) -> tuple[dict[str, int], Any]:
    """Runs a sweep to its end with at most so many kills on the way; how many hit whom, and what it found."""
    hits = {"workers": 0, "heads": 0}
    while not (folder / "found.json").exists():
        with (folder / "said").open("w") as said:
            head = psutil.Popen([sys.executable, __file__, "--drive", str(folder)], stderr=said)
        while head.poll() is None:
            wait, begin = dice.uniform(0.2, 6.0), time.monotonic()
            while head.poll() is None and time.monotonic() - begin < wait:
                time.sleep(0.02)
            crew = workers(head)
            if head.poll() is None and crew and sum(hits.values()) < left:
                whom = head if dice.random() < 1 / 3 else dice.choice(crew)
                hits["heads" if whom is head else "workers"] += 1
                whom.kill()
        head.wait()
        if head.returncode not in (0, -9):
            raise SystemExit(f"the head failed with {head.returncode}: {(folder / 'said').read_text()[-2000:]}")
    return hits, json.loads((folder / "found.json").read_text())


def workers(head: Any) -> list[Any]:
    """Processes that play chunks."""
    found = []
    try:
        for child in head.children(recursive=True):
            try:
                if child.name().startswith("ray::Worker") or "ray::Worker" in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.Error:
                continue
    except psutil.Error:
        return []
    return found


def main() -> None:
    """One line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of whom is killed when")
    parser.add_argument("--drive", type=Path, help="be the head of a sweep in this folder")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/kills.json too")
    given = parser.parse_args()
    if given.drive:
        drive(given.drive)
        return
    expected, dice = digest(study()), random.Random(given.seed)
    counts = {"workers": 0, "heads": 0, "sweeps": 0, "lost": 0, "doubled": 0, "differing": 0}
    while counts["workers"] + counts["heads"] < given.kills:
        with tempfile.TemporaryDirectory() as home:
            hits, found = killed(Path(home), dice, given.kills - counts["workers"] - counts["heads"])
            done = [done for done, _ in found["told"]]
            total = found["told"][0][1]
            files = len(list(Path(home, "chunks").glob("*.npz")))
        counts = {name: value + hits.get(name, 0) for name, value in counts.items()}
        counts["sweeps"] += 1
        counts["lost"] += max(total - files, 0) + len(set(range(1, total + 1)) - set(done))
        counts["doubled"] += max(files - total, 0) + len(done) - len(set(done))
        counts["differing"] += found["digest"] != expected
    line = json.dumps({"benchmark": "kills", "device": f"cpu {platform.machine()}", "figures": counts, "ratios": {}})
    if given.save:
        (Path(__file__).parent / "results" / "kills.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
