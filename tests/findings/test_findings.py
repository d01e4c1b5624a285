"""Findings of a small model whose data have known faults: each must be seen, and the sentence must say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from small import features, frame, log

import recbayes as rb
from recbayes.features import categorical, numeric
from recbayes.findings import exposure, findings, left_out, within
from recbayes.findings.explained import between, explained
from recbayes.findings.hidden import hidden
from recbayes.findings.surprises import surprises


@pytest.fixture(scope="module")
def fitted() -> Any:
    return rb.fit(log(groups=80), features=features(), posterior=rb.last_layer(draws=8), epochs=3, batch_size=64, held_out=0.0)


@pytest.fixture(scope="module")
def predictions(fitted: Any) -> pd.DataFrame:
    train, test = log(groups=80), log(groups=20, seed=3)
    return rb.calibrate(fitted, train, test, draws=256)[1]


def test_every_finding_says_what_to_do(fitted: Any, predictions: pd.DataFrame) -> None:
    """findings.json's contract: every key, a sentence each, and numbers that JSON can hold."""
    found = findings(fitted, log(groups=80), log(groups=20, seed=3), predictions)
    assert list(found) == ["hidden", "item", "values", "explained", "within", "surprises", "left_out"]
    assert found["left_out"] is None
    records = [*found["hidden"], found["item"], *found["values"], found["explained"], *found["within"], found["surprises"]]
    assert all(record["says"].endswith(".") for record in records)
    assert [record["feature"] for record in found["hidden"]] == ["headline", "image"]
    assert all(len(record[part]) == 2 for record in found["hidden"] for part in ("data", "model"))
    assert "NaN" not in str(found)


def test_a_hidden_feature_that_matters_moves_the_mean(fitted: Any) -> None:
    """Words carry the rates here and images nothing: hiding the headline moves more than hiding the image."""
    by_name = {record["feature"]: record for record in hidden(fitted, log(groups=80), log(groups=20, seed=3))}
    assert by_name["headline"]["mean_change"] > by_name["image"]["mean_change"]
    assert by_name["image"]["share_known"] > 0.9


def test_uncertainty_shrinks_as_an_item_is_shown(fitted: Any) -> None:
    """Against the closed form far out: with n impressions a rate p is known to sqrt((1 - p) / (n p)) of itself, "
    "whatever was believed before."""
    found = exposure.item(fitted, log(groups=20, seed=3))["curve"]
    total = [point["total"] for point in found]
    assert (np.diff(total) < 0).all()
    rate = float(np.median(np.asarray(fitted.predict(log(groups=20, seed=3)).mean)))
    expected = np.sqrt((1 - rate) / (found[-1]["impressions"] * rate))
    assert 0.75 < total[-1] / expected < 1.1


def test_values_are_put_by_what_training_showed_of_them(predictions: pd.DataFrame) -> None:
    """New values apart, and the advice is to collect where nothing was shown."""
    train, test = log(groups=80), log(groups=20, seed=3)
    found = exposure.values(predictions, train, test, "image")
    assert sum(part["rows"] for part in found["parts"]) == len(test)
    shown = train.to_pandas().groupby("image").shown.sum()
    assert found["most"][0]["impressions"] in set(shown.astype(float))
    renamed = rb.read_log(
        frame(groups=20, seed=3).assign(image="unseen"),
        clicks="clicked",
        impressions="shown",
        item="item",
        group="page",
        features=("image",),
    )
    says = exposure.values(predictions, train, renamed, "image")["says"]
    assert says.startswith("80 of 80 test rows have values of image that training never saw")


