"""The export served by a C program through TensorFlow's C API, fed raw strings and numbers, good ones and bad ones."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recbayes.export import known
from recbayes.export.consumer import Consumer, Refused, build
from recbayes.export.schema import OUTPUTS, Input
from recbayes.types import UserError

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here, and the C consumer has to be compiled")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("c") / "consumer")


@pytest.fixture(scope="module")
def folder(run_folder):
    return run_folder / "export"


@pytest.fixture(scope="module")
def metadata(folder):
    return json.loads((folder / "metadata.json").read_text())


@pytest.fixture(scope="module")
def c(program, folder):
    with Consumer(program, folder) as consumer:
        yield consumer


def declared(metadata, signature):
    return {entry["name"]: entry for entry in metadata["signatures"][signature]["inputs"]}


def known_request(metadata, signature):
    entries = [
        Input(e["name"], e["dtype"], tuple(e["shape"]), e.get("feature"), e.get("default"), e["meaning"])
        for e in declared(metadata, signature).values()
    ]
    answer = next(answer for answer in metadata["known_answers"] if answer["signature"] == signature)
    return known.from_json(answer["inputs"], entries)


def in_python(served, metadata, signature, inputs):
    kinds = declared(metadata, signature)
    outputs = served[signature](**{name: tf.constant(value, kinds[name]["dtype"]) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("signature", ["click_rate", "decide", "slate"])
def test_c_python_and_session_agree(c, served, session, metadata, signature):
    """A server in C++, Java or Go answers otherwise than the notebook did (acceptance 15)."""
    inputs = known_request(metadata, signature)
    answers = c.ask(signature, inputs).outputs, in_python(served, metadata, signature, inputs), session(signature, inputs)
    for name, (dtype, *_) in OUTPUTS[signature].items():
        from_c, from_python, from_session = (answer[name] for answer in answers)
        assert from_c.dtype == from_python.dtype == from_session.dtype == np.dtype(dtype)
        np.testing.assert_allclose(from_c, from_python, rtol=0, atol=1e-6)
        np.testing.assert_allclose(from_session, from_python, rtol=0, atol=1e-6)
    for action in {"action", "actions"} & set(OUTPUTS[signature]):
        np.testing.assert_array_equal(answers[0][action], answers[1][action])
        np.testing.assert_array_equal(answers[2][action], answers[1][action])


def test_c_draws_actions_with_the_stated_probabilities(c, metadata):
    """The logged propensity is not the share with which C's actions come, and every later evaluation is off."""
    inputs = {name: value[:1] if declared(metadata, "decide")[name]["shape"][:1] == ["B"] else value
              for name, value in known_request(metadata, "decide").items()}  # fmt: skip
    inputs |= {"exploration": np.float32(2.0), "clicks": np.zeros((1, 5), np.int64), "impressions": np.zeros((1, 5), np.int64)}
    counts, expected = np.zeros(5), np.zeros(5)
    for seed in range(300):
        got = c.ask("decide", {**inputs, "seed": np.array([seed, 1], np.int32)}).outputs
        counts[got["action"][0]] += 1
        expected += got["probabilities"][0]
        assert got["propensity"][0] == got["probabilities"][0, got["action"][0]]
    kept = expected > 5  # alarm 1e-6 for right code; sees probabilities 15 points off
    assert stats.chisquare(counts[kept], expected[kept] / expected[kept].sum() * counts[kept].sum()).pvalue > 1e-6


def test_eight_threads_on_one_model_give_the_same_answers(c, metadata):
    """A server that shares one loaded model between its threads mixes up requests, or its memory grows with them."""
    inputs = known_request(metadata, "decide")
    assert c.ask("decide", inputs, threads=8, times=10).differing == 0


