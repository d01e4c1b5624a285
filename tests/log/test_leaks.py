"""Leaks: what was made from the clicks is found, what is merely good is left alone."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from log.logs import UPWORTHY, upworthy

from recbayes.log import audit, read_log
from recbayes.log.checks.leaks import Z_EDGE, edge, leaks, separation

GROUPS, ARMS = 400, 5


def simulated(seed, clicks=30, arms_stddev=0.25, pages_stddev=0.6, groups=GROUPS):
    """A randomised log with its true rates: pages differ, arms differ less."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), ARMS)
    rate = np.clip(0.02 * np.exp(rng.normal(0, pages_stddev, groups)[group] + rng.normal(0, arms_stddev, len(group))), 1e-4, 0.5)
    shown = rng.poisson(clicks / 0.02, len(group)) + 1
    return rng, pd.DataFrame({"group": group, "shown": shown, "clicks": rng.binomial(shown, rate)}), rate


def verdicts(table, **features):
    """Feature -> severity of the leak finding that names it."""
    log = read_log(table.assign(**features), clicks="clicks", impressions="shown", group="group", features=list(features))
    found = list(leaks(log))
    return {name: next((f.severity for f in found if f.message.startswith(f"{name} ")), "ok") for name in features}


@pytest.mark.parametrize("arms_stddev", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("clicks", [12, 100])
def test_honest_features_are_left_alone(arms_stddev, clicks):
    """The true rates themselves are no proof of a leak, and weaker features are not even suspicious.

    alarm 1e-2 for right code over all cases (8 seeds x 7 features x 6 cases at below 1e-4 each).
    """
    for seed in range(8):
        rng, table, rate = simulated(seed, clicks, arms_stddev)
        n = len(table)
        names = np.array([f"writer {i}" for i in range(40)])[rng.integers(0, 40, n)]
        found = verdicts(
            table,
            noise=rng.normal(size=n),
            half=np.log(rate) + rng.normal(0, 0.4, n),
            flag=(rate > np.quantile(rate, 0.8)) & (rng.random(n) < 0.5),
            writer=names,
            quality=np.where(np.log(rate / 0.02) > 0.3, "good", names),
            page=table.group.to_numpy() * 1.0,
            shown_before=table.shown.to_numpy() * 1.0,
        )
        assert found == dict.fromkeys(found, "ok"), seed
        assert verdicts(table, rate=rate)["rate"] != "fail", seed


def test_what_was_made_from_the_clicks_is_proven():
    """Rates, ranks, winners and labels computed from the clicks stop the training, whatever their type."""
    for seed in range(5):
        _, table, _ = simulated(seed)
        observed = table.clicks / table.shown
        by_group = observed.groupby(table.group)
        found = verdicts(
            table,
            observed=observed,
            copy=table.clicks * 7.0,
            rounded=(observed * 500).round(),
            rank=by_group.rank(),
            best=observed == by_group.transform("max"),
            label=np.where(observed > by_group.transform("median"), "hot", "cold"),
        )
        assert found == dict.fromkeys(found, "fail"), seed


def test_without_groups_rows_are_compared_with_any():
    """A log without groups has leaks too."""
    rng, table, rate = simulated(3)
    observed = table.clicks / table.shown
    log = read_log(
        table.assign(observed=observed, half=rate * np.exp(rng.normal(0, 0.5, len(table)))),
        clicks="clicks",
        impressions="shown",
        features=["observed", "half"],
    )
    assert [f.severity for f in leaks(log)] == ["fail", "ok"]


def test_upworthys_outcome_columns():
    """The archive's significance and first_place are proven, its winner (picked by people who had seen the clicks) is suspicious; what
    was known before the test is neither."""
    found = audit("example:upworthy", **UPWORTHY).findings
    by_severity = {
        severity: [f.message.split()[0] for f in found if f.check == "leaks" and f.severity == severity] for severity in ("fail", "warn")
    }
    assert by_severity == {"fail": ["significance", "first_place"], "warn": ["winner"]}


def test_a_value_that_exists_only_after_a_click():
    """Seconds on the page are known for clicks only: their absence tells the outcome. One click a row."""
    rng = np.random.default_rng(0)
    click = rng.random(20_000) < 0.02
    table = pa.table({"clicks": click, "seconds": pa.array(rng.exponential(30, 20_000), mask=~click), "age": rng.normal(size=20_000)})
    found = list(leaks(read_log(table, clicks="clicks")))
    assert [(f.severity, f.message.split()[0]) for f in found] == [("warn", "seconds"), ("ok", "No")]


def test_lists_are_not_judged():
    """A list has no order to compare rows by; it is left out in silence, not called clean."""
    log = read_log(pa.table({"clicks": [1, 0] * 50, "tags": [["a"], ["b"]] * 50}), clicks="clicks")
    assert list(leaks(log)) == []


def test_the_edge_is_exact_for_normal_noise():
    """Any blur of a unit normal passes; a truncated one does not.

    alarm 1e-4 for right code; a density that is cut at 0 is seen with power above 0.999.
    """
    rng = np.random.default_rng(1)
    n = 20_000
    honest = [
        rng.normal(size=n),
        1.5 + rng.normal(size=n),
        rng.choice([-3.0, 0.0, 2.0], n) + rng.normal(size=n),
        rng.standard_t(3, n) + rng.normal(size=n),
    ]
    assert max(edge(z, np.arange(n)) for z in honest) < Z_EDGE / 2
    assert edge(np.abs(rng.normal(size=n)), np.arange(n)) > 1.5 * Z_EDGE


def test_separation_is_the_area_under_the_curve():
    """Against counting all pairs of a click and a miss by hand."""
    rng = np.random.default_rng(2)
    clicks, shown, score = rng.integers(0, 3, 200), rng.integers(3, 6, 200), rng.integers(0, 9, 200).astype(float)
    hit, miss = np.repeat(score, clicks), np.repeat(score, shown - clicks)
    area = ((hit[:, None] > miss) + 0.5 * (hit[:, None] == miss)).mean()
    area = max(area, 1 - area)
    assert separation(score, clicks, shown) == pytest.approx(area - 3 * np.sqrt(area * (1 - area) / len(hit)))


def test_large_logs_are_judged_by_a_part(monkeypatch):
    """The check's work is bounded, and its verdict the same."""
    monkeypatch.setattr("recbayes.log.checks.leaks.MOST_ROWS", 5_000)
    log = upworthy("headline", "significance")
    assert {f.severity for f in leaks(log)} == {"fail", "ok"}
