"""Word n-grams of texts, and their ids looked up a word at a time.

An n-gram is the pair of the one without its last word and that word: words are looked up once, in a table of strings, and every longer
n-gram by two numbers, in a table of integers. So no n-gram is ever written as a string, which takes most of the time where one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import tensorflow as tf

from recbayes.features.coding import FIRST_TOKEN, OOV_TOKEN
from recbayes.types import Tensor

Gram = tuple[str, ...]
_GAP = " "


class Grams(tf.Module):
    """Ids of a vocabulary's n-grams.

    Args:
      vocabulary: distinct n-grams, their words parted by one space; the i-th has the id FIRST_TOKEN + i.
      longest: words in the longest n-gram of a text that is looked at.

    >>> Grams(["a", "a b", "c a"], 2)(tf.constant(["A b, c a!", "?"]), 6).numpy().tolist()   # a b c a, then a b, b c and c a
    [[2, 1, 1, 2, 3, 1], [1, 0, 0, 0, 0, 0]]
    """

    def __init__(self, vocabulary: Sequence[str], longest: int) -> None:
        super().__init__()
        ids = {tuple(gram.split(_GAP)): FIRST_TOKEN + i for i, gram in enumerate(vocabulary)}
        self._size = FIRST_TOKEN + len(ids)
        words = self._numbered({(word,) for gram in ids for word in gram}, ids)
        self._room, number, tables = self._size + len(words), words, [_table([word for (word,) in words], words.values(), tf.string)]
        for size in range(2, longest + 1):
            begun = self._numbered({gram[:size] for gram in ids if len(gram) >= size}, ids)
            pairs = [number[gram[:-1]] * self._room + words[gram[-1:]] for gram in begun]
            number, tables = begun, [*tables, _table(pairs, begun.values(), tf.int64)]
        self._tables = tables

    def _numbered(self, grams: Iterable[Gram], ids: Mapping[Gram, int]) -> dict[Gram, int]:
        """A number for each n-gram: its id, or where only longer ones are in the vocabulary one that is no id."""
        more = count(self._size)
        return {gram: ids.get(gram) or next(more) for gram in sorted(grams)}

    def __call__(self, texts: Tensor, length: int) -> Tensor:
        """Ids int32 [N, length] of texts [N]: words, then pairs of them, and so on; a text without a word is one unknown n-gram.

        What goes beyond the length is left out.
        """
        rows = tf.cast(tf.shape(texts)[0], tf.int64)
        parted = words(texts)
        row, place = tf.unstack(parted.indices, axis=1)  # of each word of all texts, [M]
        size = tf.math.unsorted_segment_sum(tf.ones_like(row), row, rows)  # words of each text, [N]
        many = tf.gather(size, row)  # [M]
        here, left = row * length, many - place  # where the text's ids begin among all; words from this one to its last
        word = number = self._tables[0].lookup(parted.values)  # [M]
        ids, places = [tf.cast(tf.equal(size, 0), tf.int32) * OOV_TOKEN], [tf.range(rows) * length]
        for long, table in enumerate(self._tables, 1):
            if long > 1:
                number = table.lookup(number[:-1] * self._room + word[long - 1 :])  # [M - long + 1]
                place = (place + tf.maximum(many - (long - 2), 0))[:-1]  # behind those that are one word shorter
                here, left, many = here[:-1], left[:-1], many[:-1]
            ids.append(tf.cast(tf.where(number < self._size, number, OOV_TOKEN), tf.int32))
            places.append(tf.where((left >= long) & (place < length), here + place, -1))  # -1: of two texts, or beyond the length
        flat = tf.math.unsorted_segment_sum(tf.concat(ids, 0), tf.concat(places, 0), rows * length)
        return tf.reshape(flat, [rows, length])


def ngrams(texts: Tensor, longest: int) -> Any:
    """Word n-grams of texts [N]: a ragged tensor [N, None], shorter n-grams first.

    >>> ngrams(tf.constant(["<b>Don't</b> panic!"]), 2).to_list()
    [[b'dont', b'panic', b'dont panic']]
    """
    parted = words(texts)
    each = tf.RaggedTensor.from_value_rowids(parted.values, parted.indices[:, 0], tf.cast(tf.shape(texts)[0], tf.int64))
    return tf.strings.ngrams(each, ngram_width=tuple(range(1, longest + 1))) if longest > 1 else each


def words(texts: Tensor) -> Any:
    """Words of texts [N], one after the other: values string [M], indices int64 [M, 2], the text and the place in it.

    Lower case by Unicode; tags and character entities are spaces, apostrophes vanish ("don't" is one word), whatever else is no
    letter, mark or digit parts words.

    >>> words(tf.constant(["<b>Don't</b> panic!"])).values.numpy().tolist()
    [b'dont', b'panic']
    """
    joined = tf.strings.regex_replace(tf.strings.lower(texts), r"['’ʼ]|&(?:apos|rsquo|#0*39|#x27|#8217|#x2019);", "")
    # spaces stay as they are: to write one over each takes three times as long as all else
    plain = tf.strings.regex_replace(joined, r"<[^<>]*>|&#?[a-z0-9]{1,8};|[^\pL\pM\pN<& ]+|[<&]", _GAP)
    return tf.raw_ops.StringSplit(input=lower(plain), delimiter=_GAP, skip_empty=True)


def lower(texts: Tensor) -> Tensor:
    """Texts [N] whose ASCII letters are in lower case, all in lower case by Unicode.

    Plain ASCII is left as it is. Elsewhere bytes that are no UTF-8 become spaces, unless each is one from C0 on, as in a text in Latin-1:
    they stay, in words that are unknown, for to see them takes a look at every byte.

    >>> [text.decode() for text in lower(tf.constant(["ÄPFEL", "pears"])).numpy()]
    ['äpfel', 'pears']
    """
    other = tf.where(tf.not_equal(tf.strings.length(texts), tf.strings.length(texts, unit="UTF8_CHAR")))  # [M, 1]
    changed = tf.strings.regex_replace(tf.strings.lower(tf.gather_nd(texts, other), encoding="utf-8"), "\ufffd+", _GAP)
    return tf.tensor_scatter_nd_update(texts, other, changed)


def _table(keys: Sequence[Any], numbers: Iterable[int], dtype: tf.DType) -> Any:
    """Numbers of distinct keys, of anything else the unknown one. A table can't be empty: the first key is one that never occurs."""
    never = "" if dtype == tf.string else -1
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant([never, *keys], dtype), tf.constant([OOV_TOKEN, *numbers], tf.int64))
    return tf.lookup.StaticHashTable(pairs, default_value=OOV_TOKEN)
