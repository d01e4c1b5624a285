"""Worlds of single decisions: the wheel and classification, their optimum and uniform's regret, bad tables."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers import recbayes

import recbayes as rb
from recbayes.config import parse
from recbayes.replay import stream
from recbayes.replay.wheel import means


def test_the_wheels_pay():
    """Within delta the first arm, outside the quadrant's: the published rule."""
    points = tf.constant([[0.1, 0.1], [0.6, 0.6], [0.6, -0.6], [-0.6, 0.6], [-0.6, -0.6]])
    pays = means(points, tf.constant(0.5)).numpy()
    want = np.ones((5, 5))
    want[:, 0] = 1.2
    want[np.arange(1, 5), [1, 3, 2, 4]] = 50.0
    assert sorted(np.argmax(pays[1:], 1)) == [1, 2, 3, 4]
    np.testing.assert_allclose(np.sort(pays, 1), np.sort(want, 1), rtol=1e-6)


@pytest.mark.parametrize("delta", [0.5, 0.95])
def test_uniforms_regret_on_the_wheel(delta):
    """.16 delta^2 + 39.16 (1 - delta^2) a decision, within 4.9 standard errors (alarm 1e-6)."""
    result = rb.replay(rb.wheel(delta=delta, events=4000, batch=20), [rb.uniform()], seeds=10)
    last = result.rows[result.rows.share == 1.0]
    truth, outside = 0.16 * delta**2 + 39.16 * (1 - delta**2), 1 - delta**2
    error = 39.0 * np.sqrt(outside * (1 - outside) / 40_000)
    assert abs(last.uniform_regret.mean() / 4000 - truth) < 4.9 * error
    assert abs(last.regret.mean() / 4000 - truth) < 4.9 * 50.0 * np.sqrt(outside / 40_000)
    record = result.to_json()["policies"]["uniform"]
    low, high = record["regret_interval"]
    assert low < 1.0 < high
    assert (low + high) / 2 == pytest.approx(record["regret_over_uniform"], abs=1e-9)  # an interval of the figure that it stands beside
    assert record["regret_over_uniform"] == pytest.approx((last.regret / last.uniform_regret).mean())
    assert result.about["decisions"] == last.decisions.iloc[0] == 4000


