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
# # The quickstart in pictures
#
# A news site tested headlines and images on real readers. From its log to a decision:
#
# 1. read the log and ask what is wrong with it,
# 2. fit a click model that knows what it doesn't know,
# 3. see whether that is true, on tests it never saw,
# 4. replay policies on those tests: does exploring pay, and which way of exploring,
# 5. export the winner.
#
# Everything below is `import recbayes as rb` and matplotlib. The command line does the same: `recbayes run quickstart`.

# %% tags=["parameters"]
EPOCHS = 20  # passes over the training rows, at most
SEEDS = 8  # replicas of each policy
STEPS = 50  # updates of a policy within a test
NEWEST = 3898  # so many tests, the newest of the log; all of them here

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import display

import recbayes as rb
from recbayes.types import Clock

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

# %% [markdown]
# ## The log
#
# A row is one package, a headline with an image, in one test: how often it was shown, how often it was clicked. Packages of one test
# competed for the same readers at the same time: they are a *group*.

# %%
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
display(log)

# %% [markdown]
# What is wrong, odd or missing? The last finding compares packages that agree in all that was recorded: they should differ by chance only.

# %%
audit = rb.audit(log)
display(audit)

# %% [markdown]
# Judge by the newest tests: a model is always used on what comes next. Tests are never cut in two.

# %%
train, test = log.split(by="time", test_fraction=0.2)
print(f"{train.segments[1]:,} tests to learn from, {test.segments[1]:,} to judge by")

# %% [markdown]
# ## The click model
#
# A deep density network: what it says of a package is not a click rate but a distribution of click rates. Packages of one test share an
# effect of their page (`group_effect`), and the last layer's weights are known up to a distribution of their own.

# %%
fitted = rb.fit(
    train,
    features=[rb.text("headline"), rb.categorical("eyecatcher_id"), rb.time("test_created_at", side="context")],
    density=rb.beta_mixture(components=2),
    group_effect="clickability_test_id",
    posterior=rb.last_layer(draws=64, prior_scale=2.0),
    epochs=EPOCHS,
)
display(fitted)

# %% [markdown]
# Two kinds of not knowing. *Data*: pages and packages differ in ways that headlines don't tell; more rows of the same log won't help.
# *Model*: words and images that training hardly saw; more rows would.

# %%
predictive = fitted.predict(test)
mean = np.asarray(predictive.mean)[:, 0]
data, model = (np.asarray(part)[:, 0] for part in predictive.split())

figure, axes = plt.subplots()
axes.scatter(data / mean, model / mean, s=5, color=GREY, alpha=0.5, linewidths=0)
axes.set(
    title="Two kinds of not knowing, a point a package",
    xlabel="data: what features can't explain, relative",
    ylabel="model: doubt of the weights",
)

# %% [markdown]
# Once a package is shown, its own clicks count. `condition` turns the density of the features into that of the features and the clicks:
# doubt shrinks with every impression. Without this, exploring would never stop. Here for one package on a page whose level is known:
# packages on one page differ by some 20%, so it takes thousands of impressions to tell them apart.

# %%
headlines = np.array(test.column("headline").to_pylist(), object)
page = next(rows for g in range(test.segments[1]) if len(set(headlines[rows := np.flatnonzero(test.segments[0] == g)])) >= 4)
page = test.take(page)  # the first test of at least four headlines
prior = fitted.densities(page)  # [draws, packages]
shown = np.geomspace(10, 30_000, 30)
after = [
    np.asarray(prior.condition(tf.constant(page.clicks / page.impressions * n, tf.float32), tf.constant(n, tf.float32)).stddev).mean()
    for n in shown
]

figure, axes = plt.subplots()
axes.plot(shown, np.asarray(after) / np.asarray(prior.mean).mean(), color=BLUE, linewidth=2.5)
axes.axhline(float(np.asarray(prior.stddev).mean() / np.asarray(prior.mean).mean()), color=GREY, linestyle=":", linewidth=1.5)
axes.set(
    title="Doubt shrinks as a package is shown", xlabel="impressions", ylabel="standard deviation, relative", xscale="log", ylim=(0, None)
)

# %% [markdown]
# ## Does it know what it doesn't know?
#
# For each held-out package the model gives a distribution of the clicks it will get. Where do the observed clicks fall in it? Anywhere,
# evenly, if the model is right. And intervals of 90% should hold 90%.

