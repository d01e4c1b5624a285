"""`calibrate` on a simulated log whose law the stand-in model knows: the contract of calibration.json and predictions.parquet."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from recbayes.calibration import Recalibration, calibrate
from recbayes.densities import BetaMixture
from recbayes.features import categorical, numeric, text
from recbayes.log import Log, read_log
from recbayes.predictive import Predictive
from recbayes.types import UserError

GROUPS, ARMS, CONCENTRATION = 400, 4, 200.0


@dataclasses.dataclass
class TrueModel:
    """Knows the law of each row's click rate from its one telling feature."""

    encoder: Any
    warnings: tuple[str, ...] = ()
    record: dict[str, Any] = dataclasses.field(default_factory=dict)

    def predict(self, log: Log) -> Predictive:
        mean = np.asarray(log.column("quality"), np.float32)[None, :, None, None]  # [S, N, A, K]
        return Predictive.from_draws(BetaMixture(np.zeros_like(mean), mean, np.full_like(mean, CONCENTRATION)))

    def log_likelihood(self, log: Log) -> NDArray[np.float64]:
        mean = np.asarray(log.column("quality"), np.float64)
        rows = stats.betabinom.logpmf(log.clicks, log.impressions, mean * CONCENTRATION, (1 - mean) * CONCENTRATION)
        segments, groups = log.segments
        return np.bincount(segments, rows, minlength=groups)


FEATURES = [text("headline"), categorical("image"), numeric("quality")]
MODEL = TrueModel(type("Encoder", (), {"features": FEATURES})())


def simulated(folder: Path, *, events: bool = False) -> tuple[Log, Log]:
    """Training and test log of 200 groups each, counts or one impression a row."""
    rng = np.random.default_rng(0)
    rows = GROUPS * ARMS
    quality = rng.uniform(0.01, 0.05, rows)
    shown = rng.integers(20, 40, rows) if events else rng.integers(50, 3000, rows)
    columns = {
        "id": np.arange(rows),
        "page": np.repeat(np.arange(GROUPS), ARMS),
        "headline": [f"You will {'laugh' if i >= rows / 2 else 'cry'} <b>{i % 7}</b>" for i in range(rows)],
        "image": [f"i{i % 50}" for i in range(rows - 1)] + ["unseen"],
        "quality": quality,
        "clicks": rng.binomial(shown, rng.beta(quality * CONCENTRATION, (1 - quality) * CONCENTRATION)),
        "impressions": shown,
    }
    frame = pd.DataFrame(columns)
    roles: Mapping[str, str] = {"clicks": "clicks", "impressions": "impressions", "item": "id", "group": "page", "time": "page"}
    if events:
        frame = frame.loc[frame.index.repeat(frame.impressions)].reset_index(drop=True)
        frame["clicks"] = (frame.groupby("id").cumcount() < frame.clicks).astype(int)
        roles = {role: column for role, column in roles.items() if role != "impressions"}
        frame = frame.drop(columns="impressions")
    frame.to_parquet(folder / "log.parquet")
    log = read_log(folder / "log.parquet", **roles, features=["headline", "image", "quality"])
    return log.split(by="time", test_fraction=0.5)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], pd.DataFrame]:
    train, test = simulated(tmp_path_factory.mktemp("log"))
    return calibrate(MODEL, train, test)


def test_the_frame_holds_the_contract(result: tuple[dict[str, Any], pd.DataFrame]) -> None:
    """What predictions.parquet promises: no nulls, variances that add up, intervals that hold their mean."""
    _, frame = result
    assert len(frame) == GROUPS * ARMS / 2
    needed = ["item", "group", "clicks", "impressions", "mean", "data_stddev", "model_stddev", "stddev", "lower", "upper", "clicks_lower"]
    assert frame[[*needed, "clicks_upper", "pit", "new"]].notna().all().all()
    np.testing.assert_allclose(frame.data_stddev**2 + frame.model_stddev**2, frame.stddev**2, rtol=1e-9)
    assert ((frame.lower <= frame["mean"]) & (frame["mean"] <= frame.upper)).mean() > 0.9
    assert (frame.clicks_lower <= frame.clicks_upper).all()
    assert frame.clicks_lower.dtype == np.int64


def test_a_right_model_is_found_calibrated(result: tuple[dict[str, Any], pd.DataFrame]) -> None:
    """Coverage within binomial error (alarm 4e-6 over four levels, z < 4.9), the rows' own closed intervals hold at least as much."""
    figures, frame = result
    for level, share in figures["coverage"].items():
        assert abs(share - float(level)) < 4.9 * np.sqrt(float(level) * (1 - float(level)) / len(frame))
        low, high = figures["coverage_interval"][level]
        assert low <= share <= high
    inside = frame.clicks.between(frame.clicks_lower, frame.clicks_upper).mean()
    assert figures["coverage"]["0.9"] - 0.02 <= inside <= figures["coverage"]["0.9"] + 0.10
    assert all(len(shares) == 10 for shares in figures["coverage_by_decile"].values())
    assert sum(figures["pit"]) == len(frame)


def test_the_truth_beats_the_baselines(result: tuple[dict[str, Any], pd.DataFrame]) -> None:
    """Log-likelihood a row is a mean over rows, joint over groups, and the feature-free fits are worse than the truth."""
    figures, _ = result
    assert set(figures["baselines"]) == {"constant", "beta_binomial", "page_effect"}
    assert figures["log_likelihood_per_row"] > max(figures["baselines"].values())
    assert figures["groups"] == GROUPS / 2


