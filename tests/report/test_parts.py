"""Numbers, scales, markup and the replay's figures by themselves."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recbayes.report.decision import trust
from recbayes.report.html import join, tag, text
from recbayes.report.outcomes import configured, curves, outcomes
from recbayes.report.parts import HUES, colours
from recbayes.report.run import read_run
from recbayes.report.sections import planning
from recbayes.report.sections.calibration import calibration
from recbayes.report.sections.exploration import families
from recbayes.report.sections.export import snippet
from recbayes.report.svg import apart, padded, path, ticks


def test_markup_is_escaped_once() -> None:
    """Text is escaped, markup is not escaped again, attributes can't be left."""
    inner = tag("b", "a < b")
    assert tag("p", inner, " & ", "c") == "<p><b>a &lt; b</b> &amp; c</p>"
    assert tag("p", title='"><script>') == '<p title="&quot;&gt;&lt;script&gt;"></p>'
    assert join(text("x"), [["y"], None]) == "xy"


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.004, 0.13), (3.2, 3.9), (0.0, 17.3), (-4.4, -4.1)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    """Two to ten of them, evenly spaced, within the scale."""
    marks = ticks(low, high, 5)
    assert 2 <= len(marks) <= 10
    assert low - 1e-9 <= marks[0] <= marks[-1] <= high + 1e-9
    np.testing.assert_allclose(np.diff(marks), marks[1] - marks[0])


def test_labels_keep_apart_and_stay_inside() -> None:
    """Curves that end together still have readable names."""
    placed = apart([100.0, 101.0, 102.0, 20.0], 17, 10.0, 120.0)
    assert (np.diff(sorted(placed)) >= 17).all()
    assert max(placed) <= 120


def test_a_scale_of_one_value_is_not_empty() -> None:
    """All lifts equal, or all missing."""
    assert padded([0.1])[0] < 0.1 < padded([0.1])[1]
    assert padded([float("nan")])[0] < padded([float("nan")])[1]


def test_a_gap_in_a_curve_stays_a_gap() -> None:
    """A missing figure is not drawn as 0."""
    assert 'd="M0.0 1.0M2.0 3.0"' in path([(0.0, 1.0), (1.0, float("nan")), (2.0, 3.0)], "curve")


def test_curves_are_paired_lifts(run_folder: Path) -> None:
    """Uniform is 0 throughout; the ends agree with the summary within the replicas' noise."""
    run = read_run(run_folder)
    frame = curves(run)
    assert (frame[frame.policy == "uniform"].lift == 0).all()
    ends = frame[frame.share == 1.0].set_index("policy").lift
    for outcome in outcomes(run):
        assert ends[outcome.name] == pytest.approx(outcome.lift, abs=0.005)
    assert ((frame.lower <= frame.lift) & (frame.lift <= frame.upper)).all()


def test_a_level_that_is_off_is_said(run_folder: Path) -> None:
    """Coverage may look right while all predictions are a tenth too high."""
    run = read_run(run_folder)
    assert run.calibration is not None
    assert "On the whole" not in calibration(run)
    bins = [{**b, "predicted": 1.1 * b["observed"]} for b in run.calibration["reliability"]]
    off = dataclasses.replace(run, calibration={**run.calibration, "reliability": bins})
    assert "On the whole 10% more clicks are predicted than came." in calibration(off)
    assert "the level is off: 10% more clicks" in trust(off)


def test_policies_are_known_by_the_config(run_folder: Path) -> None:
    """Kind, learner and exploration come from there, not from guessing at names."""
    found = {o.name: o for o in outcomes(read_run(run_folder))}
    assert found["density/thompson_quarter"].kind == "thompson"
    assert found["density/thompson_quarter"].exploration == 0.25
    assert found["counts/greedy"].learner != found["density/greedy"].learner
    assert list(configured({"simulate": {"policies": [{"kind": "ucb", "learner": "density"}]}})) == ["density/ucb"]
    assert configured({}) == {}


def test_families_differ_in_exploration_alone(run_folder: Path) -> None:
    """Greedy on the same learner is the 0 of each; a policy alone with no greedy is no family."""
    found = {f.name: [o.exploration for o in f.members] for f in families(outcomes(read_run(run_folder)))}
    assert found == {"density/thompson": [0.0, 0.25, 1.0], "density/ucb": [0.0, 1.0, 2.0]}


def test_the_export_s_example_is_python(run_folder: Path) -> None:
    """A reader pastes it: it must parse, name every input and give two candidates."""
    run = read_run(run_folder)
    assert run.export is not None
    calls = [
        node for node in ast.walk(ast.parse(snippet("run", run.export["signatures"]["decide"]["inputs"]))) if isinstance(node, ast.Call)
    ]
    decide = next(call for call in calls if isinstance(call.func, ast.Name))
    assert [keyword.arg for keyword in decide.keywords] == ["headline", "clicks", "exploration", "seed"]
    assert ast.unparse(decide.keywords[0].value) == "tf.constant([['...', '...']], tf.string)"


def test_the_recommended_policy_has_the_first_colour(run_folder: Path) -> None:
    """And no two policies share one, until colours run out."""
    policies = outcomes(read_run(run_folder))
    hues = colours(policies, policies[1])
    assert hues[policies[1].name] == "c0"
    assert hues["uniform"] == "cu"
    named = [hue for hue in hues.values() if hue not in ("cu", "cf")]
    assert len(named) == len(set(named)) <= HUES


def test_rounds_without_lifts_are_still_told() -> None:
    """On a test bed where uniform loses there is no lift over it: a dash a round, the policies in the order in which they were kept."""
    rounds = [
        {"seeds": 1, "lifts": {"uniform": None, "greedy": None, "ucb": None}, "kept": ["ucb", "greedy", "uniform"]},
        {"seeds": 2, "lifts": {"uniform": None, "ucb": None}, "kept": ["ucb", "uniform"]},
    ]
    shown = str(planning._halving({"tried": 3, "best": "ucb", "rounds": rounds}))
    assert shown.index("ucb") < shown.index("uniform") < shown.index("greedy")
    assert "nan" not in shown.lower()
