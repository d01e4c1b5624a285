"""A made-up run folder: every file that the stages would write, small, with hostile texts in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from recbayes.calibration import (
    condense,
    count_quantile,
    coverage,
    coverage_by,
    covered,
    deciles,
    histogram,
    pit,
    reliability,
    share_interval,
)
from recbayes.calibration import sharpness as sharpness_of
from recbayes.calibration.coverage import LEVELS
from recbayes.findings.surprises import surprises

HOSTILE = '</svg><script>document.body.remove()</script> "quotes" & <b>tags</b> 🦄 won\'t bite'
POLICIES: dict[str, tuple[dict[str, Any], float, float, float]] = {
    # name: (config, final lift, early lift, half width against greedy)
    "uniform": ({"kind": "uniform"}, 0.0, 0.0, 0.01),
    "counts/greedy": ({"kind": "greedy", "learner": {"kind": "counts", "prior": "flat"}, "name": "counts/greedy"}, 0.078, 0.03, 0.012),
    "density/greedy": ({"kind": "greedy", "learner": {"kind": "density"}}, 0.101, 0.066, 0.006),
    "density/ucb": ({"kind": "ucb", "learner": {"kind": "density"}, "exploration": 1.0}, 0.112, 0.07, 0.006),
    "density/ucb_double": (
        {"kind": "ucb", "learner": {"kind": "density"}, "exploration": 2.0, "name": "density/ucb_double"},
        0.097,
        0.06,
        0.006,
    ),
    "density/thompson": ({"kind": "thompson", "learner": {"kind": "density"}, "exploration": 1.0}, 0.07, 0.045, 0.006),
    "density/thompson_quarter": (
        {"kind": "thompson", "learner": {"kind": "density"}, "exploration": 0.25, "name": "density/thompson_quarter"},
        0.118,
        0.072,
        0.006,
    ),
    "density/knowledge_gradient": ({"kind": "knowledge_gradient", "learner": {"kind": "density"}}, 0.109, 0.064, 0.006),
}


def make_run(folder: Path, *, rows: int = 400, chosen: str = "density/thompson_quarter", greedy: str = "density/greedy") -> Path:
    """Writes the whole folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder)
    write_audit(folder)
    write_training(folder)
    write_model(folder, rows)
    write_simulation(folder, chosen, greedy)
    write_comparison(folder)
    write_rest(folder)
    return folder


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_config(folder: Path) -> None:
    config = {
        "seed": 0,
        "log": {"path": "example:upworthy", "columns": {"clicks": "clicks", "impressions": "impressions"}},
        "simulate": {"world": {"kind": "queue", "steps": 50}, "policies": [config for config, *_ in POLICIES.values()]},
        "resolved": {"versions": {"recbayes": "0.1.0", "tensorflow": "2.21.0"}, "data": {"log": "77b01f3a"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def write_audit(folder: Path) -> None:
    findings = [
        {
            "check": "randomisation",
            "severity": "warn",
            "rows": 4274,
            "message": "rows in randomization_imbalance_window are flagged by the archive's authors.",
        },
        {"check": "leaks", "severity": "warn", "rows": 0, "message": f"winner is a function of the outcome: {HOSTILE}"},
        {"check": "duplicates", "severity": "ok", "rows": 2, "first": [3, 8], "message": "rows equal in all columns but the counts."},
    ]
    aa = {"chi2_per_dof": 1.70, "interval": [1.55, 1.86], "rows": 1320, "distinct": 2.86}
    _dump(folder / "audit.json", {"verdict": "warn", "findings": findings, "aa": aa})


def write_training(folder: Path) -> None:
    epochs = np.arange(1, 13)
    frame = pd.DataFrame(
        {
            "epoch": epochs,
            "loss": 3.95 + 0.5 * np.exp(-epochs / 2),
            "held_out": -(4.12 + 0.35 * np.exp(-epochs / 1.5) + 0.004 * np.maximum(epochs - 6, 0) ** 1.5),
            "seconds": 0.8,
            "rows_per_second": 21_000.0,
        }
    )
    frame.to_csv(folder / "training.csv", index=False)


def write_model(folder: Path, rows: int) -> None:
    """Calibrated predictions of simulated rows, and their figures by the library's own functions."""
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, rows // 4, rows))
    segments = np.unique(groups, return_inverse=True)[1].astype(np.int32)
    impressions = rng.integers(800, 6000, rows)
    mean = np.clip(rng.lognormal(np.log(0.012), 0.3, rows), 0.002, 0.1)
    data, model = 0.55 * mean * rng.uniform(0.8, 1.2, rows), mean * rng.gamma(4.0, 0.04, rows)
    concentration = mean * (1 - mean) / (data**2 + model**2) - 1
    draws = rng.beta(mean * concentration, (1 - mean) * concentration, (400, rows))
    clicks = rng.binomial(impressions, rng.beta(mean * concentration, (1 - mean) * concentration)).astype(float)
    points = condense(draws)
    low, high = count_quantile([0.05, 0.95], impressions, points)
    values = pit(clicks, impressions, points)
    frame = pd.DataFrame(
        {
            "item": np.arange(rows),
            "group": [f"test{g}" for g in groups],
            "clicks": clicks.astype(int),
            "impressions": impressions,
            "mean": mean,
            "data_stddev": data,
            "model_stddev": model,
            "stddev": np.sqrt(data**2 + model**2),
            "lower": np.quantile(draws, 0.05, axis=0),
            "upper": np.quantile(draws, 0.95, axis=0),
            "clicks_lower": low.astype(int),
            "clicks_upper": high.astype(int),
            "pit": values,
            "new": [("4 of 11 words of headline new" if i % 3 else "") for i in range(rows)],
            "headline": [
                f"{i}: {HOSTILE}" if i % 2 else f"Someone Gave {i} Parents A Simple Question. Their Answers Say Everything."
                for i in range(rows)
            ],
        }
    )
    frame.to_parquet(folder / "predictions.parquet")
    tenths = deciles(impressions)
    parts = {str(level): coverage_by(values, tenths, level=level, clusters=segments) for level in LEVELS}
    figures = {
        "rows": rows,
        "groups": int(segments.max() + 1),
        "log_likelihood_per_row": -4.114,
        "baselines": {"constant": -17.33, "beta_binomial": -4.835, "page_effect": -4.178},
        "coverage": coverage(values),
        "coverage_interval": {str(level): share_interval(covered(values, level), segments) for level in LEVELS},
        "coverage_by_decile": {level: part.coverage.tolist() for level, part in parts.items()},
        "coverage_by_decile_interval": {level: part[["lower", "upper"]].to_numpy().tolist() for level, part in parts.items()},
        "decile_impressions": pd.Series(impressions).groupby(tenths).median().tolist(),
        "pit": histogram(values).tolist(),
        "reliability": reliability(clicks, impressions.astype(float), mean, clusters=segments),
        "sharpness": sharpness_of(mean, data, model, frame.lower.to_numpy(), frame.upper.to_numpy()),
    }
    few = np.arange(rows) % 3 == 0
    figures |= {
        "coverage_by": {"image": coverage_by(values, np.where(few, f"{HOSTILE}", "(other values)"), clusters=segments).to_dict("records")},
        "log_likelihood_expected": {"rows": 400, "expected": -4.16, "observed": -4.11, "stderr": 0.09},
        "crps": {"clicks": 15.9, "interval": [14.5, 17.3], "baselines": {"constant": 30.6, "beta_binomial": 22.0}, "skill": 0.28},
        "recalibration": {"shift": -0.1, "scale": 0.92, "groups": 312, "coverage_before": {"0.9": 0.93}},
    }
    _dump(folder / "calibration.json", figures)
    write_findings(folder, frame)


def write_findings(folder: Path, frame: pd.DataFrame) -> None:
    """Sentences and figures as the train stage writes them."""
    hidden = {"rows": 500, "of": "test", "share_known": 0.9, "mean_change": 0.1, "data": [0.68, 0.69], "model": [0.05, 0.09]}
    curve = [
        {
            "impressions": shown,
            "data": 0.68 / (1 + shown / 300) ** 0.5,
            "model": 0.07 / (1 + shown / 100) ** 0.7,
            "total": 0.69 / (1 + shown / 300) ** 0.5,
        }
        for shown in (0, 100, 300, 1000, 3000, 10000, 30000)
    ]
    part = {"rows": 200, "impressions": 0.0, "data": 0.6, "model": 0.07, "coverage": 0.93}
    ends = {"most": {"part": "over 25% new", "model": 0.09}, "least": {"part": "no new word", "model": 0.04}}
    within = {"column": "test", "parts": 90, "rows": 400, "seen": 0.25, "predicted": 0.06, "caught": 0.08}
    findings = {
        "hidden": [{"feature": name, **hidden, "says": f"Collect more of {name}."} for name in ("headline", f"image {HOSTILE}")],
        "item": {"curve": curve, "says": "Show a new item about 1,900 times."},
        "values": [
            {
                "feature": "image",
                "parts": [{"part": "never in training", **part}, {"part": "10 to 900", **part}],
                "most": [{"value": HOSTILE, "rows": 12.0, "impressions": 0.0, "model": 0.09}],
                "says": "Give image coarser values that repeat.",
            }
        ],
        "explained": {"features": [{"feature": "headline", "share": 0.1, **ends}], "says": "headline explains 10% of where it doubts."},
        "within": [{**within, "widest": [{"part": HOSTILE, "seen": 1.3}], "says": "Explore: only impressions tell."}],
        "surprises": surprises(frame),
        "left_out": [{"feature": "image", "rare": 2, "rows": 7, "says": "7 training rows have rare values of image: too few."}],
    }
    _dump(folder / "findings.json", findings)


def write_simulation(folder: Path, chosen: str, greedy: str) -> None:
    rng = np.random.default_rng(1)
    steps, seeds, total = 50, 6, 2_000_000
    share = np.arange(1, steps + 1) / steps
    frames, policies = [], {}
    at_greedy = POLICIES[greedy][1]
    for name, (config, lift, early, half) in POLICIES.items():
        rise = early + (lift - early) * (1 - np.exp(-3 * (share - 0.1))) / (1 - np.exp(-2.7)) if name != "uniform" else 0 * share
        rise = np.where(share < 0.1, rise * 0 + early * share / 0.1, rise)
        for seed in range(seeds):
            noise = 0.0 if name == "uniform" else rng.normal(0, 0.002)
            expected = total * share * 0.012 * (1 + rise + noise)
            frame = {
                "policy": name,
                "seed": seed,
                "checkpoint": np.arange(1, steps + 1),
                "share": share,
                "decisions": (total * share).astype(int),
                "clicks": expected.round(),
                "expected_clicks": expected,
                "uniform_clicks": total * share * 0.012,
            }
            frames.append(pd.DataFrame(frame))
        over = (1 + lift) / (1 + at_greedy) - 1
        policies[name] = {
            "clicks": total * 0.012 * (1 + lift),
            "lift_over_uniform": lift,
            "interval": [lift - 0.015, lift + 0.015] if name != "uniform" else [0.0, 0.0],
            "interval_over_replicas": [lift - 0.002, lift + 0.002],
            "lift_over_greedy": over,
            "interval_over_greedy": [over - half, over + half] if name != greedy else [0.0, 0.0],
            "lift_at_tenth": early,
            "cost_of_exploration": max(0.0, POLICIES["density/greedy"][2] - early) / 10 if name.startswith("density") else None,
            "exploration": config.get("exploration"),
        }
    held = policies["density/thompson_quarter"]
    policies["density/thompson_quarter~shuffled"] = held | {"control_of": "density/thompson_quarter"}
    frames.append(frames[-1].assign(policy="density/thompson_quarter~shuffled"))
    pairs = [
        {
            "policy": name,
            "other": greedy,
            "lift": record["lift_over_greedy"],
            "interval": record["interval_over_greedy"],
            "p": 0.01,
            "p_holm": 0.07,
            "sequence": {"interval": [None, None] if name == "uniform" else [-0.02, 0.03], "decided_after": 310},
            "verdict": "same" if abs(record["lift_over_greedy"]) < half else "better" if record["lift_over_greedy"] > 0 else "worse",
        }
        for name, record in policies.items()
        if name != greedy
    ]
    pd.concat(frames).to_parquet(folder / "simulation.parquet")
    world = {
        "world": "queue",
        "groups": 638,
        "groups_left_out": 142,
        "left_out": {"one arm": 3, "arms agree in every item-side feature": 139},
    }
    sizes = {"arms": 3268, "decisions": total, "steps": steps, "delay": 0, "seeds": seeds, "seed": 0}
    says = f"The uncertainty did not help density/thompson_quarter {HOSTILE}"
    step = {"decisions": 1000.0, "lower": -3.0, "upper": 9.0, "of_uniform": 0.001}
    item = {"group": 3, "item": HOSTILE, "shown": 120.5, "more": 80.2, "lost": 3.4}
    changed = {"horizon": None, "delay": 10, "lift_over_greedy": -0.01, "interval": [-0.02, 0.001], "worst": 55.0, "paid_back": None}
    plan = {
        "policy": chosen,
        "greedy": greedy,
        "says": f"{chosen} is at worst 12 clicks behind {greedy}.",
        "by_step": [{"share": (k + 1) / 20, "behind": 12.0 * k * (9 - k) / 20, **step} for k in range(20)],
        "by_item": [item, {**item, "lost": -1.0}],
        "sensitivity": [changed, {**changed, "delay": None, "horizon": 0.5, "paid_back": 0.7}],
    }
    rounds = [
        {"seeds": 2, "lifts": {name: 0.1 for name in POLICIES}, "kept": [chosen]},
        {"seeds": 4, "lifts": {chosen: 0.12}, "kept": [chosen]},
    ]
    told = {
        "plan": plan,
        "choice": {"halving": {"tried": len(POLICIES), "best": chosen, "rounds": rounds}},
        "comparisons": {"over": "groups", "multiplicity": "Holm, 5% over all 8 comparisons", "pairs": pairs},
        "controls": {"density/thompson_quarter": {"control": "density/thompson_quarter~shuffled", "helps": False, "says": says}},
    }
    _dump(folder / "simulation.json", {"chosen": chosen, **world, **sizes, "reference": greedy, "policies": policies, **told})


def write_comparison(folder: Path) -> None:
    """Three posteriors: one exact up to its draws that the network is too large for, one with a bias, one on its way."""
    common = {"settings": {}, "crps": None, "epochs": 5, "epoch_seconds": 0.4, "epoch_ratio": 1.1, "warnings": [], "small_reason": None}
    figures = {"coverage": 0.91, "data_stddev": 0.6, "model_stddev": 0.08, "inference_seconds": 0.3, "inference_draws": 64}
    rows = [
        {"name": "map", "kind": "map", "log_likelihood_per_row": -4.12, "train_seconds": 9.0, "train_ratio": 1.0, "lift": {}},
        {"name": "last_layer", "kind": "last_layer", "log_likelihood_per_row": -4.11, "train_seconds": 11.0, "train_ratio": 1.2},
        {
            "name": "mean_field",
            "kind": "mean_field",
            "log_likelihood_per_row": -4.13,
            "train_seconds": 21.0,
            "train_ratio": 2.3,
            "lift": {},
        },
    ]
    rows = [{"lift": {"density/ucb": 0.112}, **common, **figures, "reason": None, **row} for row in rows]
    distances = {"mean_distance": 0.21, "stddev_ratio": 0.6, "stddev_distance": 0.4}
    rows.append({"name": "nuts", "kind": "nuts", **common, **distances, "reason": "nuts: the model has 9,000 weights <b>"})
    sizes = [2**k for k in range(1, 9)]
    errors = {
        name: [
            {"draws": s, "hands": 256 // s, "mean_error": (1 / s + bias**2) ** 0.5, "stddev_error": 0.5 / s**0.5 + 2 * bias} for s in sizes
        ]
        for name, bias in {"nuts": 0.0, "last_layer": 0.02, "mean_field": 0.2}.items()
    }
    errors["mean_field"][-1] |= {"mean_error": 0.21, "stddev_error": 0.4}
    reference = {"name": "nuts", "kind": "nuts", "exact": True, "draws": 500, "rows": 256, "warnings": ["R-hat 1.07"]}
    _dump(folder / "comparison.json", {"reference": reference, "problem": {}, "small": {}, "rows": rows, "error_by_draws": errors})


def write_rest(folder: Path) -> None:
    names = ["policy", "estimator", "value", "stderr", "interval", "ess", "effective_clicks", "verdict", "reason"]
    estimates = [
        ["bts", "ips", 0.00455, 0.0011, [0.0024, 0.0067], 812.0, 31.0, "do_not_trust", f"31 effective clicks, under 50 {HOSTILE}"],
        ["bts", "dr", 0.00473, 0.0008, [0.0031, 0.0063], 812.0, 64.0, "trust", ""],
    ]
    estimates.append(["none", "ips", None, None, [None, None], 0.0, 0.0, "do_not_trust", "No overlap"])
    records = [dict(zip(names, row)) | {"positions": []} for row in estimates]
    records[0]["positions"] = [{"position": 1, "decisions": 5000.0, "value": 0.004, "stderr": 0.001, "interval": [0.002, 0.006]}]
    order = {"better": "bts", "worse": "none", "difference": 0.001, "stderr": 0.001, "probability": 0.84}
    ranking = {"pairs": [order | {"estimator": "dr", "verdict": "caution"}], "best": {"bts": 0.84}}
    _dump(folder / "evaluation.json", {"estimates": records, "ranking": ranking, "identified": [f"Not identified: {HOSTILE}"]})
    (folder / "export").mkdir(exist_ok=True)
    inputs = [
        {"name": "headline", "dtype": "string", "shape": ["B", "A"], "feature": "headline", "default": "", "meaning": "text of the item"},
        {"name": "clicks", "dtype": "int64", "shape": ["B", "A"], "default": 0, "meaning": "the row's own clicks so far"},
        {"name": "exploration", "dtype": "float32", "shape": [], "default": 0.25, "meaning": "scale of exploration; 0 is greedy"},
        {"name": "seed", "dtype": "int32", "shape": [2], "meaning": "any two numbers"},
    ]
    tensors = {"inputs": inputs, "outputs": [{"name": "action", "dtype": "int32", "shape": ["B"], "meaning": "the chosen candidate"}]}
    metadata = {
        "policy": {"kind": "thompson", "name": "density/thompson_quarter", "exploration": 0.25},
        "signatures": {"click_rate": tensors, "decide": tensors},
    }
    _dump(folder / "export" / "metadata.json", metadata)
    stages = {name: {"seconds": took} for name, took in {"audit": 1.2, "train": 31.0, "simulate": 96.4, "export": 12.9}.items()}
    _dump(folder / "stages.json", {"recbayes": "0.1.0", "stages": stages})


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run; read only."""
    return make_run(tmp_path_factory.mktemp("runs") / "quickstart")
