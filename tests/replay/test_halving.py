"""Successive halving, and the simulate stage that chooses by it, holds the choice against its control and says what it costs."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import recbayes
from replay.worlds import pages

import recbayes as rb
from recbayes.config import parse
from recbayes.pipelines.choosing import rounds

GRID = [0.25, 1.0, 4.0, 16.0, 64.0]


@pytest.fixture(scope="module")
def halving():
    world = rb.queue(pages(groups=20, rate=0.2), steps=10)
    return rb.halve(world, [rb.uniform(), rb.ucb(rb.counts(), exploration=GRID)], seeds=(1, 4), keep=2, stay=("uniform",), replica_chunk=4)


def test_the_better_half_goes_on(halving):
    """Six policies, then three and uniform, then two: each round in more replicas, by the lifts of the round before."""
    (first, lifts), (second, later) = halving.rounds
    assert (first, second) == (1, 4)
    assert len(lifts) == 6
    best = sorted(lifts, key=lambda name: -lifts[name])[:3]
    assert set(later) == {*best, "uniform"}
    assert halving.best == max(later, key=lambda name: later[name])
    assert halving.result.about["seeds"] == 4
    assert halving.result.policies == [name for name in lifts if name in later]


def test_a_last_round_is_an_ordinary_replay(halving):
    """What is left is played as if it had been alone: the same replicas, the same luck."""
    name = halving.best
    policy = rb.ucb(rb.counts(), exploration=float(name.partition("@")[2]), name=name)
    alone = rb.replay(rb.queue(pages(groups=20, rate=0.2), steps=10), [policy], seeds=4)
    np.testing.assert_allclose(halving.result.expected[name], alone.expected[name], rtol=1e-5)


def test_mistakes_say_so():
    """Rounds that do not grow compare nothing."""
    with pytest.raises(rb.UserError, match="seeds are 4, 4"):
        rb.halve(None, [], seeds=(4, 4))
    with pytest.raises(rb.UserError, match="keep is 0"):
        rb.halve(None, [], keep=0)


def test_rounds_end_at_all_replicas():
    """However few they are."""
    assert [rounds(most) for most in (8, 4, 2, 1)] == [[2, 4, 8], [1, 2, 4], [1, 2], [1]]


def test_auto_is_the_family():
    """One word in a config; over counts where there are no features to make a model of."""
    simulate = {"world": {"kind": "queue"}, "policies": "auto"}
    columns = {"clicks": "clicks", "impressions": "shown", "item": "item", "group": "page"}
    bare = {"log": {"path": "log.parquet", "columns": columns}, "simulate": simulate}
    modelled = parse({**bare, "features": [{"name": "headline", "kind": "text"}]}).simulate
    wanted = {name for policy in rb.policy_family("density") for name in [one.name for one in policy.members]}
    assert {policy.name for policy in modelled.policies} == wanted
    assert modelled.choose == "halving"
    assert {policy.kind for policy in rb.policy_family(rb.linear_learner())} == {"uniform", "greedy", "ucb", "thompson"}
    assert {policy.learner.settings["prior"] for policy in parse(bare).simulate.policies if policy.learner} == {"page"}
    assert parse({**bare, "simulate": {**simulate, "choose": "all"}}).simulate.choose == "all"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run without a model: halving over a grid, one other horizon."""
    folder = tmp_path_factory.mktemp("auto")
    log = pages(groups=60, rate=0.2)
    frame = log.table.to_pandas().assign(item=np.arange(len(log)))
    frame.to_parquet(folder / "log.parquet")
    policies = "[{kind: ucb, learner: {kind: counts, prior: flat}, exploration: [0.5, 1, 32]}]"
    config = f"""
runtime: {{replica_chunk: 2}}
log:
  path: {folder / "log.parquet"}
  columns: {{clicks: clicked, impressions: shown, item: item, group: page}}
  split: {{by: group, test_fraction: 0.5}}
simulate:
  world: {{kind: queue, steps: 10}}
  seeds: 4
  choose: halving
  choose_fraction: 0.5
  plan: {{updates_a_day: 5, horizons: [0.5], seeds: 2}}
  policies: {policies}
"""
    (folder / "config.yaml").write_text(config)
    done = recbayes("simulate", folder / "config.yaml", "--out", folder / "run")
    assert done.exit_code == 0, done.stderr
    return folder / "run"


def test_the_stage_chooses_judges_and_costs(run):
    """simulation.json says how the policy was found, whether its uncertainty helped, and what exploring costs; its contract keys stay."""
    figures = json.loads((run / "simulation.json").read_text())
    rows = pd.read_parquet(run / "simulation.parquet")
    said = json.loads((run / "stages.json").read_text())["stages"]["simulate"]["summary"]["says"]
    assert set(figures["policies"]) == set(rows.policy.unique())
    assert figures["chosen"] in figures["policies"]
    assert {"uniform", "counts/greedy"} < set(figures["policies"])
    assert figures["choice"]["halving"]["tried"] == 5
    (told,) = figures["controls"].values()
    assert told["says"] in said
    plan = figures["plan"]
    assert plan["says"] in said
    assert plan["greedy"] == "counts/greedy"
    assert plan["by_step"][-1]["day"] == 2.0
    (other,) = plan["sensitivity"]
    assert (other["horizon"], other["delay"]) == (0.5, None)
    assert other["interval"][0] <= other["lift_over_greedy"] <= other["interval"][1]
    assert abs(figures["policies"]["uniform"]["lift_over_uniform"]) < 0.01


def test_a_world_without_the_setting_refuses_it(run):
    """A horizon that the world does not take must not be passed over."""
    done = recbayes("simulate", run.parent / "config.yaml", "--out", run, "simulate.plan.horizons=[2.0]")
    assert done.exit_code == 2
    assert "longer than the queues" in " ".join(done.stderr.split())
