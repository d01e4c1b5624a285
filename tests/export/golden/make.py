"""Makes the golden exports of this version: a dry run unless told to write, and what is there is never touched.

python tests/export/golden/make.py [--write]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

import recbayes as rb

HERE = Path(__file__).parent
KINDS = ("page", "plain", "slate")


def log():
    """Made-up pages of four headlines."""
    rng = np.random.default_rng(0)
    rows, words = 160, np.array("old new big small cat dog news man".split())
    impressions = rng.integers(200, 900, rows)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "page": np.repeat(np.arange(rows // 4), 4),
            "headline": [" ".join(rng.choice(words, 3)) for _ in range(rows)],
            "image": rng.integers(0, 9, rows),
            "price": rng.lognormal(size=rows),
            "clicks": rng.binomial(impressions, rng.beta(4, 200, rows)),
            "impressions": impressions,
        }
    )
    return rb.read_log(frame, clicks="clicks", impressions="impressions", item="id", group="page", features=("headline", "image", "price"))


def batches(scorer, functions):
    """Requests of one and of seven decisions, and the answers."""
    from recbayes.export import known
    from recbayes.export.saving import call

    found = []
    for size in (1, 7):
        rng, raw = np.random.default_rng(size), scorer.encoder.example(3 * size)
        impressions = rng.integers(0, 500, (size, 3))
        request = {
            "clicks": rng.binomial(impressions, 0.02),
            "impressions": impressions,
            "candidates": np.ones((size, 3), bool),
            "remaining": np.full(size, 100, np.float32),
            "batch": np.ones(size, np.float32),
            "exploration": np.float32(1.0),
            "seed": np.array([size, 5], np.int32),
        }
        request |= {e.name: raw[e.feature].reshape(size, 3) for e in scorer.inputs["decide"] if e.feature}
        outputs = call(functions["decide"], request, scorer.inputs["decide"])
        found.append({"signature": "decide", "inputs": known.to_json(request), "outputs": known.to_json(outputs)})
    return found


def main():
    """Says what it would do, or does it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    for name in KINDS:
        folder = HERE / f"{rb.__version__}-{name}"
        if folder.exists():
            print(f"{folder.name}: is there, left as it is")
            continue
        print(f"{folder.name}: {'written' if write else 'would be written (--write)'}")
        if not write:
            continue
        policy = rb.ucb() if name == "plain" else rb.thompson(exploration=0.5, draws=16)
        features = [rb.text("headline", min_count=1, ngrams=1), rb.categorical("image"), rb.numeric("price")]
        fitted = rb.fit(
            log(),
            features=features,
            posterior=rb.last_layer(draws=4),
            group_effect=False if name == "plain" else "page",
            epochs=2,
            held_out=0.0,
            model=rb.linear() if name == "plain" else rb.ddn(),
        )
        rb.export(fitted, policy, folder, metadata={"held_out": {}}, slate=2 if name == "slate" else None)
        from recbayes.export import Scorer

        scorer = Scorer(fitted, policy, floor=0.01)
        (folder / "batches.json").write_text(json.dumps(batches(scorer, scorer.functions())))


if __name__ == "__main__":
    main()