def test_the_feature_that_makes_the_doubt_is_found() -> None:
    """Doubt planted where a number is large: it explains most, and its advice is of its kind."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0, 1, 400)
    made = pd.DataFrame({"c": 10, "n": 1000, "size": size, "image": rng.choice(["a", "b"], 400)})
    made_log = rb.read_log(made, clicks="c", impressions="n", features=("size", "image"))
    doubt = pd.DataFrame({"mean": 0.01, "model_stddev": 0.001 * np.exp(2 * size + 0.1 * rng.normal(size=400))})
    found = explained([categorical("image"), numeric("size")], doubt, made_log, made_log)
    assert [record["feature"] for record in found["features"]] == ["size", "image"]
    assert found["features"][0]["share"] > 0.9
    assert found["features"][1]["share"] < 0.05
    assert found["features"][0]["most"]["part"] == "tenth 10 of 10"
    assert "collect more rows in the ranges" in found["says"]
    point = explained([numeric("size")], doubt.assign(model_stddev=0.0), made_log, made_log)
    assert "no doubt of its own" in point["says"]


def test_chance_explains_nothing() -> None:
    """Parts that mean nothing get a share near 0 (adjusted: under .03 of 2,000 rows, alarm 1e-6), however many there are."""
    rng = np.random.default_rng(1)
    assert between(rng.normal(size=2000), rng.integers(0, 40, 2000), np.ones(2000))["share"] < 0.03


def test_the_spread_within_groups_is_net_of_noise() -> None:
    """Logit spread .3 within groups, of which a feature catches half the variance: recovered within 15%; without spread it says so."""
    rng = np.random.default_rng(2)
    groups, arms = 400, 4
    known, unknown = (rng.normal(0, 0.3 / np.sqrt(2), groups * arms) for _ in range(2))
    level = -4 + np.repeat(rng.normal(0, 0.5, groups), arms)
    rates = 1 / (1 + np.exp(-(level + known + unknown)))
    shown = np.full(groups * arms, 4000)
    made = pd.DataFrame({"clicks": rng.binomial(shown, rates), "impressions": shown, "mean": 1 / (1 + np.exp(4 - known))})
    codes = np.repeat(np.arange(groups), arms)
    found = within.one("page", codes, made, codes)
    assert found is not None
    assert abs(found["seen"] / 0.3 - 1) < 0.15
    assert abs(found["caught"] - 0.5) < 0.1
    flat = made.assign(clicks=rng.binomial(shown, 1 / (1 + np.exp(-level))))
    found = within.one("page", codes, flat, codes)
    assert found is not None
    assert found["seen"] < 0.1
    assert within.one("page", np.arange(1600), made, codes) is None


def test_rows_that_were_sure_and_wrong_are_listed(predictions: pd.DataFrame) -> None:
    """Two planted rows come out; a log as expected raises no alarm; thirty planted ones do, on the side where they are."""
    quiet = predictions.assign(pit=0.5)
    assert surprises(quiet)["rows"] == 0
    assert "about as many as chance makes" in surprises(quiet)["says"]
    two = quiet.copy()
    two.loc[[3, 40], "pit"] = [0.999, 0.001]
    found = surprises(two)
    assert found["listed"] == [3, 40]
    assert (found["rows"], found["high"]) == (2, 1)
    many = quiet.copy()
    many.loc[:29, "pit"] = 0.9999
    assert "30 with more clicks than it thought possible, 0 with fewer" in surprises(many)["says"]


def test_rare_values_are_left_out_and_the_model_trained_again() -> None:
    """Half of the rare values go, both trainings are judged, the rows left out are new to the second only."""
    made = frame(groups=60, seed=0)
    made["image"] = [f"rare{i // 2}" if i < 160 else value for i, value in enumerate(made.image)]
    train = rb.read_log(made, clicks="clicked", impressions="shown", item="item", group="page", time="at", features=("headline", "image"))
    sizes = []

    def fit(part: Any) -> Any:
        sizes.append(len(part))
        return rb.fit(part, features=features(), posterior=rb.last_layer(draws=4), epochs=1, batch_size=64, held_out=0.0)

    found = left_out.left_out(fit, train, log(groups=10, seed=3), "image", rare=2)
    assert sizes == [240, 160]
    assert found["rows"] == 80
    assert len(found["log_likelihood"]) == len(found["model"]) == 2
    assert found["says"].startswith("Without 80 rows of rare values of image the held-out log-likelihood goes from")
    assert "too few to leave out" in left_out.left_out(fit, train.take(range(40)), train, "image", rare=2)["says"]
    assert len(sizes) == 2
