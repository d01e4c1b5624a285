"""Randomisation: random shares pass, the archive's flagged window and adaptive logs do not."""

import numpy as np
import pandas as pd
import scipy.stats
from log.logs import UPWORTHY

from recbayes.log import read_log
from recbayes.log.checks.randomisation import Z_FOLLOWS, Arms, equal_shares, follows_clicks, randomisation

ROLES = {"clicks": "clicks", "impressions": "shown", "item": "arm", "group": "group", "features": []}


def randomised(rng, groups=500, arms=4, impressions=4_000, probabilities=None):
    shown = rng.multinomial(impressions, probabilities or [1 / arms] * arms, groups)
    clicks = rng.binomial(shown, np.clip(rng.lognormal(np.log(0.02), 0.4, shown.shape), 0, 0.5))
    return pd.DataFrame(
        {
            "group": np.repeat(np.arange(groups), arms),
            "arm": np.tile(np.arange(arms), groups),
            "shown": shown.ravel(),
            "clicks": clicks.ravel(),
        }
    )


def severities(table, **roles):
    return {finding.check: finding.severity for finding in randomisation(read_log(table, **(ROLES | roles)))}


def test_random_shares_pass():
    """A fair log is not accused.

    alarm below 1e-2 for right code over 20 logs: each needs 6 of 500 groups at p < 1e-3 (1e-5), or |z| > 4 (6e-5).
    """
    for seed in range(20):
        assert severities(randomised(np.random.default_rng(seed))) == {"randomisation": "ok"}


def test_p_values_are_uniform():
    """Against the uniform distribution: alarm 1e-4 for right code."""
    table = randomised(np.random.default_rng(0), groups=4_000)
    p_values = equal_shares(table.shown.to_numpy(float), table.group.to_numpy())
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 1e-4


def test_unequal_shares_are_seen():
    """Five percent more of one arm in every group."""
    assert severities(randomised(np.random.default_rng(0), probabilities=[0.28, 0.24, 0.24, 0.24]))["randomisation"] == "warn"


def test_the_archives_flagged_window():
    """The authors of the archive found the randomisation faulty from June 2013 to January 2014: inside, most tests alarm; outside, as
    many as six in a thousand."""
    log = read_log("example:upworthy", **UPWORTHY, features=["randomization_imbalance_window"])
    inside = log.column("randomization_imbalance_window").to_numpy()
    shares = []
    for rows in (inside, ~inside):
        part = log.take(rows)
        shares.append((equal_shares(part.impressions.astype(float), part.segments[0]) < 1e-3).mean())
    assert shares[0] > 0.65
    assert shares[1] < 0.01
    message = next(f.message for f in randomisation(log) if f.check == "randomisation")
    assert "80% of their rows between 2013-07-12 and 2013-12-13" in message


def test_an_adaptive_log_is_seen():
    """Where impressions went to what was clicked, recorded outcomes cannot be replayed as if drawn at random."""
    rng = np.random.default_rng(0)
    table = randomised(rng, groups=300, impressions=2_000)
    best = table.groupby("group").clicks.transform(lambda clicks: clicks == clicks.max())
    more = rng.binomial(2_000, 0.02, len(table))
    table.loc[best, "shown"] += 2_000
    table.loc[best, "clicks"] += more[best]
    assert severities(table)["shown_by_outcome"] == "warn"


def test_scores_are_centred():
    """The z-score of fair logs has mean 0 and variance 1: alarm 1e-4 for right code."""
    z = [follows_clicks(arms_of(randomised(np.random.default_rng(seed), groups=100))) for seed in range(200)]
    assert abs(np.mean(z)) < 3.9 / np.sqrt(200)
    assert 0.65 < np.var(z) < 1.45
    assert max(map(abs, z)) < Z_FOLLOWS


def arms_of(table):
    return Arms(*(table[name].to_numpy(float) for name in ("clicks", "shown")), table.group.to_numpy())


def test_rows_of_one_arm_are_summed():
    """An arm logged by the hour is one arm: only its total must be even."""
    table = randomised(np.random.default_rng(0), groups=200)
    half = table.assign(shown=table.shown // 3, clicks=table.clicks // 3)
    rest = table.assign(shown=table.shown - half.shown, clicks=table.clicks - half.clicks)
    assert severities(pd.concat([half, rest])) == {"randomisation": "ok"}


def test_nothing_is_said_without_groups_or_with_propensities():
    """Propensities have their own check, and without groups nothing competes."""
    table = randomised(np.random.default_rng(0), groups=5).assign(p=0.25)
    assert severities(table, group=None) == {}
    assert severities(table, propensity="p") == {}
    assert severities(table.groupby("group").head(1)) == {}