def bad_requests(metadata, signature):
    """Requests that have no answer, and what the reason must say."""
    good = known_request(metadata, signature)

    def changed(name, value):
        array = good[name].copy()
        array[(0,) * array.ndim] = value
        return {**good, name: array}

    found = {
        "negative clicks": (changed("clicks", -1), "clicks must be between 0 and impressions"),
        "more clicks than impressions": (changed("clicks", 10**6), "clicks must be between 0 and impressions"),
        "impossible impressions": (changed("impressions", 2**62), "impressions must be at most"),
        "wrong rank": ({**good, "clicks": good["clicks"][None]}, "do not fit those of"),
        "wrong type": ({**good, "clicks": good["clicks"].astype(np.float32)}, "clicks|int64"),
        "text for a number": ({**good, "price": np.full(good["price"].shape, "cheap", object)}, "price|float"),
        "number for a text": ({**good, "headline": np.zeros(good["headline"].shape, np.float32)}, "headline|string"),
        "wrong vector": ({**good, "embedding": good["embedding"][..., :2]}, "embedding|shape|do not fit"),
        "missing input": ({name: value for name, value in good.items() if name != "headline"}, "headline"),
    }
    if signature == "click_rate":
        return found | {"one row too many": ({**good, "price": np.append(good["price"], good["price"][:1])}, "do not fit those of clicks")}
    none = np.zeros_like(good["candidates"])
    without_arms = {n: v[:, :0] if declared(metadata, signature)[n]["shape"][:2] == ["B", "A"] else v for n, v in good.items()}
    return found | {
        "no candidate": ({**good, "candidates": none}, "a decision has no candidate"),
        "no candidate axis": (without_arms, "a decision has no candidate"),
        "remaining not a number": (changed("remaining", np.nan), "remaining must be"),
        "infinite batch": (changed("batch", np.inf), "batch must be"),
        "negative exploration": ({**good, "exploration": np.float32(-1)}, "exploration must be"),
        "one row too many": ({**good, "country": np.append(good["country"], good["country"][:1])}, "do not fit those of candidates"),
    }


@pytest.mark.parametrize("signature", ["click_rate", "decide", "slate"])
def test_bad_requests_get_a_reason_from_every_consumer(c, served, session, metadata, signature):
    """Nonsense crashes the server, or is answered with a number."""
    good = known_request(metadata, signature)
    for what, (inputs, reason) in bad_requests(metadata, signature).items():
        with pytest.raises(Refused, match=reason):
            c.ask(signature, inputs)
        with pytest.raises((tf.errors.OpError, ValueError, TypeError)):
            served[signature](**{key: tf.constant(value) for key, value in inputs.items()})
        if what not in ("wrong type", "number for a text"):  # which the session casts before the graph sees it
            with pytest.raises((tf.errors.OpError, ValueError, TypeError)):
                session(signature, inputs)
        assert len(c.ask(signature, good).outputs["mean"]) == len(good["clicks"]), what  # it goes on serving


@pytest.mark.parametrize("signature", ["click_rate", "decide", "slate"])
def test_a_batch_of_none_has_an_empty_answer(c, served, session, metadata, signature):
    """An hour without requests crashes the server."""
    kinds = declared(metadata, signature)
    inputs = {n: v[:0] if kinds[n]["shape"][:1] in (["B"], ["N"]) else v for n, v in known_request(metadata, signature).items()}
    answers = c.ask(signature, inputs).outputs, in_python(served, metadata, signature, inputs), session(signature, inputs)
    for answer in answers:
        assert {name: (len(value), value.ndim) for name, value in answer.items()} == {
            name: (0, len(shape)) for name, (_, shape, _) in OUTPUTS[signature].items()
        }


TEXTS = ["", "x" * 100_000, "never seen", b"\xff\xfe\x00broken", "\0", "<b>&amp;</b>", "ÄÖ 你好 🙂", "a\n\tb", b"\xed\xa0\x80", " " * 50]
NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e38, -1e38, 1e-45, 4e9, -1e12]
WHOLE = [0, -1, 2**63 - 1, -(2**63), 7, 10**12]


