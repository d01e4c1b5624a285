"""Each kind of feature on the columns that real files bring: whatever the type, a value or a null gets a number, and the same one."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recbayes.features import Encoder, categorical, multi_categorical, numeric, text, time, vector
from recbayes.features.grams import Grams
from recbayes.types import UserError

STRINGS = ["a", "b", "a", None, "b", "c"]
STRING_COLUMNS = {
    "list": STRINGS,
    "numpy": np.array(STRINGS, dtype=object),
    "pandas": pd.Series(STRINGS, dtype="str"),
    "pandas object": pd.Series(STRINGS, dtype=object),
    "pandas category": pd.Series(STRINGS, dtype="category"),
    "arrow": pa.array(STRINGS),
    "arrow large": pa.array(STRINGS, pa.large_string()),
    "arrow view": pa.array(STRINGS, pa.string_view()),
    "arrow dictionary": pa.array(STRINGS).dictionary_encode(),
    "arrow chunks": pa.chunked_array([STRINGS[:2], [], STRINGS[2:]]),
    "arrow dictionary chunks": pa.chunked_array([pa.array(STRINGS[:4]).dictionary_encode(), pa.array(STRINGS[4:]).dictionary_encode()]),
    "arrow slice": pa.array(["z", *STRINGS, "z"]).slice(1, 6),
}


def encode(feature, train, rows):
    """Fits one feature to a column and encodes another."""
    encoder = Encoder.fit([feature], {feature.name: train})
    return encoder(encoder.raw({feature.name: rows}))[feature.name].numpy()


@pytest.mark.parametrize("column", STRING_COLUMNS.values(), ids=STRING_COLUMNS)
def test_a_category_is_the_same_however_it_is_stored(column):
    """A file written by another tool trains another model, or fails."""
    ids = encode(categorical("x"), column, column)
    np.testing.assert_array_equal(ids, [1, 2, 1, 0, 2, 0])  # c stands in one row: unseen; null: unseen
    assert ids.dtype == np.int32


@pytest.mark.parametrize(
    "column",
    [
        np.array([7, 7, -3, -3, 7], np.int32),
        pa.array([7, 7, -3, -3, 7], pa.int8()),
        pd.Series([7, 7, -3, -3, 7], dtype="Int64"),
        np.array([7.0, 7.0, -3.0, -3.0, 7.0]),
    ],
)
def test_integers_stay_integers(column):
    """A served model asks for strings where the log held integers (and a null made them floats)."""
    encoder = Encoder.fit([categorical("x")], {"x": column})
    assert encoder.signature["x"].dtype == "int64"
    rows = encoder.raw({"x": pa.array([7, None, -3, 99])})
    assert rows["x"].dtype == np.int64
    np.testing.assert_array_equal(encoder(rows)["x"], [1, 0, 2, 0])
    np.testing.assert_array_equal(encoder(encoder.raw({"x": ["7", "-3"]}))["x"], [1, 2])


def test_other_scalars_are_categories_by_their_text():
    """Booleans, fractions and dates can't be categories."""
    np.testing.assert_array_equal(encode(categorical("x"), np.array([True, True, False, True]), [True, False]), [1, 0])
    np.testing.assert_array_equal(encode(categorical("x"), np.array([0.5, 0.5, 1.0]), [0.5, 1.5]), [1, 0])
    days = pd.Series(pd.to_datetime(["2020-01-01", "2020-01-01", "2021-01-01"]))
    np.testing.assert_array_equal(encode(categorical("x"), days, days), [1, 1, 0])


def test_the_most_frequent_values_are_kept():
    """A cap on the vocabulary drops values at random, or the wrong ones."""
    train = ["a"] * 3 + ["b"] * 5 + ["c"] * 4
    np.testing.assert_array_equal(encode(categorical("x", max_values=2), train, ["a", "b", "c"]), [0, 1, 2])


def test_ids_do_not_depend_on_the_order_of_rows():
    """Two exports of one data set give the values other ids."""
    one = Encoder.fit([categorical("x")], {"x": ["b", "a", "a", "b"]}).codings["x"].state()
    assert one == Encoder.fit([categorical("x")], {"x": ["a", "b", "b", "a"]}).codings["x"].state()


