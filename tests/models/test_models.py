"""Networks: they start at the feature-free fit, order by linear weights, and never bend in time."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
from small import network

import recbayes as rb
from recbayes.features import Encoded
from recbayes.models import prior_stddevs
from recbayes.models.parts import BagEmbedding, OnLocation

MODELS = {"ddn": rb.ddn(), "ddn outer": rb.ddn(fusion="outer"), "mlp": rb.mlp(), "mlp wide": rb.mlp(wide=True), "linear": rb.linear()}
SPECS = {
    "headline": Encoded("bag", 9, "item", "headline", "text", length=4),
    "image": Encoded("ids", 5, "item", "image", "categorical"),
    "device": Encoded("ids", 3, "context", "device", "categorical"),
    "price": Encoded("dense", 2, "item", "price", "numeric"),
    "at": Encoded("dense", 1, "context", "at", "time"),
}


def some_rows(rows: int = 6, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {
        "headline": generator.integers(0, 9, (rows, 4)).astype(np.int32),
        "image": generator.integers(0, 5, rows).astype(np.int32),
        "device": generator.integers(0, 3, rows).astype(np.int32),
        "price": generator.normal(size=(rows, 2)).astype(np.float32),
        "at": generator.normal(size=(rows, 1)).astype(np.float32),
    }


def stirred(model: keras.Model, seed: int = 1) -> keras.Model:
    """The model with random weights everywhere."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(0.0, 0.5, variable.shape))
    return model


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_untrained_network_is_the_feature_free_fit(build: Any) -> None:
    """A network that starts elsewhere wastes epochs on finding the level, and small logs never do."""
    model = build(SPECS, 6, (2, 3))
    start = np.array([0.0, 0.0, -4.0, -4.0, 6.0, 7.0], np.float32)
    model.get_layer("head").bias.assign(start)
    np.testing.assert_allclose(model(some_rows()), np.tile(start, (6, 1)), atol=1e-6)


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_time_is_linear_also_far_beyond_the_training_range(build: Any) -> None:
    """A click model that bends in time is confidently wrong next month."""
    model, rows = stirred(build(SPECS, 6, (2, 3))), some_rows(1)
    at = [np.asarray(model({**rows, "at": np.array([[t]], np.float32)}), np.float64) for t in (0.0, 10.0, 20.0)]
    np.testing.assert_allclose(at[2] - at[1], at[1] - at[0], atol=1e-4)
    assert np.abs(at[1] - at[0]).max() > 0.1


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_saved_model_answers_the_same(build: Any, tmp_path: Any) -> None:
    model, rows = stirred(build(SPECS, 6, (2, 3))), some_rows()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(rows), model(rows))


def test_features_of_one_kind_alone_are_enough() -> None:
    """A log with only a time column, or only ids, must train too."""
    for name in SPECS:
        for build in MODELS.values():
            assert build({name: SPECS[name]}, 3, (1,))({name: some_rows()[name]}).shape == (6, 3)


def test_bag_embedding_sums_known_tokens_over_the_root_of_their_number() -> None:
    layer = BagEmbedding(9, 3)
    ids = np.array([[2, 5, 0, 0], [1, 1, 0, 0], [8, 1, 3, 0]], np.int32)
    got, table = np.asarray(layer(ids)), np.asarray(layer.embeddings)
    np.testing.assert_allclose(got[0], (table[2] + table[5]) / math.sqrt(2), rtol=1e-6)
    np.testing.assert_array_equal(got[1], np.zeros(3))  # unknown words say nothing
    np.testing.assert_allclose(got[2], (table[8] + table[3]) / math.sqrt(2), rtol=1e-6)


def test_wide_weights_move_the_locations_and_nothing_else() -> None:
    got = np.asarray(OnLocation((1,))(np.zeros((2, 3), np.float32), np.array([[1.0], [2.0]], np.float32)))
    np.testing.assert_array_equal(got, [[0, 1, 0], [0, 2, 0]])


def test_prior_goes_by_role_and_biases_are_flat() -> None:
    model = rb.ddn(wide_stddev=0.01, embedding_stddev=0.02, kernel_stddev=0.4)(SPECS, 6, (2, 3))
    by_path = dict(zip([v.path for v in model.trainable_variables], prior_stddevs(model), strict=True))
    assert by_path["wide_headline/embeddings"] == 0.01
    assert by_path["embedding_image/embeddings"] == 0.02
    assert by_path["head/kernel"] == 0.4
    assert math.isinf(by_path["head/bias"])


def test_prior_of_a_model_that_this_project_did_not_write() -> None:
    entry = keras.Input((3,))
    model = keras.Model(entry, keras.layers.Dense(2, name="head")(keras.layers.LayerNormalization()(entry)))
    assert [math.isinf(s) for s in prior_stddevs(model)] == [True, True, False, True]


def test_dropout_masks_whole_columns() -> None:
    """A mask a row would give identical candidates different values, and Thompson sampling noise for doubt."""
    net, rows = network(rb.ddn(embedding=4, title=4, tower=4, dropout=0.5))
    stirred(net.model)
    start = net.start().weights
    same = {name: np.repeat(value[:1], 3, axis=0) for name, value in rows.inputs.items()}
    outputs = [np.asarray(net.call(start, same, dropout_seed=np.array([s, 7], np.int32))) for s in range(6)]
    for one in outputs:
        np.testing.assert_array_equal(one[0], one[2])
    assert len({float(o[0, 2]) for o in outputs}) > 1
