"""A model that this project did not write, of layers that it does not know, under every posterior."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from small import features, log

import recbayes as rb
from recbayes import plugins

SETTINGS: dict[str, dict[str, Any]] = {
    "mle": {},
    "map": {},
    "last_layer": {"draws": 4},
    "mean_field": {"draws": 4, "anneal": 2},
    "mc_dropout": {"draws": 4},
    "ensemble": {"members": 2},
    "epinet": {"draws": 4},
    "neural_linear": {"draws": 4},
    "sgld": {"draws": 8, "thin": 2, "burn_in": 4},
    "nuts": {"draws": 4, "chains": 2, "warmup": 10, "samples": 4},
}
FIT: dict[str, dict[str, Any]] = {"nuts": {"group_effect": False}}
"""A chain takes thousands of passes, and a page effect makes each of them ten."""


def build(specs: Mapping[str, Any], size: int, location: Any) -> keras.Model:
    """A nested tower with attention over words, layer norms, an embedding used twice: nothing of recbayes' own layers."""
    inputs, parts = {}, []
    for name, spec in specs.items():
        if spec.kind == "bag":
            inputs[name] = keras.Input((spec.length,), name=name, dtype="int32")
            words = keras.layers.Embedding(spec.size, 4, name="words")(inputs[name])
            parts.append(keras.layers.GlobalMaxPooling1D()(keras.layers.Attention()([words, words])))
        elif spec.kind == "ids":
            inputs[name] = keras.Input((), name=name, dtype="int32")
            looks = keras.layers.Embedding(spec.size, 4, name="looks")
            parts.append(keras.layers.Multiply()([looks(inputs[name]), looks(inputs[name])]))
        else:
            inputs[name] = keras.Input((spec.size,), name=name)
            parts.append(inputs[name])
    joined = keras.layers.LayerNormalization()(keras.layers.Concatenate()(parts))
    tower = keras.Sequential([keras.layers.Dense(6, activation="gelu"), keras.layers.UnitNormalization()], name="tower")(joined)
    dropped = keras.layers.Dropout(0.2, noise_shape=(1, 6))(tower)
    skipped = keras.layers.Dense(6, use_bias=False)(joined)
    return keras.Model(inputs, keras.layers.Dense(size, name="head")(keras.layers.Add()([dropped, skipped])))


def test_no_posterior_is_left_out() -> None:
    assert set(SETTINGS) == set(plugins.kinds("posteriors:Posterior"))


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_fitted_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """Users bring their own network: its answers must survive the run folder, and its doubt be one function of the row."""
    posterior = getattr(rb, name)(**SETTINGS[name])
    fitted = rb.fit(
        log(groups=20), features=features(), model=build, posterior=posterior, epochs=2, batch_size=32, held_out=0.0, **FIT.get(name, {})
    )
    test = log(groups=4, seed=3)
    predictive = fitted.predict(test)
    assert np.isfinite(np.asarray(predictive.stddev)).all()
    assert (np.asarray(predictive.split()[1]) > 0).all() == (name not in ("mle", "map"))
    fitted.save(tmp_path)
    again = rb.load(tmp_path).predict(test)
    np.testing.assert_array_equal(again.mean, predictive.mean)
    np.testing.assert_array_equal(again.stddev, predictive.stddev)
    same = {k: np.repeat(np.asarray(test.column(k))[:1], 3) for k in ("headline", "image", "at")}
    outputs = np.asarray(fitted.densities(same).mean)
    # Equal but for rounding: a matrix product of an odd number of rows rounds its last one differently, by 6e-7 here.
    np.testing.assert_allclose(outputs[:, 0], outputs[:, 2], rtol=2e-6)
