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
# # What would the new policy have earned, and should you believe it?
#
# A log of one policy, a table of another one's probabilities. Weighting the log's rows gives a figure at once. This notebook is about the
# second question:
#
# 1. a real log whose figure must not be believed, and why,
# 2. what the verdict looks at,
# 3. the same policies on logs with known value: do intervals called `trust` hold the truth,
# 4. which of two policies is better, and how sure that is,
# 5. a log without propensities.
#
# Everything below is `import recbayes as rb` and matplotlib. The command line does the same:
# `recbayes evaluate open_bandit --out runs/open_bandit`.

# %% tags=["parameters"]
ROWS = 20000  # rows of each made-up log
LOGS = 60  # made-up logs

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

import recbayes as rb

plt.rcParams.update(
    {
        "figure.figsize": (8, 3.4),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
    }
)
BLUE, ORANGE, GREY = "#2450c8", "#c2570c", "#8a9099"
COLOURS = {"trust": BLUE, "caution": ORANGE, "do_not_trust": GREY}

# %% [markdown]
# ## A figure not to believe
#
# 10,000 fashion recommendations shown at random, 38 of them clicked, and the probabilities of the policy that the shop really used.

# %%
log = rb.read_log(
    "example:open_bandit",
    clicks="click",
    item="item_id",
    position="position",
    propensity="propensity_score",
    time="timestamp",
    features=[],
)
bts = rb.table("example:open_bandit_bts_policy", name="bts")
found = rb.evaluate(log, [bts, rb.logged(name="random")], estimators=["ips", "snips", "dm", "sndr", "dr"])
display(found)

# %% [markdown]
# The shop's policy has a log of its own, so the truth is known here: .0042. The intervals hold it, but that is luck: one click out of 38 is
# 43% of the estimate. Without it the figure would be half as large.

# %%
TRUTH = 0.0042
estimates = [e for e in found.estimates if e.policy == "bts"]
figure, axes = plt.subplots()
for line, e in enumerate(reversed(estimates)):
    axes.plot(e.interval, [line, line], color=COLOURS[e.verdict], linewidth=2)
    axes.plot(e.value, line, "o", color=COLOURS[e.verdict])
axes.axvline(TRUTH, color=GREY, linestyle=":")
axes.set(
    title="The production policy, from the random log (dotted: from its own)",
    xlabel="click rate",
    yticks=range(len(estimates)),
    yticklabels=[e.estimator for e in reversed(estimates)],
)

# %% [markdown]
# By position: all of the click that matters is at one of three slots.

# %%
display(pd.DataFrame(found.of("bts", "snips").positions).round(5))

# %% [markdown]
# ## What the verdict looks at
#
# Each check speaks for itself, and its figures are kept: effective clicks, the largest click's share, the mean of the weights (should be
# 1), tails, items without support, agreement of estimators, the rewards' range, drift.

# %%
display(pd.DataFrame([doubt._asdict() for doubt in found.of("bts", "snips").doubts]))
display(pd.Series(dict(found.of("bts", "snips").figures)))

# %% [markdown]
# ## Does `trust` mean trust?
#
# Logs with known click rates, a logging policy that leans to some items, and policies that lean to others, more and more. Whatever is
# called `trust` should hold the truth in 95% of the logs.

# %%
ITEMS = 10
rng = np.random.default_rng(0)
rates = 0.02 * np.exp(rng.normal(0.0, 0.5, ITEMS))


def leaning(strength: float) -> np.ndarray:
    """Probabilities that lean to the items with the best click rates."""
    weights = np.exp(strength * np.log(rates / rates.mean()))
    return np.asarray(weights / weights.sum())


def made_up(logging: np.ndarray, rows: int) -> pd.DataFrame:
    """A log of so many rows."""
    item = rng.choice(ITEMS, rows, p=logging)
    return pd.DataFrame({"item": item, "click": (rng.random(rows) < rates[item]).astype(int), "propensity": logging[item]})


roles = {"clicks": "click", "item": "item", "propensity": "propensity"}
records = []
for _ in range(LOGS):
    strength = float(rng.choice([-1.0, 1.0, 3.0]))
    policy = leaning(strength)
    data = made_up(leaning(-1.5), ROWS // int(rng.choice([1, 20])))
    table = rb.table(pd.DataFrame({"item": np.arange(ITEMS), "probability": policy}), name="new")
    estimate = rb.evaluate(rb.read_log(data, **roles, features=[]), [table], estimators=["snips"]).estimates[0]
    holds = estimate.interval[0] <= policy @ rates <= estimate.interval[1]
    records.append((estimate.verdict, holds, estimate.effective_clicks, (estimate.value - policy @ rates) / (policy @ rates)))
study = pd.DataFrame(records, columns=["verdict", "holds", "clicks", "off"])
covered = {
    "trust": study[study.verdict == "trust"].holds.mean(),
    "doubt": study[study.verdict != "trust"].holds.mean(),
}
print(covered, study.verdict.value_counts().to_dict())

# %%
figure, axes = plt.subplots()
for verdict, part in study.groupby("verdict"):
    axes.plot(part.clicks, part.off, "o", color=COLOURS[str(verdict)], label=str(verdict).replace("_", " "), alpha=0.7, markersize=4)
axes.axhline(0.0, color=GREY, linestyle=":")
axes.set(
    title="How far off the figure is, by the clicks that it rests on", xlabel="effective clicks", ylabel="relative error", xscale="log"
)
axes.legend(frameon=False)

# %% [markdown]
# ## Which policy is better?
#
# Two policies judged on the same rows share their noise. The order can be sure where neither figure is.

# %%
data = made_up(np.full(ITEMS, 1.0 / ITEMS), ROWS)
policies = [
    rb.table(pd.DataFrame({"item": np.arange(ITEMS), "probability": leaning(strength)}), name=f"leaning {strength:g}")
    for strength in (0.0, 0.5, 1.0, 2.0)
]
ranked = rb.evaluate(rb.read_log(data, **roles, features=[]), policies, estimators=["snips"])
display(ranked.ranking())

figure, axes = plt.subplots()
axes.bar(list(ranked.best), list(ranked.best.values()), color=BLUE)
axes.set(title="How often each policy comes first when the log is resampled", ylabel="share", ylim=(0, 1))

# %% [markdown]
# ## A log without propensities
#
# What such a log can tell, and what it can't. Propensities can be fitted if the logging policy looked at nothing but what is in the log;
# then all figures are marked.

# %%
blind = rb.read_log(data.drop(columns="propensity"), clicks="click", item="item", features=[])
guessed = rb.evaluate(blind, policies[-1:], estimators=["snips"])
display(guessed)
