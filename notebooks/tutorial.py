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
# # From Bayes' rule to Thompson sampling
#
# A click model that knows what it doesn't know, built up one idea at a time on real headline tests: prior, likelihood, maximum
# likelihood, MAP, marginalisation, Monte Carlo, variational inference, dropout, ensembles, the split of uncertainty into data, model and
# measurement, and what all of it is for: exploration.

# %% tags=["parameters"]
EPOCHS = 60  # passes over the training rows
NEWEST = 700  # so many tests, the newest of the log
DRAWS = 512  # weight draws of the reference
WARMUP = 200  # steps of the Markov chains before draws are kept
MEMBERS = 8  # networks of the ensemble
TIMES = 8  # so many times the log, to see what more data do

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf
from IPython.display import display

import recbayes as rb
from recbayes.comparison import by_draws, distance
from recbayes.densities import BetaMixture
from recbayes.types import Clock

plt.rcParams.update(
    {
        "figure.figsize": (8, 3.4),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
    }
)
BLUE, ORANGE, GREEN, GREY = "#2450c8", "#c2570c", "#1c8a5a", "#8a9099"

log = rb.read_log(
    "example:upworthy",
    clicks="clicks",
    impressions="impressions",
    item="source_row",
    group="clickability_test_id",
    time="test_created_at",
    features=["headline"],
)
segments, groups = log.segments
train, test = log.take(segments >= groups - NEWEST).split(by="time", test_fraction=0.2)
display(train)

# %% [markdown]
# ## 1. Prior: what is believed before looking
#
# A headline's click rate $p$ is unknown. Before it is shown, all we have is how other headlines did: their rates spread around 1%. A beta
# distribution fitted to them is a *prior*, $p \sim \mathrm{Beta}(m k,\ (1 - m) k)$ with mean $m$ and concentration $k$.

# %%
family = rb.beta_mixture(components=1)
start = family.start(np.asarray(train.clicks, np.float32), np.asarray(train.impressions, np.float32))
prior = family.density(tf.constant([start], tf.float32))  # one row, one component
rates = np.linspace(0.0002, 0.08, 800, dtype=np.float32)


def height(density: BetaMixture) -> np.ndarray:
    """The density of one row over the grid of click rates."""
    return np.exp(np.asarray(density.distribution().log_prob(rates[:, None]))[:, 0])


figure, axes = plt.subplots()
observed = train.clicks / train.impressions
axes.hist(
    observed, bins=np.linspace(0, 0.04, 60).tolist(), density=True, color=GREY, alpha=0.4, label="observed rates of training packages"
)
axes.plot(rates, height(prior), color=BLUE, linewidth=2.5, label="prior")
axes.set(title="The prior: how click rates spread", xlabel="click rate", xlim=(0, 0.04))
axes.legend(frameon=False)

# %% [markdown]
# ## 2. Likelihood: what the clicks say
#
# A package that was shown $r$ times and clicked $c$ times speaks through the binomial likelihood $L(p) = p^c (1 - p)^{r - c}$. With few
# impressions it is wide: many rates explain the clicks well.

# %%
row = int(np.argmax(observed * (train.impressions > np.median(train.impressions))))
clicks, shown = float(train.clicks[row]), float(train.impressions[row])
few = round(clicks / 10), round(shown / 10)  # as if it had been shown a tenth as often

figure, axes = plt.subplots()
for (c, r), colour, label in ((few, ORANGE, "a tenth of the impressions"), ((clicks, shown), GREEN, "all impressions")):
    log_likelihood = c * np.log(rates) + (r - c) * np.log1p(-rates)
    axes.plot(rates, np.exp(log_likelihood - log_likelihood.max()), color=colour, linewidth=2.5, label=f"{label}: {c:.0f} of {r:.0f}")
axes.set(title="The likelihood of one package, its maximum set to 1", xlabel="click rate")
axes.legend(frameon=False)

# %% [markdown]
# ## 3. Maximum likelihood: the rate that explains the clicks best
#
# $\hat p = \arg\max_p L(p) = c / r$. It believes what it saw and nothing else: the package of a few lucky clicks looks like the best ever.
#
# ## 4. MAP: the most probable rate given both
#
# Bayes' rule multiplies prior and likelihood, $P(p \mid c) \propto P(c \mid p)\, P(p)$, and MAP takes the top of the product. It is pulled
# towards the prior, the more so the fewer the impressions. `condition` is that rule, exact for the beta prior.

