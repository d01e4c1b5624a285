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
# # Would exploring have paid?
#
# A news site tested headlines by showing each one equally often. Had a policy chosen instead, what would it have earned, what would it have
# cost, and can we believe the answer? On the last tests of the log, which the model has not seen:
#
# 1. how much to explore: the whole curve in one run,
# 2. whether the uncertainty helped, or just exploring,
# 3. how soon one could have told that a policy is better,
# 4. what exploring cost, when it was paid back, and by which items,
# 5. what a longer horizon would change, in a twin of the log whose truth is known.

# %% tags=["parameters"]
EPOCHS = 20  # passes over the training rows, at most
SEEDS = 8  # replicas of each policy
STEPS = 50  # updates of a policy within a test
NEWEST = 3898  # so many tests, the newest of the log; all of them here
LONGER = 10.0  # horizon of the twin, in horizons of the log
SCALES = [0.25, 0.5, 1.0, 2.0]  # of UCB: standard deviations above the mean

# %%
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.ticker import PercentFormatter

import recbayes as rb

plt.rcParams.update(
    {
        "figure.figsize": (8, 3.6),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
    }
)
BLUE, ORANGE, GREY = "#2450c8", "#c2570c", "#8a9099"

log = rb.read_log(
    "example:upworthy",
    clicks="clicks",
    impressions="impressions",
    item="source_row",
    group="clickability_test_id",
    time="test_created_at",
    features=["headline", "eyecatcher_id"],
)
segments, groups = log.segments
log = log.take(segments >= groups - NEWEST) if NEWEST < groups else log
train, test = log.split(by="time", test_fraction=0.2)
fitted = rb.fit(
    train,
    features=[rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at", bends=4)],
    group_effect="clickability_test_id",
    epochs=EPOCHS,
)

# %% [markdown]
# ## How much to explore
#
# `exploration` may be a list: one policy a value. UCB shows what has the highest *mean + exploration x standard deviation*; 0 is greedy.
# Greedy and uniform are played beside it, and so is UCB's *shuffled control*: the same policy, told of each package another one's
# uncertainty.

# %%
world = rb.queue(test, steps=STEPS)
display(world)
result = rb.replay(world, [rb.ucb(fitted, exploration=SCALES)], seeds=SEEDS, controls=[f"density/ucb@{SCALES[-2]:g}"])
display(result)

# %%
curve = {scale: result.over_uniform(f"density/ucb@{scale:g}") for scale in SCALES}
curve = {0.0: result.over_uniform("density/greedy"), **curve}
ends = np.array([lift.interval for lift in curve.values()]).T
lifts = np.array([lift.lift for lift in curve.values()])

figure, axes = plt.subplots()
axes.errorbar(range(len(curve)), lifts, np.abs(ends - lifts), color=BLUE, marker="o", capsize=3)
axes.set(title="Clicks over uniform by scale of exploration", xticks=range(len(curve)), xticklabels=[f"{scale:g}" for scale in curve])
axes.set(xlabel="standard deviations above the mean (0: greedy)")
axes.yaxis.set_major_formatter(PercentFormatter(1.0))

# %% [markdown]
# The intervals are over tests, and wide, because tests differ. Differences between policies on the same tests are far better known:
# verdicts come from those, and hold for all comparisons together (Holm).

# %%
for comparison in result.comparisons:
    low, high = comparison.interval
    print(
        f"{comparison.policy:24} against {comparison.other:24} {comparison.lift:+.2%} ({low:+.2%} to {high:+.2%})"
        f"  p {comparison.p_holm:.3f}  {comparison.verdict}"
    )

# %% [markdown]
# ## Did the uncertainty help?
#
# Exploring at all may help, wherever one explores. If the control earns as much, the standard deviations were of no use.

# %%
for told in result.to_json()["controls"].values():
    print(told["says"])

# %% [markdown]
# ## How soon could one have told?
#
# Who looks after every test and stops when a policy seems better is fooled far more often than in 5% of cases. A confidence sequence holds
# at every moment at once.

# %%
name = f"density/ucb@{SCALES[-2]:g}"
running = result.sequence(name, "uniform")
seen = np.arange(1, len(running.lift) + 1)

figure, axes = plt.subplots()
axes.plot(seen, running.lift, color=BLUE)
axes.fill_between(seen, np.maximum(running.lower, -0.5), np.minimum(running.upper, 0.5), color=BLUE, alpha=0.15)
axes.axhline(0.0, color=GREY, linewidth=0.8)
axes.set(title=f"Lift of {name} over uniform, looking after every test", xlabel="tests", ylim=(-0.3, 0.5))
axes.yaxis.set_major_formatter(PercentFormatter(1.0))
print("clear after", running.decided, "of", len(seen), "tests")

# %% [markdown]
# ## What did exploring cost?
#
# Against greedy, which starts from the same model: clicks behind as the horizon passes, and the packages on which they were lost.

# %%
plan = result.plan(name)
print(plan.says())
figure, axes = plt.subplots()
axes.plot(plan.by_step.share, plan.by_step.behind, color=ORANGE)
axes.fill_between(plan.by_step.share, plan.by_step.lower, plan.by_step.upper, color=ORANGE, alpha=0.15)
axes.axhline(0.0, color=GREY, linewidth=0.8)
axes.set(title="Clicks behind greedy (above the line: still being paid for)", xlabel="share of the horizon")
axes.xaxis.set_major_formatter(PercentFormatter(1.0))
display(plan.by_item.head(5))

# %% [markdown]
# ## And with a longer horizon?
#
# The queue world cannot say: a package's real outcomes run out. The *twin* can: its true click rates are drawn from the fitted density, so
# that the best package is known, and regret with it. It says what exploring would bring if the model were right, no more.

# %%
twin = rb.twin(test, fitted, steps=STEPS, horizon=LONGER)
display(twin)
longer = rb.replay(twin, [rb.uniform(), rb.greedy(fitted), rb.ucb(fitted, exploration=SCALES)], seeds=SEEDS)
regret = longer.rows.groupby(["policy", "share"])[["regret", "uniform_regret"]].mean()
regret = (regret.regret / regret.uniform_regret).unstack(0)

figure, axes = plt.subplots()
for policy, colour in (("density/greedy", GREY), (name, BLUE), (f"density/ucb@{SCALES[-1]:g}", ORANGE)):
    axes.plot(regret.index, regret[policy], color=colour, label=policy)
axes.set(title="Regret, as a share of uniform's", xlabel="share of the horizon", ylim=(0.0, None))
axes.xaxis.set_major_formatter(PercentFormatter(1.0))
axes.yaxis.set_major_formatter(PercentFormatter(1.0))
axes.legend(frameon=False)

# %% [markdown]
# ## The answer

# %%
answer = {
    "best scale": max(curve, key=lambda scale: curve[scale].lift),
    "over uniform": curve[SCALES[-2]].lift,
    "over greedy": result.compare(name, "density/greedy").interval,
    "paid back": plan.paid_back,
    "regret in the twin": float(regret[name].iloc[-1]),
}
print(answer)
