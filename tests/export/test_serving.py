"""The SavedModel as servers load it: the same answers everywhere, and the answers a request deserves."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import betaln, expit, logit, logsumexp

import recbayes as rb
from recbayes.densities import BetaMixture
from recbayes.export import Scorer, known, rates
from recbayes.export.merging import Betas
from recbayes.export.saving import call


def request(scorer, decisions, arms, *, seed=0, candidates=None, shown=2000):
    """A request of `decide` with made-up features and counts."""
    raw = scorer.encoder.example(decisions * arms)
    generator = np.random.default_rng(seed)
    impressions = generator.integers(0, shown + 1, (decisions, arms))
    found = {
        "clicks": generator.binomial(impressions, 0.02),
        "impressions": impressions,
        "candidates": np.ones((decisions, arms), bool) if candidates is None else candidates,
        "remaining": np.full(decisions, 1000, np.float32),
        "batch": np.ones(decisions, np.float32),
        "exploration": np.float32(1.0),
        "seed": np.array([seed, 3], np.int32),
    }
    for entry in scorer.inputs["decide"]:
        if entry.feature:
            values = raw[entry.feature]
            context = entry.shape[:2] != ("B", "A")
            found[entry.name] = values[:decisions] if context else values.reshape(decisions, arms, *values.shape[1:])
    return found


def answer(scorer, inputs, signature="decide"):
    return call(getattr(scorer, signature), inputs, scorer.inputs[signature])  # uncompiled: one answer a model


@pytest.fixture(scope="module")
def scorer(fitted):
    return Scorer(fitted, rb.thompson(exploration=0.5, draws=32), floor=0.01, positions=3)


@pytest.fixture(scope="module")
def decide(scorer, served):
    return lambda inputs: call(served["decide"], inputs, scorer.inputs["decide"])


@pytest.fixture(scope="module")
def rate(scorer, served):
    return lambda inputs: call(served["click_rate"], inputs, scorer.inputs["click_rate"])


def rows_of(scorer, count, clicks, impressions):
    raw = scorer.encoder.example(count)
    names = {entry.feature: entry.name for entry in scorer.inputs["click_rate"] if entry.feature}
    counts = {"clicks": np.broadcast_to(clicks, count), "impressions": np.broadcast_to(impressions, count)}
    return {names[feature]: values for feature, values in raw.items()} | counts


def test_python_loaded_model_and_session_agree(scorer, served, session):
    """A server answers otherwise than the notebook did (acceptance 15, without the C API)."""
    asked = [*known.requests(scorer).items(), ("decide", request(scorer, 1, 1)), ("decide", request(scorer, 7, 6, seed=5))]
    for name, inputs in asked:
        in_python, from_load, from_session = (
            answer(scorer, inputs, name),
            call(served[name], inputs, scorer.inputs[name]),
            session(name, inputs),
        )
        for key, value in in_python.items():
            assert value.dtype == from_session[key].dtype == from_load[key].dtype
            np.testing.assert_allclose(from_session[key], value, rtol=0, atol=1e-6)
            np.testing.assert_allclose(from_load[key], value, rtol=0, atol=1e-6)
        for action in {"action", "actions"} & set(in_python):
            np.testing.assert_array_equal(from_session[action], in_python[action])
            np.testing.assert_array_equal(from_load[action], in_python[action])


def test_a_fresh_process_serves_it_without_recbayes(run_folder, tmp_path):
    """The export needs this package, or a layer class of it, to be loaded."""
    code = """
import json, sys
sys.modules["recbayes"] = None
sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder = sys.argv[1]
metadata = json.load(open(folder + "/metadata.json"))
tolerance = metadata["tolerance"]
def close(got, want):
    return np.allclose(got, want, rtol=tolerance["relative"], atol=tolerance["absolute"])
kinds = {s: {i["name"]: i["dtype"] for i in d["inputs"]} for s, d in metadata["signatures"].items()}
def arrays(known):
    kind = kinds[known["signature"]]
    return {k: np.array(v, object if kind[k] == "string" else kind[k]) for k, v in known["inputs"].items()}
loaded = tf.saved_model.load(folder + "/1")
for known in metadata["known_answers"]:
    got = loaded.signatures[known["signature"]](**{k: tf.constant(v) for k, v in arrays(known).items()})
    assert all(close(got[k], v) for k, v in known["outputs"].items()), known["signature"]