def random_request(metadata, signature, rng):
    """Features from the edges of their types, counts that are mostly possible, candidates that are mostly there."""
    decisions, arms = int(rng.integers(0, 4)), int(rng.integers(1, 6))
    size, found = {"B": decisions, "A": arms, "N": decisions}, {}
    for name, entry in declared(metadata, signature).items():
        shape = [size.get(axis, axis) for axis in entry["shape"]]
        values = {"string": TEXTS, "int64": WHOLE, "float32": NUMBERS, "float64": NUMBERS}.get(entry["dtype"], [0])
        picked = np.array([values[i] for i in rng.integers(0, len(values), int(np.prod(shape)))], object).reshape(shape)
        with np.errstate(over="ignore"):
            found[name] = picked if entry["dtype"] == "string" else picked.astype(entry["dtype"])
    most = int(10 ** rng.uniform(0, 9))
    found["impressions"] = rng.integers(0, most + 1, found["clicks"].shape)
    found["clicks"] = rng.integers(0, found["impressions"] + 1) if rng.random() < 0.5 else rng.binomial(found["impressions"], 0.01)
    if rng.random() < 0.1 and decisions:
        found["clicks"].flat[0] = rng.choice([-1, 2**62])
    if signature == "click_rate":
        return found
    found["candidates"] = rng.random((decisions, arms)) < 0.8
    for name in ("remaining", "batch"):
        found[name] = (10 ** rng.uniform(-3, 9, decisions)).astype(np.float32)
    found["exploration"] = np.float32(rng.choice([0.0, 0.25, 1.0, 100.0]))
    found["seed"] = rng.integers(-(2**31), 2**31, 2).astype(np.int32)
    return found


def possible(inputs):
    counts = ((0 <= inputs["clicks"]) & (inputs["clicks"] <= inputs["impressions"])).all()
    return bool(counts and ("candidates" not in inputs or inputs["candidates"].any(1).all()))


def asked(c, signature, inputs):
    """The outputs, or None where it was refused."""
    try:
        return c.ask(signature, inputs).outputs
    except Refused:
        return None


@pytest.mark.parametrize(
    ("signature", "times", "few", "many"), [("decide", 2000, 200, 1500), ("slate", 200, 20, 150), ("click_rate", 1000, 30, 300)]
)
def test_thousands_of_random_requests(c, metadata, signature, times, few, many):
    """Somewhere among odd inputs is a crash, a NaN, or an action that was no candidate."""
    rng, refused = np.random.default_rng(0), 0
    for _ in range(times):
        inputs = random_request(metadata, signature, rng)
        got = asked(c, signature, inputs)
        assert (got is not None) == possible(inputs)
        if got is None:
            refused += 1
            continue
        assert all(np.isfinite(value).all() for value in got.values())
        {"decide": sound_decision, "slate": sound_slate, "click_rate": sound_rates}[signature](got, inputs)
    assert few < refused < many


def sound_decision(got, inputs):
    candidates, rows = inputs["candidates"], np.arange(len(inputs["candidates"]))
    assert candidates[rows, got["action"]].all()
    assert (got["probabilities"][~candidates] == 0).all()
    np.testing.assert_allclose(got["probabilities"].sum(1), 1.0, atol=1e-5)
    assert ((got["mean"] > 0) & (got["mean"] < 1))[candidates].all()


def sound_slate(got, inputs):
    for candidates, actions, shares, propensities in zip(inputs["candidates"], got["actions"], got["probabilities"], got["propensities"]):
        shown = [int(action) for action in actions if action >= 0]
        assert len(set(shown)) == len(shown) == min(candidates.sum(), len(actions))
        assert candidates[shown].all()
        assert (actions[len(shown) :] == -1).all()
        assert propensities[: len(shown)].tolist() == [share[action] for share, action in zip(shares, shown)]
        np.testing.assert_allclose(shares[: len(shown)].sum(1), 1.0, atol=1e-5)


def sound_rates(got, inputs):
    assert ((got["mean"] > 0) & (got["mean"] < 1)).all()
    assert ((got["lower"] <= got["upper"]) & (got["lower"] >= 0) & (got["upper"] <= 1)).all()
    np.testing.assert_allclose(np.hypot(got["data_stddev"], got["model_stddev"]), got["stddev"], rtol=1e-3, atol=1e-9)


def test_an_export_that_can_not_be_loaded_is_said(program, folder, tmp_path):
    """A truncated model takes the server down without a word."""
    shutil.copytree(folder, tmp_path / "export")
    path = tmp_path / "export" / "1" / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="the C API can't load it"):
        Consumer(program, tmp_path / "export")
