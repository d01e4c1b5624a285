"""Rows by the million: an encoder fitted in parts is that of all rows at once, and the quick way from Arrow gives TensorFlow's codes."""

import numpy as np
import pyarrow as pa
import pytest

from recbayes.features import Encoder, categorical, multi_categorical, numeric, text, time, vector
from recbayes.features.spilled import counted, quantiles
from recbayes.types import UserError

ROWS = 3000
FEATURES = [
    categorical("word"),
    categorical("dictionary", max_values=20),
    categorical("number"),
    categorical("float_integer", min_count=5),
    categorical("float_text"),
    categorical("flag"),
    multi_categorical("tags"),
    text("headline", min_count=2),
    numeric("price", log1p=True),
    numeric("clean"),
    numeric("count", log1p=True),
    numeric("plain_count"),
    numeric("large_count"),
    vector("embedding"),
    time("at", day_of_week=True, bends=3),
    time("seconds"),
]


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(60)] + [None, ""], object)
    word = random.choice(words, ROWS).tolist()
    integers = random.integers(-30, 30, ROWS)
    hidden = random.random(ROWS) < 0.1
    return pa.table(
        {
            "word": pa.array(word, pa.string()),
            "dictionary": pa.chunked_array([pa.array(word[:1000]).dictionary_encode(), pa.array(word[1000:]).dictionary_encode()]),
            "number": pa.array(integers, pa.int16()),
            "float_integer": pa.array(integers.astype(float), mask=hidden),
            "float_text": random.choice([0.5, 1.0, 2.5], ROWS),
            "flag": pa.array(random.random(ROWS) < 0.5, mask=hidden),
            "tags": [None if h else random.choice(["a", "b", "c", ""], n).tolist() for h, n in zip(hidden, random.integers(0, 5, ROWS))],
            "headline": [None if h else " ".join(random.choice(["One", "two", "Thrée", "4"], 4)) for h in hidden],
            "price": pa.array(random.lognormal(3, 2, ROWS), mask=hidden),
            "count": pa.array(np.floor(random.lognormal(2, 3, ROWS)) - 1, pa.int32(), mask=hidden),
            "plain_count": pa.array(random.integers(0, 50, ROWS), pa.int32()),
            "large_count": pa.array(random.integers(-(10**6), 10**6, ROWS), pa.int32(), mask=hidden),
            "clean": random.normal(5, 1e-3, ROWS).astype(np.float32),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(random.normal(size=2 * ROWS)), 2),
            "at": pa.array(random.integers(0, 10**9, ROWS), pa.timestamp("ms"), mask=hidden),
            "seconds": random.integers(0, 10**9, ROWS),
        }
    )


@pytest.fixture(scope="module")
def encoder(table):
    return Encoder.fit(FEATURES, table.slice(0, 2000))


def parts(table, size):
    return lambda name: (chunk for start in range(0, len(table), size) for chunk in table.column(name).slice(start, size).chunks)


def test_parts_give_the_encoder_of_the_whole(table, encoder):
    """Vocabularies, ranges and quantiles exactly, means to rounding: else a model would depend on the size of row groups."""
    found = Encoder.fit_parts(FEATURES, parts(table.slice(0, 2000), 300), threads=2)
    for name, coding in encoder.codings.items():
        own, other = coding.state(), found.codings[name].state()
        for key in own:
            if key in ("mean", "stddev"):
                np.testing.assert_allclose(other.pop(key), own[key], rtol=1e-12, err_msg=name)
            else:
                assert other.pop(key) == own[key], (name, key)
        assert not other


@pytest.mark.parametrize("feature", FEATURES, ids=lambda f: f.name)
def test_codes_from_arrow_are_those_of_tensorflow(table, encoder, feature):
    """Training in a stream and serving must read a value alike: seen, unseen, null, beyond the training range."""
    coding = encoder.codings[feature.name]
    expected = encoder(encoder.raw(table))[feature.name].numpy()
    found = encoder.codes(table)[feature.name]
    if feature.settings.get("log1p"):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)  # two libraries' logarithms in float32
    else:
        np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    coded = table.column(feature.name).combine_chunks()
    if not pa.types.is_nested(coded.type) and not pa.types.is_dictionary(coded.type) and feature.kind in ("categorical", "text"):
        np.testing.assert_array_equal(coding.codes(coded.dictionary_encode()), expected)


def test_counting_spills(monkeypatch):
    """A column of more distinct values than memory holds is counted all the same."""
    monkeypatch.setattr("recbayes.log.asked.MEMORY_LIMIT", "64MB")
    values = (pa.array(np.arange(start, start + 100_000).repeat(2)) for start in range(0, 2_000_000, 100_000))
    found, rows = counted(values, 2)
    assert len(found) == 2_000_000
    assert (rows == 2).all()


def test_quantiles_are_numpys():
    random = np.random.default_rng(0)
    values = np.floor(random.normal(size=997) * 5)
    shares = np.linspace(0, 1, 12)
    np.testing.assert_array_equal(quantiles(np.split(values, [10, 500]), shares), np.quantile(values, shares))


def test_vectors_of_two_lengths_are_refused():
    with pytest.raises(UserError, match="'x' has rows of 2 and of 3 numbers"):
        Encoder.fit_parts([vector("x")], lambda name: iter([pa.array([[1.0, 2.0]]), pa.array([[1.0, 2.0, 3.0]])]))
