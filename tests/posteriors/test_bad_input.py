"""What a user can get wrong about posteriors: each is told what is wrong and how to mend it, or that the doubt is not to be relied on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import features, frame, log, network

import recbayes as rb
from recbayes.posteriors import Network
from recbayes.training import Schedule, train
from recbayes.types import UserError

SEED = tf.constant([1, 2], tf.int32)
QUICK = {"epochs": 2, "batch_size": 64, "held_out": 0.0, "model": rb.linear()}


def model_of(*layers: Any) -> Network:
    """A user's model: layers on two numbers."""
    entry = {"x": keras.Input((2,), name="x")}
    outputs = entry["x"]
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(entry, outputs)
    return Network(model, (1.0,) * len(model.trainable_variables), lambda *_: tf.zeros([1]), {}, 1)


@pytest.mark.parametrize("name", ["last_layer", "mc_dropout", "mean_field", "epinet"])
def test_one_draw_has_no_spread(name: str) -> None:
    """S = 1 would report a model_stddev of 0: certainty that nobody has."""
    with pytest.raises(UserError, match=rf"{name}: draws is 1, but a spread takes at least 2\. Say draws: 64.*posterior: map"):
        getattr(rb, name)(draws=1)


def test_one_member_has_no_spread() -> None:
    with pytest.raises(UserError, match=r"ensemble: members is 1.*at least 2\. Say members: 8"):
        rb.ensemble(members=1)


@pytest.mark.parametrize("name", ["last_layer", "epinet"])
def test_a_model_without_a_head_is_told_to_name_it(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: the model has no.*layer named 'head'.*name='head'"):
        getattr(rb, name)().init(model_of(keras.layers.Dense(1, name="out")), SEED)


def test_a_model_without_a_head_is_told_so_by_fit() -> None:
    """Every density starts the head's bias at the feature-free fit: without a head there is nowhere to put it."""

    def build(specs: Any, size: int, location: Any) -> keras.Model:
        entry = {name: keras.Input((), name=name, dtype="int32") for name in specs}
        return keras.Model(entry, keras.layers.Dense(size, name="out")(keras.layers.Embedding(99, 4)(entry["image"])))

    with pytest.raises(UserError, match=r"no dense layer named 'head' with a bias.*name='head'"):
        rb.fit(log(), features=[rb.categorical("image")], posterior=rb.map(), **{**QUICK, "model": build})


def test_dropout_is_asked_of_a_model_that_has_none() -> None:
    with pytest.raises(UserError, match=r"no dropout layer.*dropout: 0.1"):
        rb.fit(log(), features=features(), posterior=rb.mc_dropout(), **QUICK)


def test_a_dropout_mask_a_row_is_no_draw_of_a_network() -> None:
    with pytest.raises(UserError, match=r"loose draw a mask a row.*noise_shape=\(1, width\)"):
        rb.mc_dropout().init(model_of(keras.layers.Dropout(0.5, name="loose"), keras.layers.Dense(1, name="head")), SEED)


def test_one_cluster_is_no_bootstrap() -> None:
    """All members would see the same rows, or none."""
    rows = frame()
    rows["site"] = "only"
    one = rb.read_log(rows, clicks="clicked", impressions="shown", item="item", group="page", cluster="site", features=("image",))
    with pytest.raises(UserError, match=r"training rows have 1\. Name a finer log\.columns\.cluster"):
        rb.fit(one, features=[rb.categorical("image")], posterior=rb.ensemble(members=2), **QUICK)


def test_few_clusters_are_a_warning_with_the_size_of_the_error() -> None:
    fitted = rb.fit(log(groups=9), features=features(), posterior=rb.ensemble(members=2), **QUICK)
    (told,) = fitted.warnings
    assert "from 9 clusters only" in told
    assert "off by about 25%" in told  # 1 / sqrt(2 * 8)


@pytest.mark.parametrize(("damage", "says"), [(np.nan, "are not finite"), (0.0, "are the same for every row")])
def test_a_dead_member_is_named(damage: float, says: str) -> None:
    """One member of three at a constant or at NaN is a third of the doubt made up."""
    net, rows = network(rb.ddn(embedding=4, title=4, tower=4, wide=False))
    posterior = rb.ensemble(members=3)
    kernel = [v.path for v in net.model.trainable_variables].index("head/kernel")

    def broken(network: Network, seed: Any) -> Any:
        state = posterior.init(network, seed)
        weights = list(state.parameters.weights)
        weights[kernel] = tf.stack([weights[kernel][0], damage * weights[kernel][1], weights[kernel][2]])
        return state._replace(parameters=state.parameters._replace(weights=tuple(weights)))

    with pytest.raises(UserError, match=rf"ensemble: member 1 of 3: its outputs {says}.*train\.learning_rate"):
        train(net, posterior._replace(init=broken), rows, Schedule(epochs=0))


def test_a_step_too_large_is_told_by_every_method() -> None:
    """The loss stops being a number at some point: never a model that says NaN."""
    net, rows = network(rb.linear(), page=False)
    for posterior in (rb.map(), rb.mean_field(draws=2), rb.ensemble(members=2), rb.epinet(draws=2)):
        with pytest.raises(UserError, match=r"not (a number|finite).*learning_rate \(now 1e\+30\)"):
            train(net, posterior, rows, Schedule(epochs=3, learning_rate=1e30))


@pytest.mark.parametrize(
    "posterior",
    [rb.map(), rb.last_layer(draws=3), rb.mean_field(draws=3, anneal=0), rb.ensemble(members=2), rb.epinet(draws=3)],
    ids=lambda p: p.kind,
)
def test_a_feature_with_one_value_fits_and_says_nothing_false(posterior: Any) -> None:
    """A constant column tells nothing: finite rates, equal for all rows, and no member called dead for it."""
    rows = frame()
    rows["image"] = "same"
    flat = rb.read_log(rows, clicks="clicked", impressions="shown", item="item", group="page", features=("image",))
    fitted = rb.fit(flat, features=[rb.categorical("image")], posterior=posterior, **{**QUICK, "model": rb.ddn(embedding=4, tower=4)})
    predictive = fitted.predict(flat)
    assert np.isfinite(np.asarray(predictive.stddev)).all()
    np.testing.assert_allclose(predictive.mean, predictive.mean[0, 0], rtol=1e-5)
    assert fitted.warnings == []


def test_an_unknown_method_of_the_last_layer_is_refused() -> None:
    """A misspelt method must not train the other one."""
    with pytest.raises(UserError, match=r"no method 'variatonal'.*laplace, or method: variational"):
        rb.last_layer(method="variatonal")  # type: ignore[arg-type]


def test_an_annealing_below_zero_is_refused() -> None:
    with pytest.raises(UserError, match=r"anneal is -1, must be 0 or more"):
        rb.mean_field(anneal=-1)


def test_an_epinet_without_an_index_is_refused() -> None:
    with pytest.raises(UserError, match=r"index is 0 and hidden 16, both must be at least 1"):
        rb.epinet(index=0)
