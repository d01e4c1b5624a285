# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The loop: serve, log, count, watch, train again
#
# A model in production is a loop. This notebook turns it a few times on made-up traffic:
#
# 1. a day of uniformly shown articles: the first log,
# 2. a model of it, exported; from here on only the SavedModel decides,
# 3. its decisions are logged with their propensities, their counts go into the next requests,
# 4. the monitor looks at what was served,
# 5. the model is trained again on all that was logged, and the next day begins.
#
# Clicks rise twice: within a day, as counts sharpen what is known of its articles, and from day to day, as the model learns what kind of
# article is clicked.

# %% tags=["parameters"]
DAYS = 4  # days that the export serves
PAGES = 40  # pages a day, each with articles of its own
BATCHES = 40  # requests a page a day; counts are updated after each
DECISIONS = 10  # decisions a request
EPOCHS = 20

# %%
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from IPython.display import display

import recbayes as rb
from recbayes.monitor import ROLES, Counts, monitor, served

plt.rcParams.update({"figure.figsize": (8, 3.2), "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"})
HOME = Path(tempfile.mkdtemp())
ARMS, TOPICS, AUTHORS = 8, 12, 25
rng = np.random.default_rng(0)
Decide = Callable[[dict[str, Any]], dict[str, np.ndarray]]  # a request's inputs -> the answer's outputs

# %% [markdown]
# ## The world
#
# Each page has eight articles with a topic and an author, which the model sees, and a quality of their own, which it does not. Some pages
# are clicked more than others whatever stands on them.

# %%
topic_effect, author_effect = rng.normal(0, 0.35, TOPICS), rng.normal(0, 0.2, AUTHORS)


def new_day(day: int) -> dict[str, np.ndarray]:
    """Pages [B], articles [B, A] with their features, and the click rates that nobody knows."""
    topic, author = rng.integers(0, TOPICS, (PAGES, ARMS)), rng.integers(0, AUTHORS, (PAGES, ARMS))
    logit = -2.5 + topic_effect[topic] + author_effect[author] + rng.normal(0, 0.2, (PAGES, ARMS)) + rng.normal(0, 0.4, (PAGES, 1))
    return {
        "pages": np.array([f"day {day} page {i}" for i in range(PAGES)]),
        "items": np.array([[f"article {day}-{i}-{j}" for j in range(ARMS)] for i in range(PAGES)]),
        "topic": np.char.add("topic ", topic.astype(str)).astype(object),
        "author": np.char.add("author ", author.astype(str)).astype(object),
        "rate": 1 / (1 + np.exp(-logit)),
    }


FEATURES = [rb.categorical("topic"), rb.categorical("author")]
ABOUT = {
    "signatures": {
        "decide": {
            "inputs": [{"name": n, "feature": n, "dtype": "string", "shape": ["B", "A"], "default": ""} for n in ("topic", "author")]
        }
    }
}

# %% [markdown]
# ## One day of traffic
#
# `decide` answers for many decisions of a page at once by being asked about the page that many times in one request. Each answer becomes
# a row of the log: what was shown, with which probability, among which candidates, what was expected, and whether it was clicked.


# %%
def play(day: int, world: dict[str, np.ndarray], decide: Decide, about: dict[str, Any]) -> tuple[pa.Table, np.ndarray]:
    """Serves a day; returns the log's rows and the true click rate of what was shown, a figure a batch."""
    counts, rows, shown = Counts(), [], []
    pages = np.repeat(np.arange(PAGES), DECISIONS)
    for batch in range(BATCHES):
        clicks, impressions = counts.of(world["pages"], world["items"])
        request = {name: world[name][pages] for name in ("topic", "author")} | {
            "clicks": clicks[pages],
            "impressions": impressions[pages],
            "candidates": np.ones((len(pages), ARMS), bool),
            "seed": np.array([day, batch], np.int32),
        }
        answer = decide(request)
        rate = world["rate"][pages, answer["action"]]
        at = 86400.0 * (day + batch / BATCHES) + np.zeros(len(pages))
        clicked = rng.random(len(pages)) < rate
        rows.append(served(about, request, answer, items=world["items"][pages], groups=world["pages"][pages], at=at, clicks=clicked))
        counts.add(rows[-1])
        shown.append(rate.mean() / world["rate"].mean() - 1)
    return pa.concat_tables(rows), np.array(shown)