assert not [m for m in sys.modules if m.startswith("recbayes.")]
print("agrees", len(metadata["known_answers"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(run_folder / "export")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "agrees 3", done.stderr[-2000:]


def drawn(scorer, inputs):
    """The density of each candidate under each weight draw, float64 leaves [S, B, A, K]."""
    decisions, arms = inputs["candidates"].shape
    raw = {e.feature: inputs[e.name] for e in scorer.inputs["decide"] if e.feature}
    flat = {}
    for name, values in raw.items():
        flat[name] = np.repeat(values, arms, 0) if scorer.encoder.specs[name].side == "context" else values.reshape(-1, *values.shape[2:])
    leaves = [np.asarray(leaf, np.float64) for leaf in scorer.density(scorer.encoder(flat))]
    return [leaf.reshape(leaf.shape[0], decisions, arms, -1) for leaf in leaves]


def reference(leaves, tau, inputs):
    """mean, data_stddev, model_stddev [B, A] by a fine grid in float64: law of total variance, written out. tau: [] or [B]."""
    log_weights, means, concentrations = leaves
    clicks, misses = inputs["clicks"][..., None], (inputs["impressions"] - inputs["clicks"])[..., None]
    z = np.linspace(-6, 6, 1201)[:, None, None, None, None]
    p = expit(logit(means) + z * np.reshape(tau, (-1, 1, 1)))  # [U, S, B, A, K]
    a, b = p * concentrations, (1 - p) * concentrations
    joint = log_weights + betaln(a + clicks, b + misses) - betaln(a, b)
    node = logsumexp(joint, -1).sum(-1) - 0.5 * z[..., 0, 0] ** 2  # [U, S, B]
    node = np.exp(node - logsumexp(node, 0))[..., None]
    weight = np.exp(joint - logsumexp(joint, -1, keepdims=True))
    total = concentrations + clicks + misses
    mean_k = (a + clicks) / total
    mean_u = (weight * mean_k).sum(-1)
    square_u = (weight * (mean_k**2 + mean_k * (1 - mean_k) / (total + 1))).sum(-1)
    mean_s = (node * mean_u).sum(0)  # [S, B, A]
    data = (node * square_u).sum(0) - mean_s**2
    return mean_s.mean(0), np.sqrt(data.mean(0)), mean_s.std(0)


def one_draw(leaves, tau):
    """The draws merged by moments, leaves [1, B, A, K], and the standard deviation of what the candidates share, [B]."""
    weights, means, concentrations = np.exp(leaves[0]), *leaves[1:]
    moved = logit((weights * means).sum(-1))
    common = (moved - moved.mean(0)).mean(-1)  # [S, B]
    still = expit(logit(means) - common[..., None, None])
    mean = np.average(still, 0, weights)
    variance = np.average(still * (1 - still) / (concentrations + 1) + (still - mean) ** 2, 0, weights)
    merged = [np.log(weights.mean(0)), mean, mean * (1 - mean) / variance - 1]
    return [leaf[None] for leaf in merged], np.sqrt(tau**2 + common.var(0))


@pytest.mark.parametrize("shown", [0, 30, 3000])
def test_decisions_rest_on_all_counts_of_the_page(scorer, decide, shown):
    """The page effect is left out, its draws' weights are shared, or quadrature misses: means and spreads are off."""
    inputs = request(scorer, 3, 5, shown=shown)
    got = decide(inputs)
    mean, stddev, model = reference(*one_draw(drawn(scorer, inputs), float(scorer.tau)), inputs)
    assert (model == 0).all()  # merged: what the draws disagree about is in the other two
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-3)
    np.testing.assert_allclose(got["stddev"], stddev, rtol=2e-3)


def test_click_rates_rest_on_the_rows_own_counts_alone(scorer, rate):
    """A row's answer depends on its neighbours in the call, or own counts are ignored."""
    inputs = rows_of(scorer, 6, [0, 5, 60, 0, 1, 0], [0, 100, 3000, 500, 1, 0])
    got = rate(inputs)
    single = {
        e.name: inputs[e.name][:, None] if e.shape[:2] == ("B", "A") else inputs[e.name] for e in scorer.inputs["decide"] if e.feature
    }
    alone = {
        **single,
        "clicks": inputs["clicks"][:, None],
        "impressions": inputs["impressions"][:, None],
        "candidates": np.ones((6, 1), bool),
    }
    leaves, tau = drawn(scorer, alone), float(scorer.tau)
    mean, data, model = reference(leaves, tau, alone)
    merged_mean, merged_stddev, _ = reference(*one_draw(leaves, tau), alone)
    rows = Betas.of(BetaMixture(*(tf.constant(leaf, tf.float32) for leaf in leaves)))
    counts = (tf.constant(inputs[name], tf.float32) for name in ("clicks", "impressions"))
    short = np.asarray(rates.merged(rows, scorer.tau, *counts, (0.05, 0.95))[1])
    np.testing.assert_allclose(got["mean"], np.where(short, merged_mean[:, 0], mean[:, 0]), rtol=1e-3)
    np.testing.assert_allclose(got["stddev"], np.where(short, merged_stddev[:, 0], np.hypot(data, model)[:, 0]), rtol=2e-3)
    np.testing.assert_allclose(got["model_stddev"][~short], model[~short, 0], rtol=1e-2)
    unseen = inputs["impressions"] == 0
    np.testing.assert_allclose(got["model_stddev"][unseen], model[unseen, 0], rtol=3e-2)
    np.testing.assert_allclose(got["stddev"] ** 2, got["data_stddev"] ** 2 + got["model_stddev"] ** 2, rtol=1e-4)
    one = rate({name: value[2:3] for name, value in inputs.items()})
    for name, value in one.items():
        np.testing.assert_allclose(value, got[name][2:3], rtol=1e-4)


def test_what_is_computed_once_gives_the_same_outputs(fitted):
    """The export's folded weights are another model's: the head without its mean, a wide weight at another output."""
    encoded, draws = fitted.encoder(fitted.encoder.example(9)), fitted.draw(4, seed=3)
    folded, whole = fitted.folded(draws), fitted.outputs(encoded, draws)  # [S, N, P]
    quick = np.concatenate(folded.outputs(folded.constants, encoded))  # [P, S, N]
    np.testing.assert_allclose(np.transpose(quick, (1, 2, 0)), whole, rtol=1e-4, atol=1e-5)
    plain = fitted.posterior._replace(fold=None)
    slow = dataclasses.replace(fitted, posterior=plain).folded(draws)
    np.testing.assert_array_equal(np.transpose(np.concatenate(slow.outputs(slow.constants, encoded)), (1, 2, 0)), whole)


def test_intervals_hold_nine_tenths(scorer, rate, fitted):
    """The quick quantiles are off: 5% and 95% of the exact predictive lie elsewhere."""
    got = rate(rows_of(scorer, 12, 0, 0))
    names = {entry.feature: entry.name for entry in scorer.inputs["click_rate"] if entry.feature}
    exact = fitted.predict({feature: rows_of(scorer, 12, 0, 0)[name] for feature, name in names.items()})
    np.testing.assert_allclose(got["mean"], exact.mean[:, 0], rtol=1e-3)
    stddev = exact.stddev[:, 0].numpy()
    for name, q in (("lower", 0.05), ("upper", 0.95)):
        assert np.abs((got[name] - exact.quantile(q)[:, 0].numpy()) / stddev).max() < 0.1


def test_counts_shrink_the_spread(scorer, rate):
    """An item shown a hundred thousand times is as uncertain as a new one."""
    spread = [rate(rows_of(scorer, 1, shown // 50, shown))["stddev"][0] for shown in (0, 1000, 100_000)]
    assert spread[0] > 2 * spread[1] > 10 * spread[2] > 0


def test_actions_follow_their_propensities(scorer, decide):
    """The logged propensity is not the probability with which the action was drawn: every later evaluation is biased."""
    candidates = np.tile([True, True, False, True, True], (500, 1))
    counts = np.zeros(5)
    expected, variance = np.zeros(5), np.zeros(5)
    for seed in range(8):
        got = decide(request(scorer, 500, 5, seed=seed, candidates=candidates, shown=300))
        p = got["probabilities"].astype(np.float64)
        np.testing.assert_array_equal(got["propensity"], got["probabilities"][np.arange(500), got["action"]])
        assert (got["propensity"] > 0).all()
        assert (p[:, 2] == 0).all()
        np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-6)
        counts += np.bincount(got["action"], minlength=5)
        expected += p.sum(0)
        variance += (p * (1 - p)).sum(0)
    z = (counts - expected)[candidates[0]] / np.sqrt(variance[candidates[0]])
    # 4,000 draws; alarm 1e-6 for right code (4 tests at 2.5e-7); sees actions drawn from probabilities 5 points away
    assert np.abs(z).max() < stats.norm.isf(1.25e-7)


def test_seeds_draw_independent_actions(scorer, decide):
    """Successive seeds repeat the same actions: 300 requests a second explore one arm."""
    inputs = request(scorer, 1, 4, shown=0)
    inputs["exploration"] = np.float32(3.0)
    drawn = [decide({**inputs, "seed": np.array([0, seed], np.int32)}) for seed in range(400)]
    counts = np.bincount([got["action"][0] for got in drawn], minlength=4)
    expected = np.sum([got["probabilities"][0].astype(np.float64) for got in drawn], 0)
    # alarm 1e-6 for right code; sees one action for all seeds, or probabilities 15 points off
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-6
    again = decide({**inputs, "seed": np.array([0, 7], np.int32)})
    for name, value in again.items():
        np.testing.assert_array_equal(value, drawn[7][name])


def test_exploration_zero_is_greedy_and_the_floor_stays(scorer, decide):
    """The knob does nothing, or a candidate loses its support in the log."""
    inputs = request(scorer, 6, 5)
    got = decide({**inputs, "exploration": np.float32(0.0)})
    best = got["mean"].argmax(1)
    np.testing.assert_allclose(got["probabilities"][np.arange(6), best], 0.99 + 0.002, atol=1e-6)
    assert decide({**inputs, "exploration": np.float32(2.0)})["probabilities"].min() >= 0.01 / 5 - 1e-7


@pytest.mark.parametrize(("own", "floor", "share"), [(0.0, 0.01, 0.01), (0.2, 0.01, 0.2), (0.1, 0.3, 0.3)])
def test_the_larger_floor_holds(plain, own, floor, share):
    """The export's floor is added to the policy's own, or replaces a larger one."""
    scorer = Scorer(plain, rb.greedy(floor=own), floor=floor)
    got = answer(scorer, request(scorer, 2, 4))
    np.testing.assert_allclose(np.sort(got["probabilities"], 1), [[share / 4] * 3 + [1 - share * 3 / 4]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    "policy",
    [
        *(rb.uniform(), rb.greedy(), rb.epsilon_greedy(), rb.boltzmann(), rb.square_cb()),
        *(rb.ucb(), rb.quantile_ucb(), rb.knowledge_gradient(), rb.thompson(draws=8)),
    ],
    ids=lambda policy: policy.kind,
)
def test_every_policy_serves(plain, policy):
    """A policy works in replay and not in the export; a model without page effect or spread neither."""
    scorer = Scorer(plain, policy, floor=0.01)
    got = answer(scorer, request(scorer, 2, 3, candidates=np.array([[True, True, True], [False, True, False]])))
    np.testing.assert_allclose(got["probabilities"].sum(1), 1.0, atol=1e-6)
    assert got["action"][1] == 1
    assert got["propensity"][1] == 1.0
    assert got["probabilities"][1].tolist() == [0, 1, 0]


def test_a_grid_of_explorations_is_no_policy_to_serve(plain):
    """One choice needs one number: a grid is for replay."""
    with pytest.raises(rb.UserError, match="exploration is a grid"):
        Scorer(plain, rb.ucb(exploration=[0.5, 1.0]))


def test_what_is_not_shown_still_tells_of_the_page(scorer, decide):
    """The counts of an item that may no longer be shown are thrown away."""
    inputs = request(scorer, 1, 3, candidates=np.array([[True, True, False]]), shown=0)
    inputs["impressions"] = np.array([[0, 0, 20_000]])
    low, high = (decide({**inputs, "clicks": np.array([[0, 0, clicks]])}) for clicks in (100, 1000))
    assert (high["mean"][0, :2] > 1.3 * low["mean"][0, :2]).all()
    assert high["mean"][0, 2] == 0  # not a candidate: nothing is said of it


def test_unknown_and_missing_values_have_an_answer(scorer, rate):
    """A new id, an empty text or a NaN in a request is an error, or a NaN in the answer."""
    inputs = rows_of(scorer, 4, 0, 0)
    inputs |= {
        "headline": np.array(["", "никогда", "<b></b>", "x" * 10_000], object),
        "image_id": np.array([-(2**63), 2**62, -1, 0]),
        "tags": np.full((4, scorer.encoder.specs["tags"].length), "unheard of", object),
        "price": np.array([np.nan, np.inf, -np.inf, 1e38], np.float32),
        "embedding": np.array([[np.nan] * 3, [np.inf] * 3, [0] * 3, [-1e38] * 3], np.float32),
        "country": np.array(["", "??", "de\0", "\xff"], object),
        "at": np.array([np.nan, np.inf, -1e12, 4e9]),
    }
    got = rate(inputs)
    for value in got.values():
        assert np.isfinite(value).all()
    assert ((got["mean"] > 0) & (got["mean"] < 1)).all()


BAD = {
    "more clicks than impressions": (
        {"clicks": np.array([[1, 2], [0, 0]]), "impressions": np.array([[1, 1], [0, 0]])},
        "clicks must be between 0",
    ),
    "negative clicks": ({"clicks": np.array([[-1, 0], [0, 0]])}, "clicks must be between 0"),
    "no candidate": ({"candidates": np.array([[True, False], [False, False]])}, "no candidate"),
    "no horizon": ({"remaining": np.array([1.0, np.nan], np.float32)}, "remaining must be"),
    "no batch": ({"batch": np.array([1.0, 0.0], np.float32)}, "batch must be"),
    "negative exploration": ({"exploration": np.float32(-1.0)}, "exploration must be"),
    "exploration not a number": ({"exploration": np.float32(np.nan)}, "exploration must be"),
    "lengths differ": ({"headline": np.array([["a", "b", "c"], ["d", "e", "f"]], object)}, "do not fit those of candidates"),
    "one context too many": ({"country": np.array(["de", "de", "de"], object)}, "do not fit those of candidates"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_impossible_requests_are_refused_with_the_reason(scorer, decide, session, change, message):
    """A server answers nonsense with a number, or with a reason that nobody understands."""
    inputs = {**request(scorer, 2, 2, shown=0), **change}
    for serve in (decide, lambda asked: session("decide", asked)):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
            serve(inputs)


def test_bad_rows_of_click_rate_are_refused(scorer, rate):
    """click_rate takes what decide refuses."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="click_rate: clicks must be between 0 and impressions"):
        rate(rows_of(scorer, 3, [0, 2, 0], [0, 1, 0]))


def test_empty_requests_have_empty_answers(scorer, decide, rate):
    """A page without decisions crashes the server."""
    assert decide(
        request(scorer, 2, 3, shown=0) | {k: v[:0] for k, v in request(scorer, 2, 3).items() if k not in ("exploration", "seed")}
    )["action"].shape == (0,)
    assert rate({name: value[:0] for name, value in rows_of(scorer, 1, 0, 0).items()})["mean"].shape == (0,)


def test_metadata_says_what_a_caller_needs(run_folder):
    """A caller can't know a default, a type or a meaning without our source."""
    metadata = json.loads((run_folder / "export" / "metadata.json").read_text(), parse_constant=pytest.fail)
    inputs = {entry["name"]: entry for entry in metadata["signatures"]["decide"]["inputs"]}
    assert inputs["image_id"] == {
        "name": "image_id",
        "dtype": "int64",
        "shape": ["B", "A"],
        "feature": "image-id",
        "default": -(2**63),
        "meaning": "categorical of the item",
        "tensor": "decide_image_id:0",
    }
    assert inputs["country"]["shape"] == ["B"]
    assert {name: inputs[name]["default"] for name in ("remaining", "batch", "exploration")} == {
        "remaining": 1000.0,
        "batch": 1.0,
        "exploration": 0.5,
    }
    assert "default" not in inputs["seed"]
    assert metadata["policy"] == {
        "name": "thompson",
        "kind": "thompson",
        "settings": {"exploration": 0.5, "draws": 32, "floor": 0.0},
        "floor": 0.01,
        "slate": 3,
    }
    assert metadata["held_out"] == {"log_likelihood_per_row": -4.1}
    assert metadata["model"]["draws"] == {"seed": 0, "count": 16}
    assert len(metadata["data"]["fingerprint"]) >= 12
    assert set(metadata["versions"]) >= {"recbayes", "tensorflow"}
