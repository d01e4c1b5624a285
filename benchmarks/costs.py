"""What each stage costs, as a model of few terms fitted to small sizes, and how far it is off at twice the largest of them.

    python benchmarks/costs.py [--stages aggregate,train] [--rounds 2] [--kept FILE] [--save]

Each stage is measured at several sizes, each in a process of its own, whose peak memory is of all of it, TensorFlow too. Seconds are those
that all cores together are busy, user and system, the least of a few rounds: with other work on the machine they say what the clock does
not. A stage that keeps two cores busy takes half as many by the clock. Lines are fitted to them (`costs_plan.fitted`). Then the largest
sizes are doubled, all at once (of sizes that multiply each other, one), and measured: ratios are predicted / measured, 1 is right, more is
too dear. The large case (ten billion rows, a million items, 1,000 replicas) is `costs_plan.py`, from the fitted lines alone. It took
23 minutes on two cores with much other work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import costs_plan
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from aggregation import write_events
from stream import BATCH, columns, peak_gb, write_clicks

import recbayes as rb

Sizes = Mapping[str, int]
PAIRS, SEEN = 13, 26
"""Numbers and categories of the trained network's rows."""


class Stage(NamedTuple):
    """What to measure: a function (sizes, rounds) -> figures, each figure's terms, the sizes to fit to, and those to check."""

    measure: Callable[[Sizes, int], dict[str, float]]
    terms: Mapping[str, Sequence[str]]
    points: Sequence[Sizes]
    check: Sizes


def main() -> None:
    """Measures, fits, checks, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default=",".join(STAGES), help="some of them; costs_plan.py needs all")
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many counts")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results/costs.json too")
    parser.add_argument("--kept", help="a file of the sizes measured so far, with which a run that was killed goes on")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        stage, sizes = json.loads(options.measure)
        print(json.dumps(STAGES[stage].measure(sizes, options.rounds) | {"peak_gb": peak_gb()}))
        return
    figures, model, ratios = dict[str, float](), dict[str, Any](), dict[str, float]()
    for name in options.stages.split(","):
        model[name], (check, found) = of_stage(name, options.rounds, options.kept)
        for figure, terms in model[name].items():
            guess = costs_plan.predicted(terms, {**check, **found})
            figures |= {f"{name}_{figure}_measured": found[figure], f"{name}_{figure}_predicted": guess}
            ratios[f"{name}_{figure}_predicted_vs_measured"] = guess / found[figure]
    line = json.dumps({"benchmark": "costs", "device": f"{os.cpu_count()} cores", "figures": figures, "ratios": ratios, "model": model})
    if options.save:
        (Path(__file__).parent / "results" / "costs.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def of_stage(name: str, rounds: int, kept: str | None) -> tuple[dict[str, dict[str, float]], tuple[Sizes, dict[str, float]]]:
    """A stage's fitted lines; the sizes that they are checked at, and what was found there."""
    stage = STAGES[name]
    found = [in_a_process(name, sizes, rounds, kept) for sizes in [*stage.points, stage.check]]
    points = [{**sizes, **one} for sizes, one in zip(stage.points, found)]
    model = {figure: costs_plan.fitted(terms, points, [p[figure] for p in points]) for figure, terms in stage.terms.items()}
    return model, (stage.check, found[-1])