def test_what_is_new_is_told(result: tuple[dict[str, Any], pd.DataFrame]) -> None:
    """The last row's image is in no training row, and no training headline laughs."""
    _, frame = result
    assert frame.new.iloc[-1].startswith("1 of 5 words of headline new; image new")
    assert frame.headline.iloc[0].startswith("You will laugh <b>")


def test_chunks_change_nothing_that_is_not_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log larger than a chunk: the same moments row by row, and count intervals within the draws' error (5% of a count on average)."""
    train, test = simulated(tmp_path)
    whole = calibrate(MODEL, train, test, draws=500)[1]
    monkeypatch.setattr(sys.modules["recbayes.calibration.calibrate"], "CHUNK", 77)  # the package names the function so
    parts = calibrate(MODEL, train, test, draws=500)[1]
    pd.testing.assert_frame_equal(whole[["item", "mean", "stddev", "lower"]], parts[["item", "mean", "stddev", "lower"]])
    assert (whole.clicks_upper / parts.clicks_upper.clip(lower=1)).between(0.8, 1.25).mean() > 0.95


def test_events_are_summed_first(tmp_path: Path) -> None:
    """One impression a row says nothing about spread: rows of one arm are one count."""
    train, test = simulated(tmp_path, events=True)
    figures, frame = calibrate(MODEL, train, test, draws=200)
    assert len(frame) == figures["rows"] == GROUPS * ARMS / 2
    assert frame.impressions.between(20, 39).all()


def test_a_model_that_predicts_no_number_is_refused(tmp_path: Path) -> None:
    """Diverged training must not end in a report of zeros."""
    train, test = simulated(tmp_path)

    class Diverged(TrueModel):
        def predict(self, log: Log) -> Predictive:
            right = super().predict(log)
            return right._replace(density=right.density._replace(means=right.density.means * np.nan))

    with pytest.raises(UserError, match=r"no number for 800 of 800 test rows .*smaller train\.learning_rate"):
        calibrate(Diverged(MODEL.encoder), train, test)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    """A rerun of the stage writes the same file."""
    train, test = simulated(tmp_path)
    assert calibrate(MODEL, train, test, draws=100, seed=3)[0] == calibrate(MODEL, train, test, draws=100, seed=3)[0]


def test_scores_gains_and_parts_are_there(result: tuple[dict[str, Any], pd.DataFrame]) -> None:
    """The truth is ahead of every baseline beyond its interval, gets what it expects, and covers in every part of the image column."""
    figures, frame = result
    for name, gain in figures["log_likelihood_gain"].items():
        assert gain["value"] == pytest.approx(figures["log_likelihood_per_row"] - figures["baselines"][name])
        assert 0.0 < gain["interval"][0] < gain["value"] < gain["interval"][1]
    expected = figures["log_likelihood_expected"]
    assert abs(expected["observed"] - expected["expected"]) < 4.9 * expected["stderr"]
    assert 0.0 < figures["crps"]["skill"] < 1.0
    assert figures["crps"]["clicks"] < min(figures["crps"]["baselines"].values())
    assert figures["recalibration"] is None
    (parts,) = figures["coverage_by"].values()
    assert sum(part["rows"] for part in parts) == len(frame)
    assert "NaN" not in json.dumps(figures)


def test_any_column_can_be_looked_at(tmp_path: Path) -> None:
    """`by` names columns: numbers make quarters; one that the log lacks is an error that says how to have it."""
    train, test = simulated(tmp_path)
    parts = calibrate(MODEL, train, test, draws=256, by=["quality"])[0]["coverage_by"]["quality"]
    assert [part["rows"] for part in parts] == [len(test) // 4] * 4
    with pytest.raises(UserError, match="without a column 'country'"):
        calibrate(MODEL, train, test, draws=256, by=["country"])


def test_a_recalibrated_model_s_intervals_follow_the_map(tmp_path: Path, result: tuple[dict[str, Any], pd.DataFrame]) -> None:
    """A model twice too doubtful, and the map that mends it: intervals, counts and coverage move; moments and likelihood stay."""

    class Doubtful(TrueModel):
        recalibration: Any = None

        def predict(self, log: Log) -> Predictive:
            right = super().predict(log)
            return right._replace(density=right.density._replace(concentrations=right.density.concentrations / 4.0))

    train, test = simulated(tmp_path)
    model = Doubtful(MODEL.encoder)
    plain, before = calibrate(model, train, test)
    model.recalibration = Recalibration(0.05, 0.5, 0.01, 0.02, 400, 100)
    mapped, after = calibrate(model, train, test)
    assert plain["coverage"]["0.9"] > 0.95
    assert abs(mapped["coverage"]["0.9"] - 0.9) < 0.05
    assert mapped["recalibration"]["coverage_before"] == plain["coverage"]
    assert mapped["crps"]["clicks"] < plain["crps"]["clicks"]
    assert (after.upper - after.lower < before.upper - before.lower).all()
    assert (after.clicks_upper - after.clicks_lower).mean() < (before.clicks_upper - before.clicks_lower).mean()
    pd.testing.assert_frame_equal(
        before[["mean", "data_stddev", "model_stddev", "stddev"]], after[["mean", "data_stddev", "model_stddev", "stddev"]]
    )
    assert mapped["log_likelihood_per_row"] == plain["log_likelihood_per_row"]
