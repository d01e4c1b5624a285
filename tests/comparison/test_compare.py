"""The comparison: rows that hold what each method says, reasons where one fails, resumption, the stage and its files."""

from __future__ import annotations

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import small
import yaml
from helpers import recbayes

import recbayes as rb
from recbayes.comparison.judge import Judged
from recbayes.config import load, parse
from recbayes.pipelines.contest import check_section
from recbayes.types import UserError

module = import_module("recbayes.comparison.compare")  # the room's attribute of that name is the function
FIGURES = {
    **{"train_seconds": 2.0, "epoch_seconds": 0.1, "epochs": 3, "warnings": [], "log_likelihood_per_row": -4.0, "coverage": 0.9},
    **{"coverage_interval": [0.88, 0.92], "crps": None, "data_stddev": 0.5, "model_stddev": 0.1, "inference_seconds": 0.2},
    **{"inference_draws": 64, "lift": {}},
}


def made_up(kind, *, draws=64, scale=1.0, **row):
    """A judged method whose draws are normal about the same rates."""
    generator = np.random.default_rng(len(kind))
    rates = 0.02 + 0.002 * scale * generator.normal(size=(draws, 30)) if draws else None
    return Judged({"kind": kind, "settings": {}, "reason": None, "small_reason": None, **FIGURES, **row}, rates)


@pytest.fixture(scope="module")
def problem():
    train, test = small.log(groups=24).split(by="time", test_fraction=0.25)
    settings = {"features": small.features()[1:], "model": rb.linear(), "density": rb.beta_mixture(components=1), "group_effect": False}
    return rb.Problem(train, test, {**settings, "epochs": 2, "held_out": 0.0, "oov_share": 0.0})


@pytest.fixture(scope="module")
def found(problem):
    methods = {"map": rb.map(), "last_layer": rb.last_layer(), "mc_dropout": rb.mc_dropout()}
    return module.compare(problem, methods, replay=lambda fitted: {"density/ucb": 0.1})


def test_every_method_gets_a_row_with_all_figures(found):
    """A figure that is missing, or measured on something else than its neighbour's, makes the table useless."""
    by_name = {row["name"]: row for row in found.rows}
    for name in ("map", "last_layer"):
        row = by_name[name]
        assert row["reason"] is None
        assert -20 < row["log_likelihood_per_row"] < -1
        assert 0 <= row["coverage_interval"][0] <= row["coverage"] <= row["coverage_interval"][1] <= 1
        assert row["train_seconds"] > 0
        assert row["inference_seconds"] > 0
        assert row["lift"] == {"density/ucb": 0.1}
    assert by_name["map"]["model_stddev"] == 0.0 < by_name["last_layer"]["model_stddev"]
    assert (by_name["map"]["inference_draws"], by_name["last_layer"]["inference_draws"]) == (1, 64)
    assert by_name["map"]["train_ratio"] == 1.0


def test_a_method_that_fails_says_why_and_the_others_go_on(found):
    """mc_dropout on a network without dropout: hours of the others' work must not be lost."""
    row = found.rows[-1]
    assert "no dropout layer" in row["reason"]
    assert found.frame().set_index("name").loc["mc_dropout", "log_likelihood_per_row"] != 0.0
    assert "no figures of mc_dropout" in found.finding()
    json.dumps(found.to_json(), allow_nan=False)


def test_the_best_reference_that_is_there_is_named(found):
    """Without NUTS a distance is to another approximation, and a reader must know."""
    assert found.about["reference"] == {
        "name": "last_layer",
        "kind": "last_layer",
        "exact": False,
        "draws": 256,
        "rows": 24,
        "warnings": [],
    }
    judged = {name: made_up(name) for name in ("sgld", "nuts", "last_layer")}
    assert module.chosen_reference(judged) == "nuts"
    assert module.chosen_reference({"map": made_up("map", draws=1), "mle": made_up("mle", draws=0)}) is None
    assert module.chosen_reference({"short": made_up("nuts", draws=8), "long": made_up("nuts", draws=80)}) == "long"