def in_a_process(name: str, sizes: Sizes, rounds: int, kept: str | None) -> dict[str, float]:
    """One size's figures: measured, or kept from before."""
    asked, file = json.dumps([name, sizes]), Path(kept or os.devnull)
    before = dict(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()) if file.exists() else {}
    if asked not in before:
        command = [sys.executable, __file__, "--measure", asked, "--rounds", str(rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        before[asked] = json.loads(done.stdout.splitlines()[-1])
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps([asked, before[asked]]) + "\n")
        print(asked, before[asked], file=sys.stderr, flush=True)
    found: dict[str, float] = before[asked]
    return found


def least(work: Callable[[], Any], rounds: int) -> float:
    """Seconds that all cores together are busy with the work, the least of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def aggregate(sizes: Sizes, rounds: int) -> dict[str, float]:
    """Events of some items in four kinds of contexts, to counts."""
    with tempfile.TemporaryDirectory() as home:
        source, out = Path(home) / "events.parquet", Path(home) / "counts.parquet"
        write_events(source, sizes["events"], sizes["items"])
        seconds = least(lambda: rb.aggregate(source, out, clicks="click", item="item", time="seen_at", features=["country"]), rounds)
        return {"seconds": seconds, "counts": pq.read_metadata(out).num_rows, "bytes": out.stat().st_size}


def encode(sizes: Sizes, rounds: int) -> dict[str, float]:
    """The click layout of `stream.py`: fitting the encoder, then epochs in shuffled batches."""
    from recbayes.fitting import part_of
    from recbayes.training import Schedule

    with tempfile.TemporaryDirectory() as home:
        write_clicks(Path(home), sizes["rows"])
        part = part_of(rb.stream_log(home, clicks="click", features=[f.name for f in columns()]), False, 1.0)
        start = time.process_time()
        encoder = part.encoder(columns())
        fit, feed = time.process_time() - start, part.feed(encoder, Schedule())
        schedule = Schedule(batch_size=BATCH, oov_share=0.0)
        seconds = least(lambda: sum(len(batch.clicks) for batch, _ in feed.epoch(schedule, 0, (0, 0))), rounds)
        size = sum(path.stat().st_size for path in Path(home).iterdir())
        return {"fit_seconds": fit, "epoch_seconds": seconds, "bytes": size, "rows": part.size}


def vocabulary(sizes: Sizes, rounds: int) -> dict[str, float]:
    """Categories with so many values, as strings: fitting, writing, looking a row group up; and as integers. The peak holds both."""
    from recbayes.features import Encoder

    number, random = sizes["values"], np.random.default_rng(0)
    names, feature = np.arange(number) * 7919, rb.categorical("item", max_values=number)
    strings = pa.compute.binary_join_element_wise("item", pa.array(names).cast(pa.string()), "-")
    start = time.process_time()
    encoder = Encoder.fit_parts([feature], lambda name: iter([strings, strings]))
    found = {"seconds": time.process_time() - start}
    with tempfile.TemporaryDirectory() as home:
        encoder.save(home)
        found["bytes"] = sum(path.stat().st_size for path in Path(home).iterdir())
    found["string_look_seconds"] = looked_up(encoder, strings.take(random.integers(0, number, costs_plan.ROW_GROUP)), rounds)
    integers = Encoder.fit_parts([feature], lambda name: iter([pa.array(names), pa.array(names)]))
    some = pa.array(names[random.integers(0, number, costs_plan.ROW_GROUP)])
    return {"integer_look_seconds": looked_up(integers, some, rounds), **found}


def looked_up(encoder: Any, column: Any, rounds: int) -> float:
    """Core seconds to code a row group's column, once what is made once is made."""
    encoder.codes(pa.table({"item": column}))
    return least(lambda: encoder.codes(pa.table({"item": column})), rounds)


def texts(sizes: Sizes, rounds: int) -> dict[str, float]:
    """The vocabulary of so many distinct headlines: words of the embedded ones, drawn apart, so pairs are more distinct than real ones."""
    from headlines import headline_log

    from recbayes.features import Encoder

    words = np.array(" ".join(headline_log().table.column("headline").to_pylist()).split())
    random = np.random.default_rng(0)
    made = [" ".join(row) for row in words[random.integers(0, len(words), (sizes["texts"], 10))]]
    column, feature = pa.array(made), rb.text("headline")
    start = time.process_time()
    Encoder.fit_parts([feature], lambda name: iter([column]))
    return {"seconds": time.process_time() - start}


def train(sizes: Sizes, rounds: int) -> dict[str, float]:
    """A step of the network of `training.py`, its tables and hidden layers of these sizes, the posterior `map`, no group effect."""
    import tensorflow as tf

    from recbayes import runtime
    from recbayes.features import Encoded
    from recbayes.fitted import network_of
    from recbayes.training import Memory, Rows, Schedule, compiled_step, step_seed

    runtime.start("cpu")
    each = np.geomspace(10, 10_000, SEEN)
    ids = np.maximum(each * sizes["ids"] / each.sum(), 3).astype(int)
    specs = {f"n{i}": Encoded("dense", 1, "context", f"n{i}", "numeric") for i in range(PAIRS)}
    specs |= {f"c{i}": Encoded("ids", int(size), "item", f"c{i}", "categorical") for i, size in enumerate(ids)}
    random, number, inputs = np.random.default_rng(0), sizes["rows"], dict[str, Any]()
    for name, spec in specs.items():
        dense = spec.kind == "dense"
        inputs[name] = random.normal(size=(number, 1)).astype(np.float32) if dense else random.integers(0, spec.size, number, np.int32)
    family, alone = rb.beta_mixture(components=2), np.arange(number, dtype=np.int32)
    rows = Rows(inputs, (random.random(number) < 0.03).astype(np.float32), np.ones(number, np.float32), alone, alone)
    model = rb.mlp(hidden=(sizes["hidden"], sizes["hidden"] // 2))(specs, family.size, family.location)
    network, posterior = network_of(model, family, None, {}, number), rb.map()
    state = posterior.init(network, tf.constant([0, 0], tf.int32))
    batch, _ = next(Memory(rows).epoch(Schedule(batch_size=number), 0, (0, 0)))
    step, seed, rate = compiled_step(network, posterior, state, rows), step_seed(0, 0, 0), tf.constant(1e-3)

    def one() -> None:
        nonlocal state
        state, loss = step(state, batch, seed, rate)
        loss.numpy()

    one()
    tables = sum(int(np.prod(v.shape)) for v in model.trainable_variables if "embedding" in v.path)
    weights = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return {"seconds": least(one, 5 * rounds), "tables": tables, "dense": weights - tables}


def checkpoint(sizes: Sizes, rounds: int) -> dict[str, float]:
    """Writing a checkpoint of weights with Adam's moments, twice (last and best), in an epoch that has taken so many steps."""
    import tensorflow as tf

    from recbayes.training import Begun, save

    state, best = (tuple(tf.random.stateless_uniform([sizes["weights"]], [i, j]) for i in range(3)) for j in range(2))
    losses = [0.5 + i for i in range(sizes["steps"])]
    with tempfile.TemporaryDirectory() as home:
        seconds = least(lambda: save(Path(home), state, best, [], Begun((0, 0), losses, [4096] * len(losses))), rounds)
        return {"seconds": seconds, "bytes": sum(path.stat().st_size for path in Path(home).iterdir())}


def predict(sizes: Sizes, rounds: int) -> dict[str, float]:
    """Rows that differ, by a `ddn` with a category of so many values and 64 draws of its last layer; not trained, but in doubt."""
    import tensorflow as tf

    from recbayes.export import predict
    from recbayes.features import Encoder
    from recbayes.fitted import Fitted, head_of, network_of

    values, number, random = sizes["values"], sizes["rows"], np.random.default_rng(0)
    features = [rb.categorical("item", max_values=values, min_count=1), rb.numeric("age")]
    encoder = Encoder.fit(features, pa.table({"item": np.arange(values), "age": random.normal(size=values)}))
    family, posterior = rb.beta_mixture(), rb.last_layer(draws=costs_plan.DRAWS)
    model = rb.ddn()(encoder.specs, family.size, family.location)
    head_of(model).bias.assign(family.start(random.binomial(1000, random.beta(20, 1000, values)), np.full(values, 1000)))
    state = posterior.init(network_of(model, family, None, {}, 1), tf.constant([0, 0], tf.int32))
    state = state._replace(head=state.head / 1e8, wide=tuple(precision / 1e8 for precision in state.wide))  # a doubt of .01
    fitted = Fitted(encoder, model, family, posterior, state, None, [], {"rows": 1, "clusters": 1})
    with tempfile.TemporaryDirectory() as home:
        rows, out = Path(home) / "rows.parquet", Path(home) / "out.parquet"
        pq.write_table(pa.table({"item": random.integers(0, values, number), "age": random.normal(size=number)}), rows)
        return {"seconds": least(lambda: predict(fitted, rows, out), max(rounds - 1, 1))}


def tests_of(groups: int, arms: int, impressions: int) -> Any:
    """A log of tests that are alike but for their click rates."""
    random, rows = np.random.default_rng(0), groups * arms
    clicks = random.binomial(impressions, random.beta(2, 100, rows))
    columns = {
        "clicks": clicks,
        "impressions": np.full(rows, impressions),
        "item": np.arange(rows),
        "test": np.repeat(np.arange(groups), arms),
    }
    return rb.read_log(pa.table(columns).to_pandas(), clicks="clicks", impressions="impressions", item="item", group="test")


def replayed(sizes: Sizes, rounds: int) -> dict[str, float]:
    """Thompson over counts in tests of five arms, the second run of a program."""
    from recbayes.replay import replay

    world = rb.queue(tests_of(sizes["arms"] // 5, 5, 1000), steps=sizes["steps"])
    play = partial(replay, world, [rb.thompson(rb.counts(), draws=30)], seeds=sizes["replicas"])
    play()
    return {"seconds": least(play, max(rounds - 1, 1))}


def results(sizes: Sizes, rounds: int) -> dict[str, float]:
    """What the results of many replicas and policies take: two updates of each, so that there is little else."""
    from recbayes.replay import replay

    world = rb.queue(tests_of(sizes["groups"], 2, 100), steps=2)
    replay(world, [rb.ucb(rb.counts(), exploration=[1.0 + i for i in range(sizes["policies"])])], seeds=sizes["replicas"])
    return {}


def grid(names: str, *points: Sequence[int]) -> list[dict[str, int]]:
    """Sizes by name."""
    return [dict(zip(names.split(), point, strict=True)) for point in points]


M, BLOCK = 1_000_000, costs_plan.ROW_GROUP
STAGES = {
    "aggregate": Stage(
        aggregate,
        {"seconds": ("1", "events", "counts"), "peak_gb": ("1", "events", "counts"), "bytes": ("1", "counts")},
        grid("events items", (M, 20_000), (2 * M, 20_000), (4 * M, 20_000), (2 * M, 200_000), (4 * M, 400_000)),
        {"events": 8 * M, "items": 800_000},
    ),
    "encode": Stage(
        encode,
        {name: ("1", "rows") for name in ("fit_seconds", "epoch_seconds", "peak_gb", "bytes")},
        grid("rows", (4 * BLOCK,), (8 * BLOCK,), (16 * BLOCK,)),
        {"rows": 32 * BLOCK},
    ),
    "vocabulary": Stage(
        vocabulary,
        {name: ("1", "values") for name in ("seconds", "peak_gb", "bytes", "string_look_seconds", "integer_look_seconds")},
        grid("values", (M // 8,), (M // 4,), (M // 2,)),
        {"values": M},
    ),
    "texts": Stage(
        texts,
        {name: ("1", "texts") for name in ("seconds", "peak_gb")},
        grid("texts", (M // 16,), (M // 8,), (M // 4,)),
        {"texts": M // 2},
    ),
    "train": Stage(
        train,
        {"seconds": ("1", "rows", "tables", "rows*dense"), "peak_gb": ("1", "rows", "tables", "rows*dense")},
        grid(
            "rows ids hidden",
            (1024, 30_000, 32),
            (4096, 30_000, 32),
            (8192, 30_000, 32),
            (1024, 250_000, 32),
            (4096, 500_000, 32),
            (1024, 30_000, 256),
            (4096, 30_000, 256),
        ),
        {"rows": 16_384, "ids": M, "hidden": 512},
    ),
    "checkpoint": Stage(
        checkpoint,
        {"seconds": ("1", "weights", "steps"), "peak_gb": ("1", "weights", "steps"), "bytes": ("1", "weights", "steps")},
        grid("weights steps", (M, 20_000), (4 * M, 20_000), (M, 40_000), (M, 80_000)),
        {"weights": 8 * M, "steps": 160_000},
    ),
    "predict": Stage(
        predict,
        {"seconds": ("1", "rows", "values"), "peak_gb": ("1", "values")},
        grid("rows values", (16_384, 50_000), (65_536, 50_000), (16_384, 200_000)),
        {"rows": 131_072, "values": 400_000},
    ),
    "replay": Stage(
        replayed,
        {"seconds": ("1", "replicas*arms*steps"), "peak_gb": ("1", "replicas*arms")},
        grid("replicas arms steps", (2, 1600, 100), (4, 1600, 50), (4, 3200, 100)),
        {"replicas": 8, "arms": 3200, "steps": 100},
    ),
    "results": Stage(
        results,
        {"peak_gb": ("1", "replicas*groups*policies")},
        grid("replicas groups policies", (100, 2000, 2), (400, 2000, 4)),
        {"replicas": 400, "groups": 4000, "policies": 4},
    ),
}

if __name__ == "__main__":
    main()
