"""A cost model's mathematics: lines fitted to measurements, what a training step must do counted from its shapes, and the large case.

    python benchmarks/costs_plan.py

prints the large case from benchmarks/results/costs.json, which `python benchmarks/costs.py --save` writes. Its assumptions are the
constants below: ten billion rows of the click layout in `stream.py`, a million items among its categories, and a million arms in tests of
five that twelve policies play 1,000 times. Core seconds are those of one core of the machine that was measured,
hours those of its two cores, both busy; the network's speed is assumed, not measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

Terms = Mapping[str, float]
Model = Mapping[str, Terms]
"""Figure -> its coefficients by term; a term is a product of sizes, "1" or "rows*dense"."""

ROWS, ITEMS, REPLICAS = 1e10, 1e6, 1000
BATCHES, WIDTH, FEATURES, OTHER_IDS = (4096, 65_536), 16, 39, 30_000
"""Rows of a step; of an embedding; features; ids of the other 25 categories."""
TABLES, DENSE = (ITEMS + OTHER_IDS) * WIDTH, (13 + 26 * WIDTH) * 32 + 32 * 16
ARMS_A_TEST, STEPS, POLICIES, DRAWS = 5, 100, 12, 64
CORES, MACHINES, LINK = 2, 8, 1.25e9
"""Of a machine; machines like the one measured; bytes a second between them (10 Gbit/s, assumed)."""
PASSES, FUSED = 41, 7
"""Numbers read or written for each table weight in a step, as `step_counts` counts them; and by a fused Adam: w, m, v twice, g once."""
ROW_GROUP, CHECKPOINT_STEPS, WINDOW, WINDOWS = 122_880, 1000, 1 << 17, 3


def term(name: str, sizes: Mapping[str, float]) -> float:
    """A term's value: the product of the sizes that it names.

    >>> term("rows*dense", {"rows": 2.0, "dense": 3.0}), term("1", {})
    (6.0, 1.0)
    """
    return 1.0 if name == "1" else math.prod(float(sizes[one]) for one in name.split("*"))


def fitted(terms: Sequence[str], points: Sequence[Mapping[str, float]], values: Sequence[float]) -> dict[str, float]:
    """Coefficients, none negative, that make the squares of relative errors least.

    >>> {name: round(c, 6) for name, c in fitted(["1", "rows"], [{"rows": 1.0}, {"rows": 2.0}], [5.0, 7.0]).items()}
    {'1': 3.0, 'rows': 2.0}
    """
    matrix = np.array([[term(name, point) for name in terms] for point in points]) / np.asarray(values)[:, None]
    scale = matrix.max(0)
    found = nnls(matrix / scale, np.ones(len(values)))[0] / scale
    return dict(zip(terms, found.tolist(), strict=True))


def predicted(terms: Terms, sizes: Mapping[str, float]) -> float:
    """What the model says of these sizes."""
    return sum(coefficient * term(name, sizes) for name, coefficient in terms.items())


def step_counts(rows: float, tables: float, dense: float) -> dict[str, float]:
    """FLOPs and bytes of a training step, from its shapes: rows of a step, weights in tables of embeddings, weights in dense layers.

    A dense weight is multiplied and added once a row on the way there and twice on the way back: 6 FLOPs. Of a table's weight Adam takes 13
    FLOPs and the prior 4, whether a row has its id or not. As each operation is a kernel of its own, numbers in float32 move 7 times for
    the first moment, 9 for the second, 12 for the weight itself; 3 for the dense gradient of a lookup, and 10 for the prior, its gradient
    and their sum: `PASSES`. What rows move is left out: it is small beside that once tables are large.
    """
    return {"flops": 6.0 * rows * dense + 17.0 * (tables + dense), "bytes": 4.0 * PASSES * (tables + dense)}


def plan(costs: Mapping[str, Model]) -> dict[str, float]:
    """The large case: figures by name. `costs`: a model a stage, as `costs.py` fits them."""
    return passes(costs) | training(costs) | sizes_of(costs) | replaying(costs)


def hours(core_seconds: float) -> float:
    """Hours on the clock of one machine, all cores busy."""
    return core_seconds / CORES / 3600


def passes(costs: Mapping[str, Model]) -> dict[str, float]:
    """Core seconds a billion rows of each pass over them, and hours of ten billion; of looking the items up, and of counts written."""
    encode, train, looks = costs["encode"], costs["train"]["seconds"], costs["vocabulary"]
    a_row = {
        "aggregate": costs["aggregate"]["seconds"]["events"],
        "fit_encoder": encode["fit_seconds"]["rows"],
        "encode": encode["epoch_seconds"]["rows"],
        "train_rows": train["rows"] + train["rows*dense"] * DENSE,
        "predict": costs["predict"]["seconds"]["rows"],
    }
    found = {f"{name}_core_seconds_a_billion": 1e9 * seconds for name, seconds in a_row.items()}
    found |= {f"{name}_hours": hours(ROWS * seconds) for name, seconds in a_row.items()}
    for kind in ("string", "integer"):
        look = predicted(looks[f"{kind}_look_seconds"], {"values": ITEMS})
        found |= {f"{kind}_look_hours": hours(ROWS / ROW_GROUP * look)}
    return found | {"counts_core_seconds_a_million": 1e6 * costs["aggregate"]["seconds"]["counts"]}


def training(costs: Mapping[str, Model]) -> dict[str, float]:
    """Hours of one pass over all rows by rows a step, on one machine and on several, and what of them the tables take.

    Sparse: Adam and messages touch the ids of a step alone, at most 26 a row. Several machines, as it is: each encodes all rows, works on
    its part of a step's, and moves all weights, whose gradients went to all (twice (n - 1) / n of them each, in a ring).
    """
    train, keep, found = costs["train"]["seconds"], costs["checkpoint"], dict[str, float]()
    encode = hours(ROWS * costs["encode"]["epoch_seconds"]["rows"])
    message = 4.0 * (TABLES + DENSE) * 2.0 * (MACHINES - 1) / MACHINES / LINK
    for batch in BATCHES:
        steps, touched = ROWS / batch, min(batch * 26.0, ITEMS + OTHER_IDS) * WIDTH
        whole = predicted(train, {"rows": batch, "tables": TABLES, "dense": DENSE})
        adam, rows = train["tables"] * TABLES, whole - train["tables"] * TABLES
        sparse = rows + train["tables"] * touched
        tells = message * (touched + DENSE) / (TABLES + DENSE)
        written, kept = keep["seconds"]["weights"] * TABLES, steps / CHECKPOINT_STEPS
        one = {
            "hours": hours(steps * whole),
            "tables_share": adam / whole,
            "sparse_hours": hours(steps * sparse),
            "machines_hours": encode + hours(steps * (rows / MACHINES + adam)) + steps * message / 3600,
            "message_hours": steps * message / 3600,
            "sparse_machines_hours": (encode + hours(steps * sparse)) / MACHINES + steps * tells / 3600,
            "checkpoints_core_hours": kept * written / 3600,
            "losses_core_hours": kept * keep["seconds"]["steps"] * steps / 2.0 / 3600,
            "losses_gb": keep["peak_gb"]["steps"] * steps,
            "gflops_a_core": 1e-9 * step_counts(batch, TABLES, DENSE)["flops"] / whole,
        }
        found |= {f"train_{batch}_{name}": value for name, value in one.items()}
    rates = {"adam_gb_a_core_second": 4e-9 * PASSES / train["tables"], "dense_gflops_a_core": 6e-9 / max(train["rows*dense"], 1e-30)}
    return found | rates | {"message_gb": 4e-9 * (TABLES + DENSE), "fused_adam_bytes_share": FUSED / PASSES}


def sizes_of(costs: Mapping[str, Model]) -> dict[str, float]:
    """Gigabytes: on disk, and in memory."""
    values = {"values": ITEMS}
    return {
        "parquet_gb": 1e-9 * ROWS * costs["encode"]["bytes"]["rows"],
        "counts_gb_a_billion": costs["aggregate"]["bytes"]["counts"],
        "aggregate_gb_a_billion_counts": 1e9 * costs["aggregate"]["peak_gb"]["counts"],
        "vocabulary_gb": costs["vocabulary"]["peak_gb"]["values"] * ITEMS,
        "vocabulary_file_gb": 1e-9 * predicted(costs["vocabulary"]["bytes"], values),
        "texts_gb": costs["texts"]["peak_gb"]["texts"] * ITEMS,
        "texts_seconds": costs["texts"]["seconds"]["texts"] * ITEMS,
        "tables_gb": 4e-9 * TABLES,
        "optimizer_gb": 8e-9 * TABLES,
        "step_gb": costs["train"]["peak_gb"]["tables"] * TABLES,
        "checkpoint_gb": 1e-9 * costs["checkpoint"]["bytes"]["weights"] * TABLES,
        "windows_gb": 4e-9 * WINDOWS * WINDOW * FEATURES,
        "wide_draws_gb": 4e-9 * DRAWS * ITEMS,
        "scorer_gb": costs["predict"]["peak_gb"]["values"] * ITEMS,
    }


def replaying(costs: Mapping[str, Model]) -> dict[str, float]:
    """Hours of all policies over all items, and what results take: gigabytes."""
    seconds = costs["replay"]["seconds"]["replicas*arms*steps"]
    cells = REPLICAS * ITEMS * STEPS
    return {
        "replay_hours": hours(POLICIES * cells * seconds),
        "replay_a_replica_core_seconds": ITEMS * STEPS * seconds,
        "replay_results_gb": costs["results"]["peak_gb"]["replicas*groups*policies"] * REPLICAS * ITEMS / ARMS_A_TEST * POLICIES,
    }


def main() -> None:
    """Prints the large case."""
    saved = json.loads((Path(__file__).parent / "results" / "costs.json").read_text(encoding="utf-8"))
    print(json.dumps({"benchmark": "costs_plan", "device": saved["device"], "figures": plan(saved["model"]), "ratios": {}}))


if __name__ == "__main__":
    main()
