"""Where integers stand in a vocabulary: a perfect hash table in NumPy, made once and asked by the million.

    h = x odd;   bucket = h >> (w - b);   slot = (h factor[bucket]) >> (w - s)          (all modulo 2^w; w is 32 or 64)

Each bucket of some two values has a factor of its own, chosen so that no two values share a slot (Belazzougui, Botelho, Dietzfelbinger
2009, Hash, displace, and compress). So a look is three reads and one comparison for each row, whatever is asked: the same few operations on
whole arrays, which is what NumPy does well. Arrow's `index_in` builds its table anew at each call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbayes.types import Array

_ODD = {32: 0x9E3779B1, 64: 0x9E3779B97F4A7C15}
FACTORS, TRIES = 4096, 8
"""Factors tried for a bucket, and odd numbers x tried: values that one x sends into few buckets, another scatters."""


class Lookup:
    """Ids of a vocabulary of distinct integers [K]: the i-th has id i + 1, any other integer 0.

    kind: of the integers asked about, int32 or int64.

    Raises: ValueError for values that are not distinct.

    >>> Lookup(np.array([7, -3]), np.int32)(np.array([-3, 8, 7], np.int32)).tolist()
    [2, 0, 1]
    """

    def __init__(self, vocabulary: Array, kind: Any) -> None:
        self._word = np.uint32 if kind == np.int32 else np.uint64
        width, bits = np.iinfo(kind).bits, max(len(vocabulary).bit_length(), 6)
        self._room = 1 << width
        self._bucket, self._place = self._word(width + 1 - bits), self._word(width - 2 - bits)  # half as many buckets, 4 times the slots
        self._known = np.concatenate([np.zeros(1, kind), vocabulary.astype(kind)])
        ids = 1 + np.flatnonzero(self._known[1:] == vocabulary).astype(np.int32)
        for times in range(TRIES):
            self._odd = _ODD[width] * 5**times % self._room
            self._factors, self._slots = np.ones(1 << (bits - 1), self._word), np.zeros(1 << (bits + 2), np.int32)
            if self._place_all(ids):
                return
        raise ValueError("the values of a vocabulary must be distinct")

    def __call__(self, values: Array) -> Array:
        """Ids int32 [N] of integers [N]."""
        hashes = self._hashes(values)
        hashes *= self._factors.take(hashes >> self._bucket, mode="clip")  # no index is out of range, so none is clipped
        hashes >>= self._place
        ids = self._slots.take(hashes, mode="clip")
        ids *= self._known.take(ids, mode="clip") == values
        return ids

    def _place_all(self, ids: Array) -> bool:
        """Tries one factor after the other for all buckets whose values are not placed; whether all were."""
        hashes, last = self._hashes(self._known[ids]), np.zeros(len(self._slots), np.int32)
        buckets = hashes >> self._bucket
        for step in range(1, 2 * FACTORS, 2):
            if not len(ids):
                return True
            factor = self._word(step * self._odd % self._room)
            slots = (hashes * factor) >> self._place
            last[slots] = ids
            failed = np.zeros(len(self._factors), bool)
            failed[buckets[(self._slots[slots] > 0) | (last[slots] != ids)]] = True
            left = failed[buckets]
            self._slots[slots[~left]], self._factors[buckets[~left]] = ids[~left], factor
            ids, hashes, buckets = ids[left], hashes[left], buckets[left]
        return False

    def _hashes(self, values: Array) -> Array:
        return np.asarray(values.view(self._word) * self._word(self._odd))
