"""A family that keeps what it has seen as counts serves too: the SavedModel answers what the model answers."""

import numpy as np
import tensorflow as tf

import recbayes as rb
from recbayes.export import Scorer, known
from recbayes.export.saving import call


def test_a_family_is_trained_saved_loaded_and_served(train_log, tmp_path):
    """A density is a setting: any of them must come through training, a run folder and the export."""
    features = [rb.text("headline"), rb.categorical("image-id")]
    density = rb.logit_normal_mixture(components=1)
    fitted = rb.fit(train_log, features=features, density=density, posterior=rb.last_layer(draws=4), epochs=1, held_out=0.0)
    fitted.save(tmp_path / "model")
    again = rb.load(tmp_path / "model")
    for a, b in zip(again.densities(train_log), fitted.densities(train_log), strict=True):
        np.testing.assert_array_equal(a, b)
    rb.export(again, rb.ucb(), tmp_path / "export")
    scorer = Scorer(fitted, rb.ucb(), floor=0.01)
    requests, loaded = known.requests(scorer), tf.saved_model.load(str(tmp_path / "export" / "1"))
    for name, request in requests.items():
        ours = call(scorer.functions()[name], request, scorer.inputs[name])
        theirs = call(loaded.signatures[name], request, scorer.inputs[name])
        assert not known.differences(ours, theirs)
    rates = call(loaded.signatures["click_rate"], requests["click_rate"], scorer.inputs["click_rate"])
    seen = requests["click_rate"]["impressions"] > 1000
    assert (rates["data_stddev"][seen] < rates["data_stddev"][~seen].min()).all()
    assert ((rates["lower"] < rates["mean"]) & (rates["mean"] < rates["upper"])).all()
