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


@pytest.fixture(scope="module")
def by_item(tmp_path_factory):
    """Exports whose only feature of an item is which it is."""
    home = tmp_path_factory.mktemp("by_item")
    features = [rb.categorical("item"), rb.categorical("slot", side="context")]
    log = logs.read(features=["item", "slot"])
    model = rb.fit(log, features=features, model=rb.linear(), density=rb.point(), posterior=rb.map(), epochs=1, held_out=0.0)
    for name, policy in {"uniform": rb.uniform(), "greedy": rb.greedy()}.items():
        rb.export(model, policy, home / name, floor=0.1)
    return [rb.exported(home / name) for name in ("uniform", "greedy")]


def figures(found):
    return np.array([[e.value, e.stderr, e.figures["mean_weight"], e.figures["unsupported"]] for e in found.estimates])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_candidate_that_the_log_never_shows(by_item, streamed):
    """What ships shares its choices among six; the sixth's share is lost mass, which the verdict has to know.

    With the sixth dropped it was 1/5, with `unsupported` 0 and the verdict trust.
    """
    data = logs.frame(2000)
    data["could"] = [[*logs.ITEMS, "never"]] * len(data)
    roles = {**logs.ROLES, "candidates": "could", "features": ["item", "slot"]}
    log = rb.read_log(data, **roles)
    np.testing.assert_allclose(by_item[0].choices(log).shown, 1 / 6, rtol=1e-6)
    found = rb.evaluate(data, by_item[:1], estimators=["ips"], **roles) if streamed else rb.evaluate(log, by_item[:1], estimators=["ips"])
    estimate = found.of("uniform", "ips")
    assert estimate.figures["unsupported"] == pytest.approx(1 / 6, rel=1e-6)
    assert estimate.value == pytest.approx((data.click / data.chance).mean() / 6, rel=1e-6)
    assert estimate.verdict == "do_not_trust"


def test_a_candidate_whose_features_nobody_knows(judged):
    """The export wants its headline: an error with rows and mend, not the probabilities of the others."""
    data = small.frame(seed=1)
    data["could"] = [list(part) for part in np.repeat(np.arange(len(data)).reshape(-1, 4), 4, 0)]
    roles = {"clicks": "clicked", "impressions": "shown", "item": "item", "group": "page", "time": "at", "candidates": "could"}
    log = rb.read_log(data, features=("headline", "image"), **roles)
    np.testing.assert_allclose(judged[1][0].choices(log).shown, 0.25, rtol=1e-6)
    data.at[9, "could"] = [*data["could"][9], 7777]
    log = rb.read_log(data, features=("headline", "image"), **roles)
    with pytest.raises(UserError, match="1 candidates that the log never shows") as caught:
        rb.evaluate(log, judged[1][:1], estimators=["ips"])
    assert all(word in str(caught.value) for word in ("7777", "could holds them in 1 of 240 rows (first: 9)", "drop those rows"))


def test_a_stream_is_cut_anywhere(by_item, tmp_path):
    """Four rows a batch hardly ever show all items: what could be shown comes from the whole log, so the figures are those in memory."""
    data = logs.frame(200)
    data.to_parquet(tmp_path / "log.parquet", row_group_size=4)
    roles = {**logs.ROLES, "features": ["item", "slot"]}
    whole = rb.evaluate(rb.read_log(data, **roles), by_item, estimators=["ips", "snips", "dr"])
    cut = rb.evaluate(tmp_path / "log.parquet", by_item, estimators=["ips", "snips", "dr"], **roles)
    np.testing.assert_allclose(figures(cut), figures(whole), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shuffled", [False, True])
def test_groups_that_a_cut_divides(judged, monkeypatch, shuffled):
    """A test of four headlines over two batches keeps its four candidates in both; one without a test stands alone."""
    data = small.frame(seed=1)
    data.loc[17, "page"] = None
    data = data.sample(frac=1.0, random_state=0, ignore_index=True) if shuffled else data
    roles = {"clicks": "clicked", "impressions": "shown", "item": "item", "group": "page", "time": "at"}
    log = rb.read_log(data, features=("headline", "image"), **roles)
    whole = rb.evaluate(log, judged[1], estimators=["ips", "snips"], propensities="fitted", given=["image"])
    monkeypatch.setattr("recbayes.log.stream.BATCH_ROWS", 25)
    monkeypatch.setattr("recbayes.evaluation.offered.PENDING_ROWS", 20)
    cut = rb.evaluate(log, judged[1], estimators=["ips", "snips"], propensities="fitted", given=["image"])
    np.testing.assert_allclose(figures(cut), figures(whole), rtol=1e-12, atol=1e-12)
    shown = judged[1][0].choices(log).shown
    three = data.page == small.frame(seed=1).page[17]
    np.testing.assert_allclose(shown[three], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(shown[data.page.isna()], 1.0, rtol=1e-6)
    np.testing.assert_allclose(shown[~three & data.page.notna()], 0.25, rtol=1e-6)


def test_no_export_there(tmp_path):
    with pytest.raises(UserError, match="holds no export"):
        rb.exported(tmp_path)


def test_features_that_the_log_lacks(judged):
    log = rb.read_log(pd.DataFrame(small.frame()), clicks="clicked", impressions="shown", item="item", group="page", features=[])
    with pytest.raises(UserError, match="without a column 'headline'"):
        rb.evaluate(log, [rb.exported(judged[2] / "greedy")], estimators=["ips"])