# %%
posterior = prior.condition(tf.constant([float(few[0])]), tf.constant([float(few[1])]))
both = height(posterior)
estimates = {"maximum likelihood": few[0] / few[1], "MAP": float(rates[np.argmax(both)]), "all impressions": clicks / shown}
print({name: round(value, 4) for name, value in estimates.items()})

figure, axes = plt.subplots()
axes.plot(rates, height(prior), color=BLUE, linestyle=":", label="prior")
axes.plot(rates, both, color=BLUE, linewidth=2.5, label="posterior after a tenth of the impressions")
for (name, value), colour in zip(estimates.items(), (ORANGE, BLUE, GREEN)):
    axes.axvline(value, color=colour, linewidth=1.2)
    side = "left" if name == "all impressions" else "right"
    axes.annotate(name, (value, axes.get_ylim()[1]), color=colour, rotation=90, va="top", ha=side, fontsize=8)
axes.set(title="Bayes' rule on one package", xlabel="click rate")
axes.legend(frameon=False)

# %% [markdown]
# A network has weights instead of one rate, and the rule is the same: maximum likelihood maximises $\log P(D \mid w)$, MAP adds
# $\log N(w; 0, \sigma^2)$, which is L2. Both give one setting of the weights and no doubt about it. Words that training saw a few times
# get wild weights by maximum likelihood, modest ones by MAP.

