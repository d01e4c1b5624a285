"""How often may the trend of click rates turn? Chosen on the training headline tests alone, by rolling origins.

    python benchmarks/drift.py [--save]

From each origin a model of time and page effect alone is fitted to the older training tests and held against the tests that come next (a
tenth of the training tests), with the trend linear (no bends) or bent 4, 8, 16 times and flat beyond. Log likelihood a row, coverage of 90%
intervals, CRPS of the count in clicks. Ratios: CRPS of the linear trend over the bent one's, > 1 where bending helps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import recbayes as rb

ORIGINS, BENDS, SEED = (0.6, 0.7, 0.8, 0.9), (0, 4, 8, 16), 99


def main() -> None:
    """Fits sixteen times, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/drift.json too")
    columns = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id"}
    train = rb.read_log("example:upworthy", **columns, time="test_created_at").split(by="time", test_fraction=0.2)[0]
    options, figures, ratios = parser.parse_args(), {}, {}
    for origin in ORIGINS:
        older, newer = train.split(by="time", test_fraction=1.0 - origin, seed=SEED)
        following = newer.split(by="time", test_fraction=1.0 - 0.1 / (1.0 - origin), seed=SEED)[0] if origin < 0.85 else newer
        for bends in BENDS:
            features, name = [rb.time("test_created_at", bends=bends)], f"origin_{origin}_bends_{bends}"
            fitted = rb.fit(older, features=features, model=rb.linear(), posterior=rb.map(), epochs=10, held_out=0.0, learning_rate=0.02)
            found = rb.calibrate(fitted, older, following, draws=256)[0]
            figures[f"{name}_log_likelihood"] = round(found["log_likelihood_per_row"], 4)
            figures[f"{name}_coverage_90"] = round(found["coverage"]["0.9"], 4)
            figures[f"{name}_crps"] = round(found["crps"]["clicks"], 3)
            ratios[f"{name}_crps"] = round(figures[f"origin_{origin}_bends_0_crps"] / figures[f"{name}_crps"], 4)
    line = json.dumps(
        {"benchmark": "drift", "device": f"{platform.machine()}, {os.cpu_count()} cores", "figures": figures, "ratios": ratios}
    )
    if options.save:
        (Path(__file__).parent / "results" / "drift.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