def uniform(request: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The policy of the first day; it has no model, so what it expects is the same for all."""
    size = len(request["candidates"])
    flat = np.full((size, ARMS), 1 / ARMS, np.float32)
    action = rng.integers(0, ARMS, size)
    expected = np.full((size, ARMS), 0.08, np.float32)
    return {"action": action, "propensity": flat[:, 0], "probabilities": flat, "mean": expected, "stddev": expected / 2}


log, first = play(0, new_day(0), uniform, ABOUT)
pq.write_table(log, HOME / "day0.parquet")
print(f"{len(log):,} decisions, {np.mean(log['clicks'].to_numpy()):.4f} clicks each")

# %% [markdown]
# The audit reads this layout like any other log of events.

# %%
audit = rb.audit(str(HOME / "day0.parquet"), **ROLES, features=("topic", "author"))
print(audit.verdict, sorted({finding.check for finding in audit.findings if finding.severity != "ok"}))

# %% [markdown]
# ## Train and export
#
# The export holds the model's preprocessing, its weight draws and the policy. What the loop calls from here on is the SavedModel, as a
# server in C++ or Go would.


# %%
def trained(day: int) -> tuple[rb.Fitted, rb.Log, Path]:
    """A model of all days so far, and its export."""
    paths = [str(HOME / f"day{i}.parquet") for i in range(day)]
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    pq.write_table(table, HOME / "all.parquet")
    log = rb.read_log(str(HOME / "all.parquet"), **ROLES, features=("topic", "author"))
    density = rb.beta_mixture(components=1)
    fitted = rb.fit(log, features=FEATURES, density=density, posterior=rb.last_layer(draws=16), group_effect="group", epochs=EPOCHS)
    folder = rb.export(fitted, rb.thompson(exploration=0.5), HOME / f"export{day}")
    return fitted, log, folder


def server(folder: Path) -> tuple[Decide, dict[str, Any]]:
    """What answers requests: the SavedModel and its metadata alone."""
    loaded, about = tf.saved_model.load(str(folder / "1")), json.loads((folder / "metadata.json").read_text())
    inputs = {entry["name"]: entry for entry in about["signatures"]["decide"]["inputs"]}

    def decide(request: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        size = len(request["candidates"])
        full = {name: np.full([size] * len(entry["shape"]), entry["default"]) for name, entry in inputs.items() if name not in request}
        sent = {name: tf.constant(value, inputs[name]["dtype"]) for name, value in {**full, **request}.items()}
        return {name: value.numpy() for name, value in loaded.signatures["decide"](**sent).items()}

    return decide, about


# %% [markdown]
# ## Turn the loop

# %%
lifts, watched = {0: first}, {}
for day in range(1, DAYS + 1):
    fitted, training_log, folder = trained(day)
    rows, lifts[day] = play(day, new_day(day), *server(folder))
    pq.write_table(rows, HOME / f"day{day}.parquet")
    watched[day] = monitor(rows, fitted.encoder, training_log)
    rate = watched[day].figures["click_rate"]
    print(f"day {day}: {lifts[day].mean():+.1%} over uniform, {rate['observed']:.4f} clicks a decision, {rate['expected']:.4f} expected")

# %% [markdown]
# Lift over uniform: the true click rate of what was shown over that of all articles of the day, less 1. A day's line rises as counts
# come in; the next day, with new articles, starts where the features alone bring it.

# %%
figure, axes = plt.subplots()
start = 0
for day, lift in lifts.items():
    smooth = np.convolve(lift, np.ones(min(5, BATCHES)) / min(5, BATCHES), "valid")
    axes.plot(start + np.arange(len(smooth)), smooth, color="#8a9099" if day == 0 else "#2450c8")
    start += BATCHES
axes.axhline(0, color="#8a9099", lw=0.8)
axes.set(title="Click rate over uniform, day after day", xlabel="batch", ylabel="lift")
plt.show()

# %% [markdown]
# ## What the monitor saw
#
# `expected` is what the model said when it chose. Its z is fair though the policy chose what to see. Drift compares features
# with the training rows.

# %%
figure, axes = plt.subplots()
for day, found in watched.items():
    axes.plot([day], [found.figures["click_rate"]["z"]], "o", color="#2450c8")
axes.axhspan(-2, 2, color="#8a9099", alpha=0.15)
axes.set(title="Clicks against what was expected, in standard errors", xlabel="day", ylabel="z")
plt.show()

figure, axes = plt.subplots()
axes.bar(list(watched), [found.figures["exploration"]["not_the_likeliest"] for found in watched.values()], color="#c2570c")
axes.set(title="Decisions beside the likeliest candidate", xlabel="day", ylabel="share")
plt.show()
display(watched[DAYS].to_dict()["exploration"])

# %% [markdown]
# ## Judge another policy from what was logged
#
# Every row has its propensity and no candidate's is 0 (the export's floor), so the log of the last day can judge policies that never ran.

# %%
last = rb.read_log(str(HOME / f"day{DAYS}.parquet"), **ROLES, features=("topic", "author"))
print(rb.evaluate(last, [rb.logged()], estimators=["snips"]))
mean_lift = {"uniform": float(lifts[0].mean()), "served": float(lifts[DAYS].mean())}
print(mean_lift)