def test_ratios_are_to_map_and_the_reference_is_not_judged_by_its_own_draws(problem):
    """A hand of all the reference's draws would be the reference: error 0, which no sampler has."""
    judged = {"map": made_up("map", draws=1), "nuts": made_up("nuts", train_seconds=6.0), "mean_field": made_up("mean_field", scale=0.5)}
    result = module.beside(judged, problem, None)
    rows = {row["name"]: row for row in result.rows}
    assert rows["nuts"]["train_ratio"] == 3.0
    assert abs(rows["mean_field"]["stddev_ratio"] - 0.5) < 0.15
    assert [record["draws"] for record in result.errors["nuts"]] == [2, 4, 8, 16]
    assert result.errors["mean_field"][-1]["draws"] == 64
    assert "map" not in result.errors
    without = module.beside({"nuts": judged["nuts"]}, problem, None)
    assert without.rows[0]["train_ratio"] is None


def test_an_interrupted_comparison_goes_on(problem, tmp_path, monkeypatch):
    """Ten methods take minutes: a kill in the last one must not cost the first nine."""
    begun = []

    def judge(posterior, *_, **__):
        begun.append(posterior.kind)
        if begun == ["map", "mle"]:
            raise KeyboardInterrupt
        return made_up(posterior.kind)

    monkeypatch.setattr(module, "judge", judge)
    monkeypatch.setattr(module, "warmed", lambda problem: True)
    methods = {"map": rb.map(), "mle": rb.mle()}
    with pytest.raises(KeyboardInterrupt):
        module.compare(problem, methods, checkpoint=tmp_path)
    resumed = module.compare(problem, methods, checkpoint=tmp_path)
    assert begun == ["map", "mle", "mle"]
    assert resumed == module.compare(problem, methods, checkpoint=tmp_path)
    module.compare(problem, {"map": rb.map(prior_scale=2.0)}, checkpoint=tmp_path)
    assert begun[-1] == "map", "another setting is another method"


def test_nothing_to_compare_says_what_to_write(problem):
    with pytest.raises(UserError, match="posteriors:"):
        module.compare(problem, {})


def test_the_stage_writes_its_files_and_its_section(tmp_path):
    """`recbayes compare` then `recbayes report`: the table is in the page."""
    few = {"features": [{"name": "at", "kind": "time", "side": "context"}], "train": {"epochs": 2, "held_out": 0}}
    config = {
        "log": small.section(tmp_path),
        "audit": {"accept": ["leaks", "randomisation"]},
        "features": [{"name": "image", "kind": "categorical"}, {"name": "at", "kind": "time", "side": "context"}],
        "model": "linear",
        "density": {"kind": "beta_mixture", "components": 1, "group_effect": False},
        "train": {"epochs": 1, "held_out": 0},
        "compare": {"posteriors": [{"kind": "last_layer", "draws": 16}], "small": few, "policies": ["density/greedy"], "seeds": 2},
        "simulate": {"world": {"kind": "queue", "steps": 3}, "policies": ["greedy"]},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    done = recbayes("compare", tmp_path / "my.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "run" / "comparison.parquet").set_index("name")
    assert list(frame.index) == ["last_layer"]
    assert frame["lift/density/greedy"].between(-0.5, 1.0).all()
    written = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert written["small"]["train_rows"] == written["problem"]["train_rows"] > 0
    assert [record["draws"] for record in written["error_by_draws"]["last_layer"]] == [2, 4, 8, 16, 32, 64]
    page = rb.report(tmp_path / "run").read_text(encoding="utf-8")
    assert "Posteriors side by side" in page
    assert "itself an approximation" in page


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["compare.policies=[density/ucbb]"], r"density/ucbb: no simulated policy over the model. There are: density/greedy, density/ucb"),
        (["compare.small.features=[{name: lede, kind: text}]"], "lede: only columns that `features` names"),
        (["compare.posteriors=[{kind: last_layer, draws: 0}]"], "draws is 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_fitted(overrides, message):
    """They would otherwise show after minutes, or as a row of reasons."""
    with pytest.raises(UserError, match=message):
        check_section(load("compare", overrides))


def test_two_posteriors_of_one_name_are_told():
    with pytest.raises(UserError, match="several posteriors are named map"):
        parse({"log": {"path": "x", "columns": {"clicks": "c"}}, "compare": {"posteriors": ["map", {"kind": "map", "prior_scale": 2}]}})


def test_every_posterior_there_is_takes_part_by_default():
    """A new file in posteriors/ is compared without another line."""
    names = [contender.name for contender in load("compare").compare.contenders()]
    assert {"map", "last_layer", "mean_field", "nuts", "sgld"} <= set(names)
