"""Served decisions as a log, their counts, and the watch over them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recbayes as rb
from recbayes.features import Encoder
from recbayes.monitor import ROLES, Counts, drift, figures, page, served
from recbayes.types import UserError

INPUTS = [
    {"name": "topic", "feature": "topic", "dtype": "string", "shape": ["B", "A"], "default": ""},
    {"name": "tags", "feature": "tags", "dtype": "string", "shape": ["B", "A", 3], "default": ""},
    {"name": "user_id", "feature": "user-id", "dtype": "int64", "shape": ["B"], "default": -(2**63)},
    {"name": "price", "feature": "price", "dtype": "float32", "shape": ["B", "A"], "default": "NaN"},
]
ABOUT = {"signatures": {"decide": {"inputs": INPUTS}}}


def traffic(decisions=4000, arms=4, *, seed=0, times=1.0, topics=("a", "b", "c"), pages=50, favours=None):
    """Rows of a policy that knows the click rates, up to a factor by which the world differs, and may favour a topic."""
    rng = np.random.default_rng(seed)
    page_of = rng.integers(0, pages, decisions)
    rate = rng.beta(8, 90, (pages, arms))
    topic = np.array(topics, object)[rng.integers(0, len(topics), (pages, arms))]
    request = {
        "candidates": rng.random((decisions, arms)) < 0.9,
        "topic": topic[page_of],
        "tags": np.resize(np.array(["x", "y", ""], object), (decisions, arms, 3)),
        "user_id": rng.integers(0, 5, decisions),
        "price": rng.lognormal(size=(decisions, arms)).astype(np.float32),
    }
    request["candidates"][:, 0] = True
    request["user_id"][0] = -(2**63)
    probabilities = request["candidates"] * rng.dirichlet(np.ones(arms), decisions)
    if favours:
        probabilities = probabilities * np.where(request["topic"] == favours, 50.0, 1.0)
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    action = (probabilities.cumsum(1) < rng.random((decisions, 1))).sum(1).clip(max=arms - 1)
    mean = rate[page_of].astype(np.float32)
    answer = {
        "action": action,
        "propensity": probabilities[np.arange(decisions), action],
        "probabilities": probabilities,
        "mean": mean,
        "stddev": np.full_like(mean, 1e-6),
    }
    items = np.array([[f"{page} {arm}" for arm in range(arms)] for page in range(pages)])[page_of]
    clicks = rng.random(decisions) < times * mean[np.arange(decisions), action]
    return served(ABOUT, request, answer, items=items, groups=page_of, at=1e9 + np.arange(decisions, dtype=float), clicks=clicks)


@pytest.fixture(scope="module")
def rows():
    return traffic()


def test_the_layout_is_a_log_like_any_other(rows, tmp_path):
    """Served decisions can't be audited, trained on or evaluated; or features come back as they were sent, padding and all."""
    pq.write_table(rows, tmp_path / "served.parquet")
    log = rb.read_log(str(tmp_path / "served.parquet"), **ROLES, features=("topic", "tags", "user-id", "price"))
    assert len(log) == 4000
    found = rb.audit(log)
    assert found.verdict in ("ok", "warn"), found.findings
    assert not {"propensity", "propensities", "candidates"} & {f.check for f in found.findings if f.severity == "fail"}
    assert rows["tags"][0].as_py() == ["x", "y"]
    assert rows["user-id"][0].as_py() is None
    candidates, propensities = rows["candidates"].to_pylist(), rows["probabilities"].to_pylist()
    for item, offered, shares, propensity in zip(rows["item"].to_pylist(), candidates, propensities, rows["propensity"].to_pylist()):
        assert shares[offered.index(item)] == pytest.approx(propensity)
    estimate = rb.evaluate(log, [rb.logged()], estimators=["ips"])
    assert "ips" in str(estimate)


def test_counts_are_those_of_the_rows(rows):
    """The next request sends another item's clicks, or those that are not known yet as none."""
    counts = Counts()
    counts.add(rows.slice(0, 1500))
    counts.add(rows.slice(1500))
    frame = rows.to_pandas()
    clicks, impressions = counts.of([7, 8], [["7 0", "7 1"], ["8 0", "never shown"]])
    for b, group in enumerate((7, 8)):
        of = frame[(frame.group == group) & (frame.item == f"{group} 0")]
        assert (clicks[b, 0], impressions[b, 0]) == (of.clicks.sum(), len(of))
    assert (clicks[1, 1], impressions[1, 1]) == (0, 0)
    before = counts.of([7], [["7 0"]])
    counts.add(rows.set_column(rows.schema.get_field_index("clicks"), "clicks", pa.nulls(len(rows), pa.int64())))
    assert [x.tolist() for x in counts.of([7], [["7 0"]])] == [x.tolist() for x in before]


