"""A family that keeps what it has seen as counts serves too: the SavedModel answers what the model answers."""

import json

import numpy as np

import recbayes as rb


def test_a_family_is_trained_saved_loaded_and_served(train_log, tmp_path):
    """A density is a setting: it must come through training, a run folder and the export, and learn from a request's counts."""
    features = [rb.text("headline"), rb.categorical("image-id")]
    density = rb.logit_normal_mixture(components=1)
    method = rb.last_layer(draws=2)
    fitted = rb.fit(train_log, features=features, density=density, posterior=method, group_effect=False, epochs=1, held_out=0.0)
    fitted.save(tmp_path / "model")
    again, part = rb.load(tmp_path / "model"), train_log.take(np.arange(8))
    for a, b in zip(again.densities(part), fitted.densities(part), strict=True):
        np.testing.assert_array_equal(a, b)
    rb.export(again, rb.ucb(), tmp_path / "run" / "export")
    found = rb.check(tmp_path / "run")
    assert found.ok, str(found)
    record = json.loads((tmp_path / "run" / "export" / "metadata.json").read_text())
    (rates,) = (answer for answer in record["known_answers"] if answer["signature"] == "click_rate")
    data, lower, mean, upper = (np.array(rates["outputs"][name]) for name in ("data_stddev", "lower", "mean", "upper"))
    seen = np.array(rates["inputs"]["impressions"]) > 1000
    assert data[seen].mean() < 0.6 * data[~seen].mean()
    assert (lower < mean).all()
    assert (mean < upper).all()
