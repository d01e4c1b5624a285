"""Every family serves: what the SavedModel answers is what the model answers, counts and all."""

import numpy as np
import pytest
import tensorflow as tf

import recbayes as rb
from recbayes.export import Scorer, known
from recbayes.export.saving import call


@pytest.mark.parametrize("family", ["logit_normal_mixture", "gaussian_mixture"])
def test_a_family_is_trained_saved_loaded_and_served(family, train_log, tmp_path):
    """A density is a setting: any of them must come through training, a run folder and the export."""
    features = [rb.text("headline"), rb.categorical("image-id")]
    density = getattr(rb, family)(components=1)
    fitted = rb.fit(train_log, features=features, density=density, posterior=rb.last_layer(draws=4), epochs=1, held_out=0.0)
    fitted.save(tmp_path / "model")
    again = rb.load(tmp_path / "model")
    for a, b in zip(again.densities(train_log), fitted.densities(train_log), strict=True):
        np.testing.assert_array_equal(a, b)
    rb.export(again, rb.ucb(), tmp_path / "export")
    scorer = Scorer(fitted, rb.ucb())
    requests, loaded = known.requests(scorer), tf.saved_model.load(str(tmp_path / "export" / "1"))
    for name, request in requests.items():
        ours = call(scorer.functions()[name], request, scorer.inputs[name])
        theirs = call(loaded.signatures[name], request, scorer.inputs[name])
        assert not known.differences(ours, theirs)
    rates = call(loaded.signatures["click_rate"], requests["click_rate"], scorer.inputs["click_rate"])
    seen = requests["click_rate"]["impressions"] > 1000
    assert (rates["data_stddev"][seen] < rates["data_stddev"][~seen].min()).all()
    assert ((rates["lower"] < rates["mean"]) & (rates["mean"] < rates["upper"])).all()