@pytest.fixture(scope="module")
def encoder(rows):
    return Encoder.fit([rb.categorical("topic"), rb.multi_categorical("tags"), rb.numeric("price")], rows)


def trained_on(rows):
    """The rows as the log that a model was trained on."""
    return rb.read_log(rows.to_pandas(), **ROLES, features=("topic", "tags", "price"))


def test_a_model_that_is_right_raises_no_alarm(rows, encoder, tmp_path):
    """The monitor cries wolf, or its page does not open."""
    frame = rows.to_pandas()
    found = rb.monitor(
        rows, encoder, trained_on(rows), expected={"mean": frame["mean"], "stddev": np.sqrt(frame["mean"] * (1 - frame["mean"]) / 1e6)}
    )
    assert not found.warnings, found.warnings
    assert abs(found.figures["click_rate"]["z"]) < 4  # alarm 6e-5 for right code
    # 200 items, binomial counts about known rates: 90% +- 2.1; alarm 1e-6
    assert abs(found.figures["coverage"]["share"] - 0.9) < 0.105
    assert all(of["psi"] < 1e-3 for of in found.figures["features"].values())
    assert len(found.figures["periods"]) == 10
    best = np.array([max(p) for p in rows["probabilities"].to_pylist()])
    assert found.figures["exploration"]["not_the_likeliest"] == pytest.approx(1 - best.mean(), abs=1e-6)
    assert 0 < found.figures["exploration"]["cost"] < 1
    written = page.write(found, tmp_path / "monitor.html", "served").read_text()
    assert "Nothing is out of the ordinary" in written
    assert "<svg" in written


def test_what_changed_is_named(rows, encoder):
    """The world has drifted away from the model and nobody hears of it."""
    other = traffic(seed=1, times=1.6, topics=("c", "new", "newer"))
    found = rb.monitor(other, encoder, trained_on(rows))
    says = " ".join(found.warnings)
    assert "more clicks than expected" in says
    assert "topic has drifted" in says
    assert "topic: " in says
    assert "never seen in training" in says
    assert found.figures["features"]["topic"]["oov"] > 0.5
    assert found.figures["features"]["price"]["psi"] < 0.1
    fewer = rb.monitor(traffic(seed=2, times=0.5), encoder)
    assert "fewer clicks than expected" in fewer.warnings[0]


def test_z_is_about_normal_whatever_is_shown():
    """An alarm of 4 standard errors comes every day. Each click depends on all before it: the policy repeats what was clicked."""
    rng, found = np.random.default_rng(3), []
    for _ in range(300):
        mean, clicks, rate = [], [], 0.1
        for _ in range(100):
            mean.append(rate)
            clicks.append(rng.random() < rate)
            rate = 0.3 if clicks[-1] else 0.1
        found.append(figures.against(np.array(clicks, float), np.array(mean), np.full(100, 0.1), np.arange(100))["z"])
    # alarm 1e-5 for right code; sees a mean of .3 or a spread of 1.3
    assert abs(np.mean(found)) < 4.5 / np.sqrt(300)
    assert 0.82 < np.std(found) < 1.18


@pytest.mark.parametrize("answers", [1, 400])
def test_z_is_no_larger_where_counts_are_updated_seldom(answers):
    """A calibrated model is reported as wrong wherever counts are updated nightly: all answers on a page share what nobody knows of it."""
    rng, found = np.random.default_rng(4), []
    m, stddev = 8 / 98, np.sqrt(8 / 98 * 90 / 98 / 99)
    for _ in range(300):
        rate = np.repeat(rng.beta(8, 90, 40), answers)
        clicks = (rng.random(len(rate)) < rate).astype(float)
        page = np.repeat(np.arange(40), answers)
        mean = np.full(len(rate), m)
        batch = figures.batches(page.tolist(), page.tolist(), mean, np.arange(len(rate)))
        found.append(figures.against(clicks, mean, np.full(len(rate), stddev), batch)["z"])
    # alarm 1e-5 for right code; the spread without the pages' own is 2.2 at 400 answers
    assert 0.82 < np.std(found) < 1.18


