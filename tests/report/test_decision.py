"""The first sentences: a wrong word there is a wrong decision."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from recbayes.report.decision import avoid, cost, decide, gain, headline
from recbayes.report.outcomes import Outcome
from recbayes.report.run import Run, read_run
from recbayes.report.sections.replay import regret


def outcome(name: str, lift: float, over: float, *, half: float = 0.005, kind: str = "", early: float = float("nan")) -> Outcome:
    learner, _, tail = name.rpartition("/")
    ends = (over - half, over + half)
    return Outcome(name, 1000.0, lift, (lift - 0.015, lift + 0.015), over, ends, early, 0.001, kind or tail, learner, 1.0, {})


UCB = outcome("density/ucb", 0.112, 0.02)


def test_a_clear_winner_is_named_with_both_lifts() -> None:
    """Which policy, and its lift over uniform and over greedy, in the first sentence."""
    assert (
        headline(UCB) == "Use density/ucb: it earns 11.2% (9.7 to 12.7%) more clicks than uniform and 2.0% (1.5 to 2.5%) more than greedy."
    )
    assert "(9.7 to 12.7%)" in gain(UCB, [UCB])
    assert "(1.5 to 2.5%)" in gain(UCB, [UCB])


def test_who_ended_higher_on_the_test_groups_is_said() -> None:
    """A reader sees the curve above the recommended one: the page must say why it was not taken, and which greedy is meant."""
    greedy = outcome("density/greedy", 0.09, 0.0, half=0.0)._replace(reference=True)
    words = gain(UCB, [outcome("counts/greedy", 0.12, 0.03), UCB, greedy])
    assert "+2.0% over density/greedy" in words
    assert "Higher on these groups: counts/greedy (+12.0%); the choice was made before, on the newest training groups" in words
    assert "Higher" not in gain(UCB, [UCB, greedy])


@pytest.mark.parametrize("chosen", [outcome("density/ucb", 0.112, 0.002), outcome("density/greedy", 0.112, 0.0, half=0.0)])
def test_greedy_as_good_as_exploring_is_the_first_line(chosen: Outcome) -> None:
    """Where the paired interval holds 0, or greedy itself was chosen, nobody should build an exploring system for this report."""
    assert headline(chosen).startswith("Greedy is as good as exploring")


def test_a_choice_that_lost_on_the_test_groups_is_not_recommended() -> None:
    """The choice is made on training groups; the test groups have the last word."""
    assert headline(outcome("density/thompson", 0.07, -0.03)).startswith("Use greedy: density/thompson")


def test_no_lift_over_uniform_is_said() -> None:
    """An interval that holds 0 is no lift."""
    assert headline(outcome("density/ucb", 0.01, 0.0)).startswith("No policy is shown to beat uniform")


def test_full_width_thompson_is_warned_of() -> None:
    """The worst policy first, why, then the others; uniform is no news."""
    losers = [outcome("density/thompson", 0.06, -0.034), outcome("counts/greedy", 0.07, -0.02), outcome("uniform", 0.0, -0.09)]
    words = avoid(UCB, [UCB, *losers])
    assert words.startswith("density/thompson at full width earns 3.4% fewer clicks than greedy (−3.9 to −2.9%): it explores more")
    assert "Worse than greedy too: counts/greedy." in words
    assert "clearly worse" in avoid(UCB, [UCB, losers[-1]])
    near = outcome("density/thompson", 0.08, -0.002)
    assert avoid(UCB, [UCB, near]).endswith("density/thompson at full width comes closest: −0.2% (−0.7 to 0.3%).")


@pytest.mark.parametrize(
    ("early", "final", "words"),
    [
        (0.01, 0.11, "At worst it is 0.10% of uniform's clicks behind. It makes up for that later"),
        (0.01, 0.09, "does not make up for that"),
        (0.05, 0.11, "Nothing that the replay can see"),
    ],
)
def test_the_cost_is_early_clicks_against_greedy_on_the_same_learner(early: float, final: float, words: str) -> None:
    """Not against greedy on another learner, whose prior may be worse."""
    greedy = outcome("density/greedy", 0.10, 0.0, early=0.03)
    other = outcome("counts/greedy", 0.05, -0.05, early=0.001)
    assert words in cost(outcome("density/ucb", final, 0.01, early=early), [other, greedy])


def test_greedy_costs_nothing_and_learns_nothing() -> None:
    """What a reader should know before leaving exploration out."""
    assert "Nor does it learn" in cost(outcome("density/greedy", 0.1, 0.0), [])


def test_a_missing_figure_is_silence_not_a_number() -> None:
    """No greedy in the replay: no cost is claimed, and no interval."""
    alone = UCB._replace(greedy_interval=None, over_greedy=float("nan"))
    assert cost(alone, [alone]) == ""
    assert "greedy" not in gain(alone, [alone])


def changed(run_folder: Path, **figures: Any) -> Run:
    """The run with other figures of the chosen policy."""
    run = read_run(run_folder)
    assert run.simulation is not None
    policies = {name: record | figures for name, record in run.simulation["policies"].items()}
    return dataclasses.replace(run, simulation=run.simulation | {"policies": policies, "world": "wheel"})


def test_regret_is_the_answer_where_the_optimum_is_known(run_folder: Path) -> None:
    """A lift over a uniform that earns less than nothing would be nonsense: the first line and the section say the regret."""
    figures = {"regret_over_uniform": 0.0079, "regret_interval": [0.0077, 0.0081], "regret_stddev": 0.0007, "regret_per_decision": 0.08}
    run = changed(run_folder, **figures)
    assert decide(run).headline.endswith("is at 0.79% of uniform's regret, where the optimum is known.")
    shown = str(regret(run))
    assert "0.77 to 0.81%" in shown
    assert "The optimum of the wheel world is known" in shown
    assert regret(read_run(run_folder)) is None


def test_too_few_matches_are_the_first_line(run_folder: Path) -> None:
    """26 logged decisions without a click recommend nothing."""
    run = changed(run_folder, verdict="do_not_trust", reason="26 logged decisions matched, with 0.0 clicks")
    assert decide(run).headline.endswith("yet: 26 logged decisions matched, with 0.0 clicks.")
