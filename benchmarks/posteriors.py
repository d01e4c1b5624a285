"""How right each posterior is, and what it costs, against exact references and MAP of the same run.

    python benchmarks/posteriors.py [--only last_layer sgld] [--parts distance shrinks] [--save]

Every posterior that `recbayes` has by name and that this file knows is measured; one that is not there is left out.

- distance: on fixed features, of the head's entries against quadrature (tests/oracle.py): largest error of a mean in posterior standard
  deviations, and of a standard deviation as a share.
- shrinks: standard deviation over that with every row 100 times; 10 is right.
- calibration: p-value of the ranks of true weights (simulation-based), and of the same with the prior told twice as wide.
- split: the data and the model part of the spread over the true ones, of every pair of posterior and density.
- coverage: of new items' counts by intervals of four levels, on logs made with a known spread.
- cost: seconds of training (median epoch after the first) over MAP's, on the headline tests' network; 64 weight draws for 10,000 rows
  over one pass.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import keras
import numpy as np
import oracle  # type: ignore[import-not-found]  # lives with the tests
import tensorflow as tf
import test_split  # type: ignore[import-not-found]

import recbayes as rb
from recbayes.features import Encoder
from recbayes.fitted import prepare
from recbayes.models import prior_stddevs
from recbayes.training import Memory, Schedule, compiled_step, one_epoch, train

METHODS: dict[str, dict[str, Any]] = {
    "mle": {},
    "map": {},
    "last_layer": {"draws": 2000},
    "neural_linear": {"draws": 2000},
    "nuts": {"draws": 400},
    "sgld": {},
    "mean_field": {"draws": 64},
    "ensemble": {"members": 48},
    "epinet": {"draws": 64},
    "mc_dropout": {"draws": 64},
}
"""Settings for the figures of distance and shrinkage; costs are those of the defaults."""
PROBLEMS = {p.__name__: p for p in (oracle.logistic, oracle.rare_clicks, oracle.beta_binomial, oracle.many_clicks)}
EPOCHS = {"nuts": 5, "sgld": 60, "mean_field": 2000, "ensemble": 1000}
"""Passes over the rows, one step each: of the climb to the MAP, from which chains go on by themselves; as many as spreads need to settle
(a mean-field standard deviation starts at a tenth of the prior's); 300 elsewhere."""
REPLICAS = {"sgld": 16, "mean_field": 8}
"""Independent heads on the same rows: as many chains for one."""
SLOW = {
    "nuts": test_split.Method(rb.nuts(draws=200, chains=2, warmup=100, samples=200), test_split.LINEAR, 60, 0.25),
    "epinet": test_split.Method(rb.epinet(draws=64), test_split.HIDDEN, 600, None),
}
"""Of the split, beside the test's own: too slow for a test, or without a model part that is known."""
BENT = ("mc_dropout", "epinet")
"""Measured on a network with a hidden layer: they need one."""
RESULTS = Path(__file__).parent / "results" / "posteriors.json"
ROWS = 10_000
UNTIMED = ("mle", "nuts")
"""Maximum likelihood costs what MAP does; NUTS takes no network of this size."""
ROLES = {"clicks": "clicks", "impressions": "impressions", "item": "source_row", "group": "clickability_test_id", "time": "test_created_at"}


def main() -> None:
    """Measures, prints one line of JSON, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(METHODS), choices=list(METHODS), help="methods to measure")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS), help="figures to measure")
    parser.add_argument("--save", action="store_true", help="write it to benchmarks/results/posteriors.json, over figures of before")
    options = parser.parse_args()
    names = [name for name in options.only if name in rb.__all__]
    figures: dict[str, float] = {}
    for part in options.parts:
        for name, value in PARTS[part](names):
            figures[f"{part}.{name}"] = value
            print(f"{part}.{name} {value:.4g}", file=sys.stderr, flush=True)
    if options.save:
        figures = {**(json.loads(RESULTS.read_text())["figures"] if RESULTS.is_file() else {}), **figures}
    line = json.dumps({"benchmark": "posteriors", "device": device(), "figures": figures, "ratios": ratios(figures)})
    if options.save:
        RESULTS.write_text(line + "\n", encoding="utf-8")
    print(line)


def distances(names: list[str]) -> Iterator[tuple[str, float]]:
    """Errors of mean and standard deviation of every method that can be run on each problem."""
    for problem_name, make in PROBLEMS.items():
        problem = make()
        right = oracle.reference(problem)
        for name in names:
            if not suits(name, problem):
                continue
            found = oracle.posterior_of(
                problem, getattr(rb, name)(**METHODS[name]), replicas=REPLICAS.get(name, 1), epochs=EPOCHS.get(name, 300)
            )
            mean, stddev = oracle.distance(found, right)
            yield f"{name}.{problem_name}.mean", mean
            if found.stddev.max() > 0.0:
                yield f"{name}.{problem_name}.stddev", stddev
                yield f"{name}.{problem_name}.stddev_ratio", float(np.mean(found.stddev / right.stddev))


def suits(name: str, problem: Any) -> bool:
    """A regression of the logit says nothing of a concentration; one dense layer has neither dropout nor anything below it."""
    return name not in BENT and (name != "neural_linear" or problem.family.size == 1)


def shrinkage(names: list[str]) -> Iterator[tuple[str, float]]:
    """Standard deviation over that of the same rows a hundred times, averaged over the head; of a point, its standard deviation: 0."""
    problem = oracle.rare_clicks(rows=60)
    for name in names:
        method = getattr(rb, name)(**METHODS[name])
        spread = bent_spread if name in BENT else straight_spread
        epochs = EPOCHS.get(name, 300)
        once, often = spread(problem, method, epochs), spread(problem.times(100), method, epochs)
        yield name, float(np.mean(once / often)) if often.max() > 0.0 else float(once.max())


def straight_spread(problem: Any, method: Any, epochs: int) -> Any:
    """Standard deviations of the head's entries."""
    return oracle.posterior_of(problem, method, replicas=REPLICAS.get(method.kind, 1), epochs=epochs).stddev


def bent_spread(problem: Any, method: Any, epochs: int) -> Any:
    """Standard deviations of a hidden layer's network at unit inputs and zero."""
    network, rows = oracle.network(problem)
    entry = {"x": keras.Input((2,), name="x")}
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(entry["x"])
    dropped = keras.layers.Dropout(0.1, noise_shape=(1, 16), name="dropout")(hidden)
    model = keras.Model(entry, keras.layers.Dense(1, name="head")(dropped))
    network = network._replace(model=model, prior_stddev=prior_stddevs(model))
    state = train(network, method, rows, Schedule(epochs, 10**6, learning_rate=0.02, oov_share=0.0)).state
    inputs = {"x": tf.constant([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])}
    return np.std(method.outputs(network, method.sample(network, state, method.draws, oracle.SEED), inputs), axis=0)


def calibration(names: list[str]) -> Iterator[tuple[str, float]]:
    """p-values of the ranks, right and with the prior doubled."""
    for name, settings in (("last_layer", {"curvature": "exact"}), ("nuts", {"warmup": 80, "samples": 80})):
        if name in names:
            method = getattr(rb, name)(draws=39, **settings)
            for case, factor in (("p_value", 1.0), ("p_value_prior_doubled", 2.0)):
                yield f"{name}.{case}", oracle.uniformity(oracle.ranks(method, datasets=80, prior_factor=factor), 39)


def coverage(names: list[str]) -> Iterator[tuple[str, float]]:
    """Share of 4,000 simulated items' counts inside the intervals of each level, of each family under the default posterior."""
    if "last_layer" in names:
        train, test = (test_split.items(each, test_split.SCATTER, seed=seed)[1] for each, seed in ((1500, 3), (500, 2)))
        method = test_split.METHODS["last_layer"]._replace(posterior=rb.last_layer(draws=8))
        for family in ("beta_mixture", "logit_normal_mixture", "gaussian_mixture"):
            found, _ = rb.calibrate(test_split.fit(train, method, family), train, test)
            for level, share in found["coverage"].items():
                yield f"{family}.{level}", share


def split(names: list[str]) -> Iterator[tuple[str, float]]:
    """Data and model part over what went in, for every pair of posterior and density, on tests/test_split.py's logs."""
    methods = test_split.METHODS | SLOW
    for name in names:
        for family in test_split.FAMILIES:
            scatter = 0.0 if family == "point" else test_split.SCATTER
            method, at = methods[name], test_split.items(1, 0.0, seed=0)[1]
            predictive = test_split.fit(test_split.items(method.items, scatter, seed=1)[1], method, family).predict(at)
            data, model = (test_split.rms(np.asarray(part / predictive.mean)[:, 0]) for part in predictive.split())
            if scatter:
                yield f"{name}.{family}.data", data / float(np.sqrt(np.expm1(scatter**2)))
            yield f"{name}.{family}.model", model / float(np.sqrt((scatter**2 + 1.0 / test_split.CLICKS) / method.items))


def costs(names: list[str]) -> Iterator[tuple[str, float]]:
    """Seconds an epoch, of outputs for 10,000 rows and of 64 weight draws, on the headline tests' network."""
    log = rb.read_log("example:upworthy", features=["headline", "eyecatcher_id"], **ROLES)
    features = [rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at")]
    encoder = Encoder.fit(features, {f.name: log.column(f.name) for f in features})
    for name in names:
        if name in UNTIMED:
            continue
        model = rb.ddn(dropout=0.1) if name == "mc_dropout" else rb.ddn()
        network, rows = prepare(log, encoder, rb.beta_mixture(), model, ROLES["group"])
        method = getattr(rb, name)(**({"members": 5} if name == "ensemble" else {}))
        state, seconds = epochs_of(network, method, rows)
        yield f"{name}.seconds_an_epoch", seconds
        if name == "last_layer":
            yield from draws_of(network, method, state, {key: tf.constant(value[:ROWS]) for key, value in rows.inputs.items()})


def epochs_of(network: Any, method: Any, rows: Any) -> tuple[Any, float]:
    """The state after four epochs, and the median seconds of the last three."""
    state, seconds = method.init(network, oracle.SEED), []
    step, schedule = compiled_step(network, method, state, rows), Schedule(oov_share=0.0)
    for epoch in range(4):
        state, record = one_epoch(step, state, Memory(rows), schedule, epoch)
        seconds.append(record["seconds"])
    return state, statistics.median(seconds[1:])


def draws_of(network: Any, method: Any, state: Any, inputs: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Seconds of the network's outputs for all rows at the MAP and at 64 weight draws; and of drawing those weights, once a model.

    The draws' outputs as predictions and exports take them; `_draws_first`: in the order [S, N, P].
    """
    drawn = method.sample(network, state, 64, oracle.SEED)
    folded = method.fold(network, drawn)
    work: dict[str, Callable[[], Any]] = {
        "one_pass": partial(tf.function(network.call), list(drawn.weights), inputs),
        "outputs_of_64": partial(tf.function(folded.outputs), folded.constants, inputs),
        "outputs_of_64_draws_first": partial(tf.function(partial(method.outputs, network)), drawn, inputs),
        "drawing_64": tf.function(partial(method.sample, network, state, 64, oracle.SEED)),
    }
    for run in work.values():
        run()
    for name, run in work.items():
        yield f"last_layer.seconds_of_{name}", min(seconds_of(run) for _ in range(30))


def seconds_of(run: Callable[[], Any]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


PARTS: dict[str, Callable[[list[str]], Iterator[tuple[str, float]]]] = {
    "cost": costs,
    "distance": distances,
    "shrinks": shrinkage,
    "calibration": calibration,
    "coverage": coverage,
    "split": split,
}


def ratios(figures: dict[str, float]) -> dict[str, float]:
    """MAP's seconds over each method's: above 1 is cheaper than MAP."""
    base = figures.get("cost.map.seconds_an_epoch")
    if base is None:
        return {}
    found = {
        f"{name}_training": base / figures[f"cost.{name}.seconds_an_epoch"]
        for name in METHODS
        if f"cost.{name}.seconds_an_epoch" in figures and name != "map"
    }
    if "cost.last_layer.seconds_of_outputs_of_64" in figures:
        found["last_layer_64_draws"] = figures["cost.last_layer.seconds_of_one_pass"] / figures["cost.last_layer.seconds_of_outputs_of_64"]
    return found


def device() -> str:
    """What it ran on."""
    found = tf.config.list_physical_devices("GPU")
    name = tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else platform.machine()
    return f"{name}, {os.cpu_count() or 1} cores"


if __name__ == "__main__":
    main()