def test_a_batch_ends_where_counts_are_updated():
    """Answers from other counts are taken for answers from the same: a model that is off is not found out. A server that lags cuts none."""
    item = np.array(list("abababab"))
    mean = np.array([0.1, 0.2, 0.1, 0.2, 0.11, 0.19, 0.11, 0.19])
    assert figures.batches(["p"] * 8, item.tolist(), mean, np.arange(8)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    shuffled = np.array([7, 2, 5, 0, 3, 6, 1, 4])
    told = figures.batches(["p"] * 8, item[shuffled].tolist(), mean[shuffled], shuffled)
    assert told[np.argsort(shuffled)].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    late = np.array([0.1, 0.2, 0.11, 0.19, 0.1, 0.19, 0.11, 0.2])
    assert len(set(figures.batches(["p"] * 8, item.tolist(), late, np.arange(8)).tolist())) == 2


def test_a_policy_that_favours_what_is_good_is_no_drift(rows, encoder):
    """Every bandit is reported as drift, for it shows some items more than others; and so is every week with few pages."""
    found = rb.monitor(traffic(6000, seed=5, pages=12, favours="a"), encoder, trained_on(rows))
    assert np.mean([topic == "a" for topic in traffic(6000, seed=5, pages=12, favours="a")["topic"].to_pylist()]) > 0.7
    assert not [said for said in found.warnings if "drifted" in said], found.warnings
    of = found.figures["features"]["topic"]
    assert of["size"] == 48
    assert of["psi"] < of["by_chance"]


def test_the_index_of_equal_laws_stays_below_chance():
    """What is called chance is not."""
    rng, above = np.random.default_rng(6), []
    for _ in range(2000):
        before, now = (np.bincount(rng.choice(8, size, p=np.arange(1, 9) / 36), minlength=8) / size for size in (400, 90))
        above.append(drift._index(before, now, 400, 90) > drift._chance(before, 400, 90))
    assert np.mean(above) < 0.006  # a nominal 1 in 1,000; sees an index without smoothing (.02)


def test_a_batch_without_values_has_the_type_of_any_other():
    """Logged parts can't be put together: in one no user was known, another is empty."""
    request = {
        "candidates": np.ones((2, 1), bool),
        "topic": np.full((2, 1), "a", object),
        "tags": np.full((2, 1, 3), "", object),
        "user_id": np.full(2, -(2**63)),
        "price": np.full((2, 1), np.nan, np.float32),
    }
    flat = np.ones((2, 1), np.float32)
    answer = {"action": np.zeros(2, int), "propensity": flat[:, 0], "probabilities": flat, "mean": flat / 9, "stddev": flat / 99}

    def log(rows):
        cut = {name: value[:rows] for name, value in request.items()}, {name: value[:rows] for name, value in answer.items()}
        return served(ABOUT, *cut, items=np.array([["1 0"], ["2 1"]])[:rows], groups=np.arange(rows), at=np.zeros(rows))

    assert log(2).schema == log(0).schema == traffic(10).schema
    assert log(2)["user-id"].null_count == 2


def test_what_is_no_served_log_is_refused(rows, encoder):
    """A traceback, or figures of nothing."""
    with pytest.raises(UserError, match="no column best_mean"):
        rb.monitor(rows.drop_columns(["best_mean"]), encoder)
    with pytest.raises(UserError, match="no clicks are known yet"):
        rb.monitor(rows.set_column(rows.schema.get_field_index("clicks"), "clicks", pa.nulls(len(rows), pa.int64())), encoder)
    holes = rows.set_column(rows.schema.get_field_index("mean"), "mean", pa.array([None, *rows["mean"].to_pylist()[1:]], pa.float32()))
    twice = holes.set_column(rows.schema.get_field_index("clicks"), "clicks", pa.array([0, 2, *rows["clicks"].to_pylist()[2:]], pa.int64()))
    with pytest.raises(UserError, match=r"mean\[0\] is None, must be above 0 and below 1 \(1 of 4,000 rows\); clicks\[1\] is 2"):
        rb.monitor(twice, encoder)
    texts = rows.set_column(rows.schema.get_field_index("time"), "time", pa.array(["today"] * len(rows)))
    with pytest.raises(UserError, match="time is string, not numbers"):
        rb.monitor(texts, encoder)
    about = {"signatures": {"decide": {"inputs": [{"name": "time_2", "feature": "time", "dtype": "float64", "shape": ["B"]}]}}}
    with pytest.raises(UserError, match="features time have names"):
        served(about, {"candidates": [[True]]}, {}, items=[["a"]], groups=["p"], at=[0.0])