# %%
features = [rb.text("headline", ngrams=1, min_count=max(3, len(train) // 60)), rb.time("test_created_at", side="context")]
settings = {
    "features": features,
    "density": rb.beta_mixture(components=1),
    "group_effect": False,
    "model": rb.linear(wide_stddev=0.2),
    "epochs": EPOCHS,
    "batch_size": 128,
    "learning_rate": 0.03,
    "held_out": 0.0,
    "oov_share": 0.0,
}
likeliest, most_probable = (rb.fit(train, posterior=method, **settings) for method in (rb.mle(), rb.map()))


def words(fitted: rb.Fitted) -> np.ndarray:
    """The fitted weight of each word."""
    named = zip(fitted.model.trainable_variables, fitted.state.parameters.weights)
    return next(np.asarray(weight)[2:, 0] for variable, weight in named if "wide_headline" in variable.path)


figure, axes = plt.subplots(figsize=(4.5, 4.2))
axes.axline((0, 0), slope=1, color=GREY, linestyle=":")
axes.scatter(words(likeliest), words(most_probable), s=14, color=BLUE)
axes.set(title="The prior pulls weights to 0", xlabel="weight of a word, maximum likelihood", ylabel="MAP")

# %% [markdown]
# ## 5. Marginalisation: don't choose, average
#
# Many settings of the weights explain the log about as well. The honest prediction weighs all of them,
#
# $$P(p \mid x, D) = \int P(p \mid x, w)\, P(w \mid D)\, dw .$$
#
# The integral has no closed form. For a model this small a Markov chain (NUTS) walks through the posterior and leaves draws $w_s$
# behind; everything below is held against them.

# %%
reference = rb.fit(train, posterior=rb.nuts(draws=DRAWS, warmup=WARMUP, samples=DRAWS // 2), **settings)
print(reference.warnings or "the chains have converged", reference.record["diagnostics"])


def draws_of(fitted: rb.Fitted, count: int | None = None) -> np.ndarray:
    """Expected click rate of the test rows under each weight draw, [S, N]."""
    return np.asarray(fitted.predict(test, draws=count).draw_means(), np.float64)[:, :, 0]


exact = draws_of(reference)
mean, doubt = exact.mean(axis=0), exact.std(axis=0, ddof=1)
order = np.argsort(mean)[:: max(1, len(mean) // 60)]

figure, axes = plt.subplots()
axes.fill_between(
    np.arange(len(order)),
    *(100 * np.quantile(exact[:, order], q, axis=0) for q in (0.05, 0.95)),
    color=BLUE,
    alpha=0.2,
    label="90% of draws",
)
axes.plot(100 * mean[order], color=BLUE, linewidth=2.5, label="average over the weights")
axes.plot(100 * draws_of(most_probable)[0, order], color=ORANGE, linewidth=1.2, label="MAP, one setting")
axes.set(title="Average over weights: a rate and a doubt", xlabel="test packages, in order", ylabel="click rate, %")
axes.legend(frameon=False)

# %% [markdown]
# ## 6. Monte Carlo: a sum in the integral's place
#
# $\int f(w) P(w \mid D) dw \approx \frac{1}{S} \sum_s f(w_s)$. Its error falls as $1 / \sqrt{S}$ whatever the number of weights: no bias,
# only noise, and four times the draws halve it.

# %%
errors = {"NUTS": by_draws(exact, mean, doubt, sizes=[s for s in (2, 4, 8, 16, 32, 64, 128) if s <= DRAWS // 4])}


def draw_errors(errors: dict[str, list[dict[str, float]]]) -> None:
    """Error of the predictive mean by the number of draws, beside 1 / sqrt(S)."""
    sizes = np.array([record["draws"] for record in errors["NUTS"]], float)
    _, axes = plt.subplots()
    axes.plot(sizes, 1 / np.sqrt(sizes), color=GREY, linestyle=":", label="1 / √S")
    for (name, records), colour in zip(errors.items(), (BLUE, ORANGE, GREEN)):
        axes.plot([r["draws"] for r in records], [r["mean_error"] for r in records], "o-", color=colour, label=name)
    axes.set(title="Error of the mean, in stddevs of the posterior", xlabel="draws, S", xscale="log", yscale="log")
    axes.legend(frameon=False)


draw_errors(errors)

# %% [markdown]
# ## 7. Variational inference: a simple distribution in the posterior's place
#
# Choose $q(w) = \prod_i N(w_i; m_i, s_i^2)$ as close to the posterior as such a product can be, by maximising
#
# $$\mathrm{ELBO} = E_q[\log P(D \mid w)] - \mathrm{KL}(q \,\|\, P(w)) .$$
#
# It trains like any network and takes networks of any size. But weights that the data tie together are independent under $q$: it has a
# bias that no number of draws removes, and the curve comes to rest where the chain's would go on falling. Trained to the end, as here, that
# bias is a tenth of the posterior's own spread; stopped early it is many times that.

# %%
variational = rb.fit(train, posterior=rb.mean_field(), **settings)
simple = draws_of(variational, DRAWS)
errors["mean field"] = by_draws(simple, mean, doubt)
draw_errors(errors)
print({name: round(value, 3) for name, value in distance(simple, mean, doubt).items()})

# %% [markdown]
# ## 8. Dropout: masks as draws
#
# Leave dropout on when predicting: each of $T$ passes switches off random units, and their spread is read as doubt. It costs nothing in
# training. Its spread is set by the dropout rate, not by the amount of data: a doubt that does not shrink as the log grows.
#
# ## 9. Ensembles: several models that differ
#
# Train several models, each on a bootstrap of the tests and with a random function of its own added. Where data are plenty they agree;
# elsewhere they keep their differences. To see it, imagine that every test had been run several times over with the same outcome: doubt
# about the weights should fall with the square root of the number. (Dropout needs hidden units, so its model has some.)


# %%
def repeated(times: int) -> rb.Log:
    """The training tests so many times over, each time as tests of their own."""
    table = train.table.to_pandas()
    copies = [table.assign(clickability_test_id=table.clickability_test_id.astype(str) + f" {copy}") for copy in range(times)]
    columns = {"clicks": "clicks", "impressions": "impressions", "group": "clickability_test_id", "time": "test_created_at"}
    return rb.read_log(pd.concat(copies), features=["headline"], **columns)


spreads = {}
for name, changed in {
    "dropout": {"posterior": rb.mc_dropout(draws=64), "model": rb.mlp(embedding=8, hidden=(16,), dropout=0.1), "learning_rate": 0.01},
    "ensemble": {"posterior": rb.ensemble(members=MEMBERS)},
}.items():
    for size, times in {"these tests": 1, f"{TIMES} times the tests": TIMES}.items():
        steps = {"epochs": max(1, EPOCHS * 4 // (4 + times)), "batch_size": 128 * max(1, times // 2)}
        means = draws_of(rb.fit(repeated(times), **{**settings, **changed, **steps}))
        spreads[name, size] = float(np.median(means.std(axis=0, ddof=1) / means.mean(axis=0)))

figure, axes = plt.subplots(figsize=(5.5, 3))
labels = [f"{name}, {size}" for name, size in spreads]
axes.barh(labels, [100 * value for value in spreads.values()], color=[GREY, BLUE] * 2)
axes.set(title="Does doubt shrink as the log grows?", xlabel="model stddev, % of the rate")
axes.invert_yaxis()

# %% [markdown]
# ## 10. Three kinds of not knowing
#
# By the law of total variance the spread of a click rate has two parts, and an observed rate a third:
#
# $$\underbrace{E_w[\mathrm{Var}(p \mid w)]}_{\text{data}} + \underbrace{\mathrm{Var}_w(E[p \mid w])}_{\text{model}}
# \quad\text{and}\quad \underbrace{E[p (1 - p)] / r}_{\text{measurement}} .$$
#
# *Data*: headlines differ in ways that the features don't tell; more rows don't help, showing the package does. *Model*: more rows help.
# *Measurement*: noise of few impressions, gone once it is shown often.

# %%
predictive = reference.predict(test)
rate = np.asarray(predictive.mean)[:, 0]
data, model = (np.asarray(part)[:, 0] for part in predictive.split())
impressions = np.geomspace(10, 30_000, 30)
noise = [np.median(np.asarray(predictive.measurement_stddev(tf.constant(n, tf.float32)))[:, 0] / rate) for n in impressions]

figure, axes = plt.subplots()
axes.plot(impressions, noise, color=GREY, linewidth=2.5, label="measurement")
axes.axhline(np.median(data / rate), color=ORANGE, linewidth=2.5, label="data")
axes.axhline(np.median(model / rate), color=BLUE, linewidth=2.5, label="model")
axes.set(title="Where the spread of an observed rate comes from", xlabel="impressions", ylabel="relative", xscale="log", yscale="log")
axes.legend(frameon=False)

# %% [markdown]
# ## 11. Exploration: what doubt is for
#
# A package that nobody has shown may be the best. UCB shows the largest mean plus a multiple of the doubt; Thompson sampling draws a
# rate of each package from its distribution and shows the winner, so each is shown as often as it is believed to be the best. As
# clicks come in, `condition` narrows the distributions and exploring ends by itself.

# %%
at = int(np.argmax(np.bincount(test.segments[0])))
page = test.take(test.segments[0] == at)
arms = len(page)
density = reference.densities(page)  # [draws, packages]
shares = {}
for share in (0.0, 0.05, 1.0):
    seen = [tf.constant(share * np.asarray(counts), tf.float32) for counts in (page.clicks, page.impressions)]
    here = rb.Predictive.from_draws(tf.nest.map_structure(lambda leaf: leaf[:, None], density.condition(*seen)))
    clock = Clock(step=tf.zeros([1]), remaining=tf.fill([1], 10_000.0), batch=tf.fill([1], 100.0))
    chances = {
        name: policy.probabilities(here, tf.ones([1, arms], tf.bool), clock, tf.constant([0, 1])).numpy()[0]
        for name, policy in {"UCB": rb.ucb(), "Thompson": rb.thompson(draws=1000)}.items()
    }
    shares[share] = chances["Thompson"]

figure, axes = plt.subplots(figsize=(8, 0.45 * arms + 1.4))
for shift, ((share, chance), colour) in enumerate(zip(shares.items(), (GREY, ORANGE, BLUE))):
    axes.barh(np.arange(arms) + 0.27 * (shift - 1), chance, height=0.25, color=colour, label=f"after {share:.0%} of its impressions")
axes.set(
    title="Thompson's probability of showing each package",
    yticks=np.arange(arms),
    yticklabels=[f"{number}. {str(h)[:56]}" for number, h in enumerate(page.column("headline").to_pylist(), 1)],
)
axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.2, -0.12), ncols=3)

# %% [markdown]
# All of it together, every method on the same rows with its costs: `recbayes compare compare`, and how to read its table:
# `docs/comparison.md`. What exploring earns on whole tests: `notebooks/quickstart.py`.
