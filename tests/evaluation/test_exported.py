"""What is judged is what ships: an export's own probabilities, on a log with groups and on one without."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import small
from evaluation import logs

import recbayes as rb
from recbayes.types import UserError


@pytest.fixture(scope="module")
def fitted():
    """A small click model of headline tests."""
    return rb.fit(
        small.log(),
        features=small.features(),
        model=rb.linear(),
        density=rb.point(),
        group_effect=False,
        posterior=rb.map(),
        epochs=2,
        held_out=0.0,
    )


@pytest.fixture(scope="module")
def judged(fitted, tmp_path_factory):
    """Tests with counts and no propensities: within a test, items were shown at random."""
    home = tmp_path_factory.mktemp("exports")
    for name, policy in {"uniform": rb.uniform(), "greedy": rb.greedy()}.items():
        rb.export(fitted, policy, home / name, floor=0.01)
    targets = [rb.exported(home / name) for name in ("uniform", "greedy")]
    log = small.log(seed=1)
    return log, targets, home, rb.evaluate(log, targets, estimators=["ips", "snips"])


def test_probabilities_are_those_of_decide(judged):
    """Each test is a decision over its own four headlines; what floor and ties give is in the probabilities."""
    log, targets, *_ = judged
    segments = log.segments[0]
    for target in targets:
        choices = target.choices(log)
        np.testing.assert_allclose(choices.probability.sum(1), 1.0, rtol=1e-9)
        sums = np.bincount(segments, choices.shown)  # every headline of a test is in the log: its probabilities are a whole vector
        np.testing.assert_allclose(sums, 1.0, rtol=1e-6)
        assert choices.shown.min() >= 0.0024  # the export's floor over four candidates
    np.testing.assert_allclose(targets[0].choices(log).shown, 0.25, rtol=1e-6)
    greedy = targets[1].choices(log).shown.reshape(-1, 4)
    assert (greedy.max(1) > 0.49).all()


def test_greedy_is_what_the_model_says(fitted, judged):
    """The export's choice of each test is the trained model's own: the request was put together rightly."""
    log, targets, *_ = judged
    means = np.asarray(fitted.predict(log).mean)[:, 0].reshape(-1, 4)
    shown = targets[1].choices(log).shown.reshape(-1, 4)
    clear = np.sort(means, 1)[:, -1] > 1.01 * np.sort(means, 1)[:, -2]
    assert (shown.argmax(1) == means.argmax(1))[clear].mean() > 0.95


def test_its_value_is_that_of_the_tests(judged):
    """With equal probabilities in a test the value is the mean of the headlines' click rates, weighted by the tests' impressions."""
    log, *_, found = judged
    frame = log.to_pandas().assign(rate=lambda f: f.clicked / f.shown)
    pages = frame.groupby("page").agg(rate=("rate", "mean"), shown=("shown", "sum"))
    assert found.of("uniform", "ips").value == pytest.approx(np.average(pages.rate, weights=pages.shown), rel=1e-6)
    assert all(e.verdict != "trust" for e in found.estimates)  # propensities are fitted, and marked so
    assert all("fitted, not logged" in e.reason for e in found.estimates)
    assert found.about["propensities"] == "fitted"
    assert len(found.pairs) == 1


def test_a_log_without_groups(tmp_path):
    """Candidates are then all items of the log, at each position; context comes from the row."""
    log = logs.read(features=["item", "slot"])
    features = [rb.categorical("item"), rb.categorical("slot", side="context")]
    model = rb.fit(log, features=features, model=rb.linear(), density=rb.point(), posterior=rb.map(), epochs=1, held_out=0.0)
    rb.export(model, rb.greedy(), tmp_path / "export", floor=0.1)
    target = rb.exported(tmp_path, name="served")
    choices = target.choices(log)
    assert choices.probability.shape == (2, 5)
    assert set(np.unique(choices.items)) == set(logs.ITEMS)
    found = rb.evaluate(log, [target, rb.logged()], estimators=["snips", "dr"])
    by_hand = (
        choices.probability * logs.RATES[(np.asarray(log.table["slot"]) - 1)[choices.row]][:, np.argsort(np.argsort(choices.items[0]))]
    ).sum(1)
    assert found.of("served", "snips").value == pytest.approx(by_hand.mean(), abs=5 * found.of("served", "snips").stderr)


def test_no_export_there(tmp_path):
    with pytest.raises(UserError, match="holds no export"):
        rb.exported(tmp_path)


def test_features_that_the_log_lacks(judged):
    log = rb.read_log(pd.DataFrame(small.frame()), clicks="clicked", impressions="shown", item="item", group="page", features=[])
    with pytest.raises(UserError, match="without a column 'headline'"):
        rb.evaluate(log, [rb.exported(judged[2] / "greedy")], estimators=["ips"])