def table(rows=300, seed=0):
    """A column of numbers that tells the label, and one of words that does not."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    return pd.DataFrame({"size": size, "word": rng.choice(list("xyz"), rows), "kind": np.where(size > 0, "big", "small")})


def test_a_users_table():
    """Labels are arms: LinUCB and counts over one stream, in batches that end in a part, with late feedback. The label is learnt."""
    world = rb.classification(table(), label="kind", events=400, batch=7, delay=2)
    policies = [rb.ucb(rb.linear_learner(noise=0.5)), rb.thompson(rb.counts(), draws=1)]
    result = rb.replay(world, policies, seeds=6)
    rows = result.rows[result.rows.share == 1.0]
    assert world.steps == 58
    assert set(rows.decisions) == {400}
    np.testing.assert_allclose(rows.regret + rows.expected_clicks, 400.0)
    np.testing.assert_allclose(rows.uniform_clicks, 200.0)
    np.testing.assert_array_equal(rows.clicks, rows.expected_clicks)  # labels are certain
    figures = result.to_json()["policies"]
    assert figures["linear/ucb"]["regret_over_uniform"] < 0.3
    assert 0.7 < figures["counts/thompson"]["regret_over_uniform"] < 1.2
    assert result.best == "linear/ucb"
    assert result.about["groups"] == 1
    assert "400 decisions in batches of 7, feedback 2 steps late" in world._repr_html_()


def test_payoffs_of_two_halves():
    """The mushroom bandit: pays by label, coins thrown evenly; a lift over a uniform that loses is no number."""
    payoffs = {"eat": {"big": 5, "small": [5, -35]}, "pass": {"big": 0, "small": 0}}
    result = rb.replay(rb.classification(table(), label="kind", payoffs=payoffs, events=900, batch=30), [rb.uniform()], seeds=20)
    rows = result.rows[result.rows.share == 1.0]
    share = (table().kind == "big").mean()
    want = 900 * (share * 2.5 - (1 - share) * 7.5)
    assert abs(rows.uniform_clicks.mean() - want) < 4.9 * 5.0 * np.sqrt(900 / 20)
    assert abs(rows.clicks.mean() - want) < 4.9 * 16.0 * np.sqrt(900 / 20)
    np.testing.assert_allclose(rows.uniform_regret.mean(), 900 * (share * 2.5 + (1 - share) * 7.5), rtol=0.03)
    record = result.to_json()["policies"]["uniform"]
    assert record["lift_over_uniform"] is None
    assert record["interval"] is None
    assert "nan" not in result._repr_html_().lower()


def test_shuffled_rows_come_once():
    """A table as long as the stream: every row is met once, in another order in each replica."""
    world = rb.classification(table(40), label="kind", order="shuffled", events=40)
    scene, seeds = world.parts()[0].scene, tf.constant([[0, 1], [0, 2]])
    order = world.rules.start(scene, seeds).numpy()
    assert (np.sort(order, 1) == np.arange(40)).all()
    assert (order[0] != order[1]).any()


def test_an_arm_of_probability_zero_is_never_shown():
    """Also at the ends of the numbers that choose, and among more arms than are written out."""
    shares = tf.constant([[[0.0, 0.5, 0.0, 0.5, 0.0]] * 3])
    for more in (0, 90):
        wide = tf.pad(shares, [[0, 0], [0, 0], [0, more]])
        assert stream.drawn(wide, tf.constant([[1e-12, 0.5, 1 - 1e-12]], tf.float64)).numpy().tolist() == [[1, 3, 3]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "sort"}, "the table has no column 'sort'; it has size, word, kind"),
        ({"label": "kind", "features": ["kind"]}, "features names the label 'kind'"),
        ({"label": "kind", "order": "shuffled", "events": 1000}, "events is 1,000, the table has 300 rows"),
        ({"label": "kind", "batch": 0, "delay": -1}, "batch is 0, must be at least 1; delay is -1"),
        ({"label": "kind", "payoffs": {"eat": {"big": 1}}}, "payoffs has 1 arms.*payoffs.eat is for the labels"),
        (
            {"label": "kind", "payoffs": {"a": {"big": [1, 2, 3], "small": 1}, "b": {"big": 1, "small": 1}}},
            "must be a finite number, or two",
        ),
        (
            {"label": "kind", "payoffs": {"a": {"big": "five", "small": 1}, "b": {"big": 1, "small": 1}}},
            "payoffs.a has .'five'., must be a",
        ),
    ],
)
def test_bad_tables_say_so(settings, message):
    """What, where, and all at once."""
    with pytest.raises(rb.UserError, match=message):
        rb.classification(table(), **settings)


def test_holes_and_missing_files_say_so(tmp_path):
    """A hole would be a number of its own."""
    with pytest.raises(rb.UserError, match=r"holes in size \(1\): fill them or drop the rows"):
        rb.classification(table().assign(size=lambda t: t["size"].mask(t.index == 3)), label="kind")
    with pytest.raises(rb.UserError, match="the table has infinite numbers in size"):
        rb.classification(table().assign(size=lambda t: t["size"].mask(t.index == 3, np.inf)), label="kind")
    names = pd.DataFrame({"name": np.arange(2001).astype(str), "kind": ["a", "b", "c"] * 667})
    with pytest.raises(rb.UserError, match="name make a context of 2,001 numbers, at most 2,000 are taken"):
        rb.classification(names, label="kind")
    with pytest.raises(rb.UserError, match="no such file"):
        rb.classification(tmp_path / "none.csv", label="kind")
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(rb.UserError, match="cannot be read as Parquet"):
        rb.classification(tmp_path / "bad.parquet", label="kind")
    with pytest.raises(rb.UserError, match=r"delta is 1.0, must be in \(0, 1\); events is 0"):
        rb.wheel(delta=1.0, events=0)


def test_the_stage_judges_on_a_test_bed(tmp_path):
    """No log, and a uniform that loses: the choice comes from other replicas, the control and the plan are there, and all is valid JSON."""
    table().to_parquet(tmp_path / "table.parquet")
    payoffs = "{eat: {big: 5, small: [5, -35]}, pass: {big: 0, small: 0}}"
    (tmp_path / "config.yaml").write_text(f"""
runtime: {{replica_chunk: 3}}
simulate:
  world: {{kind: classification, table: {tmp_path / "table.parquet"}, label: kind, payoffs: {payoffs}, events: 150, batch: 5}}
  seeds: 3
  choose_seeds: 2
  choose: halving
  policies: [{{kind: ucb, learner: linear, exploration: [0.5, 2]}}]
""")
    done = recbayes("simulate", tmp_path / "config.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "run" / "simulation.json").read_text()
    figures = json.loads(text, parse_constant=pytest.fail)
    chosen = figures["chosen"]
    assert chosen in figures["choice"]["policies"]
    assert figures["choice"]["halving"]["rounds"][0]["lifts"] == dict.fromkeys(figures["choice"]["halving"]["rounds"][0]["lifts"])
    ours = figures["policies"]
    assert figures["choice"]["policies"][chosen]["cumulative_regret"] != ours[chosen]["cumulative_regret"]
    kept = figures["choice"]["halving"]["rounds"][0]["kept"]
    assert kept.index("linear/greedy") < kept.index("uniform")
    (control,) = figures["controls"].values()
    assert ours[control["control"]]["control_of"] in ours
    assert figures["plan"]["greedy"] == "linear/greedy"
    assert figures["plan"]["by_item"][0]["item"] in ("eat", "pass")


def test_auto_on_a_test_bed_is_over_contexts():
    """Counts know no context, and knowledge gradient no rewards beyond clicks."""
    config = parse({"simulate": {"world": "wheel", "policies": "auto"}})
    assert {policy.learner.kind for policy in config.simulate.policies if policy.learner} == {"linear"}
    assert {policy.kind for policy in config.simulate.policies} == {"uniform", "greedy", "ucb", "thompson"}