def test_all_null_is_all_unseen():
    """A column that is empty in training stops the run."""
    for column in (pa.nulls(3), [None] * 3, np.array(["", "", ""], object)):
        np.testing.assert_array_equal(encode(categorical("x"), column, column), [0, 0, 0])
        np.testing.assert_array_equal(encode(text("x"), column, column), [[1]] * 3)


def test_text_is_words_without_tags_case_and_punctuation():
    """The same headline with a tag or a curly quote gets other words."""
    train = ["Don't <b>PANIC</b>: it&#39;s “over” &amp; done", "DON’T panic; its over, done"]
    ids = encode(text("x", ngrams=1, min_count=2), train, train)
    assert ids.shape == (2, 5)
    assert (ids >= 2).all()
    np.testing.assert_array_equal(np.sort(ids[0]), np.sort(ids[1]))


def test_text_beyond_ascii_is_words():
    """Headlines in other scripts become empty, or upper case differs from lower."""
    np.testing.assert_array_equal(encode(text("x", ngrams=1, min_count=1), ["ÉCOLE наука"], ["école НАУКА 学校"]), [[2, 3]])
    assert encode(text("x", min_count=1), ["हिन्दी भाषा"], ["हिन्दी"])[0, 0] >= 2


def test_ngrams_follow_the_words():
    """Bigrams are lost, or run across rows."""
    encoder = Encoder.fit([text("x", ngrams=2, min_count=1)], {"x": ["a b c", "d"]})
    assert encoder.codings["x"].vocabulary == ["a", "a b", "b", "b c", "c", "d"]
    ids = encoder(encoder.raw({"x": ["b c", "c d"]}))["x"].numpy()
    np.testing.assert_array_equal(ids, [[4, 6, 5, 0, 0], [6, 7, 1, 0, 0]])


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize("length", [3, 40])
def test_ngrams_by_numbers_are_those_of_the_texts(longest, length):
    """An n-gram runs across two texts, one that only begins others of the vocabulary counts as known, or a text is cut elsewhere."""
    generator = np.random.default_rng(0)
    texts = [[str(word) for word in generator.integers(0, 6, generator.integers(0, 9))] for _ in range(200)]
    found = sorted({gram for words in texts for gram in grams_of(words, longest)})
    vocabulary = [str(gram) for gram in generator.permutation(found)[: len(found) // 2]]
    known = {gram: 2 + i for i, gram in enumerate(vocabulary)}
    expected = np.zeros((len(texts), length), np.int32)
    for row, words in zip(expected, texts, strict=True):
        ids = [known.get(gram, 1) for gram in grams_of(words, longest)][:length] or [1]
        row[: len(ids)] = ids
    ids = Grams(vocabulary, longest)(np.array([" ".join(words) for words in texts], object), length)
    np.testing.assert_array_equal(ids, expected)


def grams_of(words, longest):
    return [" ".join(words[i : i + size]) for size in range(1, longest + 1) for i in range(len(words) - size + 1)]


def test_bytes_that_are_no_text_are_read_past():
    """A title in another encoding is an error, or takes the words beside it along. Those that such bytes stand in are unknown."""
    encoder = Encoder.fit([text("x", ngrams=1, min_count=1)], {"x": ["one two"]})
    ids = encoder({"x": np.array([b"\x93One\x94 t\xf6o two", b"\xff", b"one\xc3\xa9 two", b"caf\xe9 two"], object)})["x"].numpy()
    np.testing.assert_array_equal(ids[:, :2], [[2, 1], [1, 0], [1, 3], [1, 3]])


def test_a_token_needs_distinct_texts():
    """A headline shown in many rows of one experiment counts as evidence on its words, and the text memorises tests."""
    encoder = Encoder.fit([text("x", ngrams=1, min_count=2)], {"x": ["same words", "same words", "other words"]})
    assert encoder.codings["x"].vocabulary == ["words"]


def test_long_texts_are_cut():
    """One endless text makes every batch as wide as itself."""
    assert encode(text("x", ngrams=1, length=2, min_count=1), ["a b c d"], ["a b c d"]).shape == (1, 2)
    assert encode(text("x", ngrams=1, min_count=1), [" ".join(map(str, range(5000)))], ["1"]).shape == (1, 512)


LISTS = [["a", "b"], None, [], ["a", None, "", "zz"], ["b", "a", "a"]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(LISTS),
        pa.array(LISTS, pa.large_list(pa.large_string())),
        pa.array([["q"], *LISTS, ["q"]]).slice(1, 5),
        pa.chunked_array([pa.array(LISTS[:2]), pa.array(LISTS[2:])]),
        pd.Series(LISTS),
        LISTS,
    ],
    ids=["list", "large", "slice", "chunks", "pandas", "python"],
)
def test_lists_are_bags(column):
    """Lists with nulls in and around them shift into other rows."""
    ids = encode(multi_categorical("x"), column, column)
    np.testing.assert_array_equal(ids, [[2, 3, 0], [1, 0, 0], [0, 0, 0], [2, 1, 0], [3, 2, 2]])


def test_fixed_size_and_integer_lists_are_bags():
    """Fixed-size lists with a null row misplace every row after it."""
    column = pa.array([[1, 2], None, [2, 3]], pa.list_(pa.int64(), 2))
    np.testing.assert_array_equal(encode(multi_categorical("x", min_count=1), column, column), [[3, 2], [1, 0], [2, 4]])


def test_numbers_are_standardised_and_held_to_the_training_range():
    """A number beyond the data takes the network where it knows nothing."""
    train = np.array([1.0, 2.0, 3.0, 4.0])
    coded = encode(numeric("x"), train, np.array([1.0, 4.0, 1e30, -1e30, np.nan, np.inf]))
    low, high = (1 - 2.5) / train.std(), (4 - 2.5) / train.std()
    np.testing.assert_allclose(coded[:, 0], [low, high, high, low, 0.0, high], rtol=1e-6)


def test_missing_numbers_are_marked_only_where_training_had_some():
    """A weight that was never trained speaks up at serving."""
    assert encode(numeric("x"), np.array([1.0, 2.0]), np.array([np.nan])).tolist() == [[0.0]]
    assert encode(numeric("x"), pa.array([1, None, 3]), pa.array([None, 3])).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_constant_and_empty_numbers_are_zero():
    """A constant column divides by zero."""
    assert encode(numeric("x"), np.full(4, 1e9), np.array([1e9, 5.0])).tolist() == [[0.0], [0.0]]
    assert encode(numeric("x"), np.full(4, np.nan), np.array([np.nan, 5.0])).tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_log1p_tames_a_tail():
    """The option does nothing."""
    train = np.exp(np.arange(8.0))
    coded = encode(numeric("x", log1p=True), train, train)[:, 0]
    expected = np.log1p(train)
    np.testing.assert_allclose(coded, (expected - expected.mean()) / expected.std(), rtol=1e-4)


def test_vectors_from_lists_and_matrices_agree():
    """Embeddings stored as lists, fixed-size lists or a matrix train different models."""
    matrix = np.array([[1.0, 5.0], [3.0, 7.0], [5.0, 6.0]], np.float32)
    coded = encode(vector("x"), matrix, matrix)
    np.testing.assert_allclose(coded.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(coded.std(0), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(coded, encode(vector("x"), matrix.tolist(), pa.array(matrix.tolist(), pa.list_(pa.float32(), 2))))
    with_null = encode(vector("x"), [[1.0, 5.0], None, [3.0, 7.0]], [[1.0, 5.0], None])
    assert with_null.tolist() == [[-1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]


def test_vectors_have_one_length():
    """Rows of several lengths are cut in silence."""
    with pytest.raises(UserError, match="rows of 1 to 2 numbers"):
        Encoder.fit([vector("x")], {"x": [[1.0], [1.0, 2.0]]})
    encoder = Encoder.fit([vector("x")], {"x": [[1.0, 2.0]]})
    with pytest.raises(UserError, match="has 3 numbers a row, 2 in training"):
        encoder.raw({"x": [[1.0, 2.0, 3.0]]})


YEAR = 365.25 * 86400


def test_time_is_linear_in_years_from_the_newest_row():
    """Beyond the training range a trend bends, or its zero moves with the test rows."""
    train = np.array([0.0, 1.5e9])
    rows = np.array([1.5e9, 1.5e9 + YEAR, 1.5e9 + 20 * YEAR, 1.5e9 - YEAR, np.nan])
    np.testing.assert_allclose(encode(time("x"), train, rows)[:, 0], [0, 1, 20, -1, 0], atol=1e-6)


def test_bent_time_turns_at_quantiles_and_is_flat_beyond():
    """A trend that went on bending beyond the data would predict nonsense for next month."""
    train = np.array([0, 1, 2, 3, 4, 10, 20, 30, 40], "datetime64[D]")
    rows = np.array([-50, 0, 2, 4, 22, 40, 4000, "NaT"], "datetime64[D]")
    coded = encode(time("x", bends=1), train, rows)
    np.testing.assert_allclose(coded[:, 0], [-1, -1, -0.5, 0, 0, 0, 0, 0], atol=1e-6)  # the median is day 4
    np.testing.assert_allclose(coded[:, 1], [-1, -1, -1, -1, -0.5, 0, 0, 0], atol=1e-6)
    assert encode(time("x", bends=3), train[:1], rows).shape == (8, 1)  # one moment has no stretches
    with pytest.raises(UserError, match="bends is -1, must be 0 or more"):
        time("x", bends=-1)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.to_datetime(["2014-01-01T12:00", None])),
        pd.Series(pd.to_datetime(["2014-01-01T12:00+00:00", None])),
        pa.array(["2014-01-01T12:00:00", None]),
        pa.array(["2014-01-01T13:00:00+01:00", None]),
        pa.array([1388577600 * 10**9, None], pa.timestamp("ns", "Europe/Berlin")),
        np.array([1388577600.0, np.nan]),
        pa.array([1388577600, None]),
    ],
)
def test_times_are_unix_seconds_however_they_are_stored(column):
    """Zones or units shift the time."""
    encoder = Encoder.fit([time("x")], {"x": column})
    assert encoder.codings["x"].newest == 1388577600.0
    np.testing.assert_array_equal(encoder.raw({"x": column})["x"], [1388577600.0, np.nan])


def test_cycles_are_circles():
    """Sunday night is far from Monday morning."""
    days = np.array(["2024-01-01T00:00", "2024-01-07T23:59:59", "2024-01-04T12:00"], "datetime64[s]")  # Monday, Sunday night, Thursday noon
    coded = encode(time("x", day_of_week=True, hour_of_day=True), days, days)
    np.testing.assert_allclose(coded[:2, 1:], [[0, 1, 0, 1]] * 2, atol=1e-3)
    np.testing.assert_allclose(coded[2, 1:], [0, -1, 0, -1], atol=1e-3)


@pytest.mark.parametrize(
    ("feature", "column", "message"),
    [
        (numeric("x"), ["a"], "not numbers"),
        (multi_categorical("x"), ["a"], "needs lists"),
        (categorical("x"), [["a"]], "can't be read as text"),
        (text("x"), [["a"]], "can't be read as text"),
        (vector("x"), [1.0], "needs lists"),
        (time("x"), ["yesterday"], "not a time"),
        (numeric("x"), [1, "a"], "mixes types"),
    ],
)
def test_a_wrong_type_says_what_to_do(feature, column, message):
    """A user sees a traceback out of Arrow."""
    with pytest.raises(UserError, match=f"column 'x'.*{message}"):
        Encoder.fit([feature], {"x": column})


def test_wrong_declarations_are_refused():
    """A typing error in a declaration shows up hours later."""
    with pytest.raises(UserError, match="side is 'user'"):
        categorical("x", "user")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="input of this name"):
        numeric("clicks")
    with pytest.raises(UserError, match="min_count is 0"):
        text("x", min_count=0)
    with pytest.raises(UserError, match="declared twice"):
        Encoder.fit([text("x"), categorical("x")], {"x": ["a"]})
    with pytest.raises(UserError, match="Did you mean 'headline'"):
        Encoder.fit([text("headlin")], {"headline": ["a"]})
