"""Does recalibration help on the headline tests? Chosen on training tests alone, by rolling origins; then the held-out fifth beside it.

    python benchmarks/recalibration.py [--save]

From each origin the quickstart's model is fitted to the older training tests, its map to the newest tenth of those, and both laws are held
against the tests that come next (a tenth of the training tests). Coverage of 90% intervals, CRPS of the count in clicks with its gain's 95%
interval over tests, and the map. Ratios: CRPS of the model's own law over the recalibrated one's, > 1 where the map helps.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

import recbayes as rb
from recbayes.calibration import Recalibration, coverage, crps, mean_interval, pit
from recbayes.calibration.points import few_of, rate_points

ORIGINS = (0.6, 0.7, 0.8, 0.9)
SEED = 99


def main() -> None:
    """Fits five times, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/recalibration.json too")
    options = parser.parse_args()
    columns = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id"}
    log = rb.read_log("example:upworthy", **columns, time="test_created_at", features=("headline", "eyecatcher_id"))
    train, test = log.split(by="time", test_fraction=0.2)
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for origin in ORIGINS:
        older, newer = train.split(by="time", test_fraction=1.0 - origin, seed=SEED)
        following = newer.split(by="time", test_fraction=1.0 - 0.1 / (1.0 - origin), seed=SEED)[0] if origin < 0.85 else newer
        judge(older, following, f"origin_{origin}", figures, ratios)
    judge(train, test, "held_out", figures, ratios)
    figures = {name: round(value, 4) for name, value in figures.items()}
    line = json.dumps({"benchmark": "recalibration", "device": platform.machine(), "figures": figures, "ratios": ratios})
    if options.save:
        (Path(__file__).parent / "results" / "recalibration.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def judge(older: Any, following: Any, name: str, figures: dict[str, float], ratios: dict[str, float]) -> None:
    """Fits to the older tests and holds both laws against those that follow."""
    features = [rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at", bends=4)]
    fitted = rb.fit(older, features=features, posterior=rb.last_layer(draws=64, prior_scale=2.0), recalibrate=True)
    assert fitted.recalibration is not None
    parts = np.array_split(np.arange(len(following)), -(-len(following) // 1024))
    own = np.concatenate([rate_points(few_of(fitted.predict(following.take(rows)))) for rows in parts], axis=1)
    clicks, shown = np.asarray(following.clicks, float), np.asarray(following.impressions, float)
    scores: dict[str, Any] = {}
    found = fitted.recalibration
    for law, mapping in {"own": Recalibration(), "map": found, "scale": found._replace(shift=0.0)}.items():
        points = mapping.points(own)
        scores[law] = crps(clicks, shown, points)
        figures[f"{name}_coverage_{law}"] = coverage(pit(clicks, shown, points), (0.9,))["0.9"]
        figures[f"{name}_crps_{law}"] = float(scores[law].mean())
        low, high = mean_interval(scores["own"] - scores[law], following.segments[0])
        figures |= {f"{name}_crps_gain_{law}_low": low, f"{name}_crps_gain_{law}_high": high} if law != "own" else {}
    figures |= {f"{name}_{key}": value for key, value in found.record().items() if key not in ("rows",)}
    ratios[f"{name}_crps"] = float(scores["own"].mean() / scores["map"].mean())


if __name__ == "__main__":
    main()
