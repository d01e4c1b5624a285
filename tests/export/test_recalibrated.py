"""A recalibrated model's export: its interval, for a consumer that has no recbayes."""

import dataclasses
import json
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import recbayes as rb
from recbayes.calibration import Recalibration
from recbayes.export import Scorer, predict
from recbayes.export.saving import call
from recbayes.predictive import Predictive

MAP = Recalibration(0.15, 0.8, 0.05, 0.04, 500, 120)


@pytest.fixture(scope="module")
def mapped(fitted):
    return dataclasses.replace(fitted, recalibration=MAP)


@pytest.fixture(scope="module")
def alone(train_log):
    """A model without a page effect."""
    features, method = [rb.text("headline"), rb.categorical("image-id")], rb.last_layer(draws=8)
    fitted = rb.fit(train_log, features=features, posterior=method, group_effect=False, epochs=1, held_out=0.0)
    return dataclasses.replace(fitted, recalibration=MAP)


@pytest.fixture(scope="module")
def folder(mapped, tmp_path_factory):
    """A run folder whose model, with a page effect, and export are recalibrated."""
    path = tmp_path_factory.mktemp("mapped")
    mapped.save(path / "model")
    rb.export(mapped, rb.ucb(), path / "export", draws=8)
    return path


def asked(scorer, clicks, impressions, rows=12):
    names = {entry.feature: entry.name for entry in scorer.inputs["click_rate"] if entry.feature}
    counts = {"clicks": np.broadcast_to(clicks, rows), "impressions": np.broadcast_to(impressions, rows)}
    return {names[feature]: values for feature, values in scorer.encoder.example(rows).items()} | counts


def answers(scorer, request):
    """Uncompiled: a graph for each model takes longer than all its answers."""
    return call(scorer.click_rate, request, scorer.inputs["click_rate"])


def off(got, fitted, rows):
    """How far the ends are from the model's own recalibrated quantiles, in standard deviations."""
    density = tf.nest.map_structure(lambda leaf: leaf[:, :, None], fitted.densities(rows, draws=8))
    effect = {"group_effect": fitted.group_effect, "nodes": 201} if fitted.group else {}
    law = Predictive.from_draws(density, **effect)
    ends = (np.abs(got[name] - law.quantile(MAP.level(q))[:, 0]) for name, q in (("lower", 0.05), ("upper", 0.95)))
    return (np.maximum(*ends) / np.asarray(law.stddev)[:, 0]).max()


def test_without_a_page_effect_ends_are_closer(alone):
    """The map is applied to another law than the model's."""
    scorer = Scorer(alone, draws=8)
    assert off(answers(scorer, asked(scorer, 0, 0)), alone, scorer.encoder.example(12)) < 0.05


def test_unseen_rows_get_the_recalibrated_interval(folder, mapped, monkeypatch):
    """The SavedModel answers 5 to 95% of the model's own law though its coverage was found wrong."""
    served = tf.saved_model.load(str(folder / "export" / "1")).signatures["click_rate"]
    scorer = Scorer(mapped, draws=8)
    request = asked(scorer, 0, 0)
    kinds = {entry.name: entry.dtype for entry in scorer.inputs["click_rate"]}
    got = {k: v.numpy() for k, v in served(**{name: tf.constant(value, kinds[name]) for name, value in request.items()}).items()}
    names = {entry.name: entry.feature for entry in scorer.inputs["click_rate"] if entry.feature}
    # .1 as in test_serving: eight draws that disagree this much, each with nodes of its own, are a comb
    assert off(got, mapped, {names[name]: value for name, value in request.items() if name in names}) < 0.1
    plain = answers(Scorer(dataclasses.replace(mapped, recalibration=None), draws=8), request)
    for name in ("mean", "data_stddev", "model_stddev", "stddev"):
        np.testing.assert_allclose(got[name], plain[name], rtol=1e-5)
    assert (got["lower"] > plain["lower"]).all()
    monkeypatch.setattr(sys.modules["recbayes.export.scorer"], "INTERVAL", (MAP.level(0.05), MAP.level(0.95)))
    same = answers(Scorer(dataclasses.replace(mapped, recalibration=None), draws=8), request)
    np.testing.assert_allclose([got["lower"], got["upper"]], [same["lower"], same["upper"]], rtol=1e-4)


def test_own_counts_take_over(mapped):
    """A million impressions say what the rate is: the map, which was fitted to rows without counts, must not narrow that."""
    plain = Scorer(dataclasses.replace(mapped, recalibration=None), draws=8)
    scorer = Scorer(mapped, draws=8)
    shown = np.tile([0, 300, 3000, 1_000_000], 6)
    request = asked(scorer, shown // 50, shown, rows=24)
    ours, theirs = answers(scorer, request), answers(plain, request)
    width, apart = theirs["upper"] - theirs["lower"], np.abs(ours["lower"] - theirs["lower"])
    moved = [apart[level::4].mean() / width[level::4].mean() for level in range(4)]
    assert moved[0] > moved[1] > moved[2] > moved[3]
    assert moved[3] < 0.002
    mixed = answers(scorer, asked(scorer, [0, 400] * 6, [0, 20_000] * 6))
    np.testing.assert_allclose(mixed["lower"][::2], answers(scorer, asked(scorer, 0, 0))["lower"][::2], rtol=2e-2)


def test_metadata_says_so_and_check_holds(folder):
    """What a consumer is told, and that the export is the model's that lies beside it."""
    told = json.loads((folder / "export" / "metadata.json").read_text())["model"]["recalibration"]
    assert told["outputs"] == ["lower", "upper"]
    assert told["levels"] == {"lower": MAP.level(0.05), "upper": MAP.level(0.95)}
    assert rb.check(folder).ok


def test_predict_follows_the_map(folder, mapped, rows, tmp_path):
    """`recbayes predict` and predictions.parquet must not differ in what 90% means."""
    rows.to_parquet(tmp_path / "rows.parquet")
    predict(folder, tmp_path / "rows.parquet", tmp_path / "out.parquet")
    predict(dataclasses.replace(mapped, recalibration=None), tmp_path / "rows.parquet", tmp_path / "plain.parquet")
    ours, theirs = pd.read_parquet(tmp_path / "out.parquet"), pd.read_parquet(tmp_path / "plain.parquet")
    assert ((ours.upper - ours.lower) < (theirs.upper - theirs.lower)).all()
    np.testing.assert_allclose(ours["mean"], theirs["mean"], rtol=1e-4)