# %%
calibration, predictions = rb.calibrate(fitted, train, test)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
left.bar(np.arange(20) / 20, np.asarray(calibration["pit"]) / np.mean(calibration["pit"]), width=0.045, align="edge", color=BLUE)
left.axhline(1.0, color=GREY, linestyle=":")
left.set(title="Where counts fall in their prediction", xlabel="PIT", ylabel="relative to flat")
levels = [float(level) for level in calibration["coverage"]]
right.plot([0.4, 1], [0.4, 1], color=GREY, linestyle=":")
right.plot(levels, list(calibration["coverage"].values()), "o", color=BLUE)
right.set(title="Coverage", xlabel="level of the interval", ylabel="packages covered")

# %% [markdown]
# What the features are worth, in log-likelihood a row on held-out tests: the network against fits without features.

# %%
print({**calibration["baselines"], "network": calibration["log_likelihood_per_row"]})

# %% [markdown]
# ## Does exploring pay?
#
# The tests were randomised, so every package has real outcomes to replay: a policy shows packages, their clicks are drawn from the
# real ones without replacement, and all policies play the same tests with the same luck.

# %%
policies = [
    rb.uniform(),
    rb.greedy(rb.counts(), name="counts/greedy"),
    rb.greedy(fitted),
    rb.ucb(fitted, exploration=1.0),
    rb.thompson(fitted),
    rb.thompson(fitted, exploration=0.25, name="density/thompson_quarter"),
]
result = rb.replay(rb.queue(test, steps=STEPS), policies, seeds=SEEDS)
display(result.summary())

# %%
result.plot()

# %% [markdown]
# Full-width Thompson sampling explores more than tests this short can pay back; a quarter of its spread, or one standard deviation of
# UCB, is better. The scale of exploration is the setting to measure.
#
# What a policy does with one page, before anything was clicked:

# %%
arms = len(page)
one = rb.Predictive.from_draws(tf.nest.map_structure(lambda leaf: leaf[:, None], prior), group_effect=fitted.group_effect)
clock = Clock(step=tf.zeros([1]), remaining=tf.fill([1], 10_000.0), batch=tf.fill([1], 100.0))
asked = {"UCB": rb.ucb(), "Thompson": rb.thompson(draws=1000), "Thompson, a quarter": rb.thompson(exploration=0.25, draws=1000)}
chances = {
    name: policy.probabilities(one, tf.ones([1, arms], tf.bool), clock, tf.constant([0, 1])).numpy()[0] for name, policy in asked.items()
}

figure, axes = plt.subplots(figsize=(8, 0.5 * arms + 1.2))
for shift, ((name, shares), colour) in enumerate(zip(chances.items(), (BLUE, ORANGE, GREY))):
    axes.barh(np.arange(arms) + 0.27 * (shift - 1), shares, height=0.25, color=colour, label=name)
axes.set(
    title="Probability of showing each package",
    yticks=np.arange(arms),
    yticklabels=[str(h)[:60] for h in page.column("headline").to_pylist()],
)
axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.2, -0.1), ncols=3)

# %% [markdown]
# ## The export
#
# A SavedModel that takes raw headlines and returns an action with its exact propensity. It needs TensorFlow alone.

# %%
folder = Path(tempfile.mkdtemp()) / "export"
rb.export(fitted, rb.thompson(exploration=0.25), folder, metadata={"made_by": "notebooks/quickstart.py"})
decide = tf.saved_model.load(str(folder / "1")).signatures["decide"]
request = {
    "headline": tf.constant([page.column("headline").to_pylist()]),
    "eyecatcher_id": tf.constant([page.column("eyecatcher_id").to_pylist()]),
    "test_created_at": tf.constant(page.time[:1], tf.float64),
    "clicks": tf.zeros([1, arms], tf.int64),
    "impressions": tf.zeros([1, arms], tf.int64),
    "candidates": tf.ones([1, arms], tf.bool),
    "remaining": tf.constant([10_000.0]),
    "batch": tf.constant([100.0]),
    "exploration": tf.constant(0.25),
    "seed": tf.constant([0, 1]),
}
print({name: value.numpy().tolist() for name, value in decide(**request).items()})
