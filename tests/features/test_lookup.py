"""The table that encodes integers in a stream: every value of a vocabulary gets its id, and no other does."""

import numpy as np
import pyarrow as pa
import pytest

from recbayes.features import Encoder, categorical
from recbayes.features.lookup import Lookup

RANDOM = np.random.default_rng(0)
VOCABULARIES = {
    "none": np.zeros(0, np.int64),
    "one": np.array([0]),
    "dense": np.arange(-300, 300),
    "multiples": np.arange(3000) << 20,
    "high bits": np.arange(-500, 500) << 54,
    "random": RANDOM.permutation(np.unique(RANDOM.integers(-(2**63), 2**63 - 1, 20_000))),
    "hashes of 32 bits": RANDOM.permutation(np.unique(RANDOM.integers(-(2**31), 2**31, 20_000))),
}


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("name", VOCABULARIES)
def test_ids_are_those_of_a_dictionary(name, kind):
    """A value taken for another trains the wrong embedding, and nothing would tell."""
    vocabulary = VOCABULARIES[name].astype(np.int64)
    known = dict(zip(vocabulary.tolist(), range(1, 1 + len(vocabulary)), strict=True))
    narrow = vocabulary[vocabulary == vocabulary.astype(kind)]
    range_of = np.iinfo(kind)
    others = RANDOM.integers(range_of.min, range_of.max, 5000, dtype=kind)
    asked = RANDOM.permutation(np.concatenate([narrow, narrow + 1, others, [0, range_of.min, range_of.max]]).astype(kind))
    assert Lookup(vocabulary, kind)(asked).tolist() == [known.get(value, 0) for value in asked.tolist()]


def test_values_that_one_product_sends_into_one_bucket_are_looked_up_all_the_same():
    """A vocabulary would never be done, and training would hang at its start; values that are not distinct are an error, not a hang."""
    inverse = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    values = np.array([i * inverse % (1 << 64) for i in range(1, 301)], np.uint64).view(np.int64)
    assert Lookup(values, np.int64)(values).tolist() == list(range(1, 301))
    with pytest.raises(ValueError, match="distinct"):
        Lookup(np.array([5, 5]), np.int64)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint32(), pa.float64()])
def test_nulls_and_slices_of_every_width_are_read_alike(kind):
    """Arrow keeps nulls in bits that a slice may begin in the middle of; what lies beneath a null is no value."""
    values = [5, None, 7, 5, None, 100, 9] * 5
    encoder = Encoder.fit([categorical("x", min_count=1)], {"x": pa.array(values, kind)})
    column = pa.array([1, 2, 3, *values], kind)[3:]
    ids = {value: 1 + place for place, value in enumerate(encoder.codings["x"].vocabulary)}
    assert encoder.codes(pa.table({"x": column}))["x"].tolist() == [ids.get(value, 0) for value in values]
