"""All features together: fitted once on the training rows, then raw arrays in, encoded tensors out, here and in the export."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recbayes.features import columns as arrow
from recbayes.features.bags import Text, Values
from recbayes.features.coding import OOV_ID, OOV_TOKEN, Coding, Encoded
from recbayes.features.feature import Feature
from recbayes.features.ids import Ids
from recbayes.features.numbers import Numbers
from recbayes.features.times import Times
from recbayes.types import Tensor, UserError

CODINGS: dict[str, Any] = {
    "categorical": Ids,
    "multi_categorical": Values,
    "text": Text,
    "numeric": Numbers,
    "vector": Numbers,
    "time": Times,
}
_FILE = "encoder.json"


class Encoder(tf.Module):
    """Fitted features.

    >>> from recbayes.features import categorical, text
    >>> log = {"headline": ["Big news", "big dog", "no news"], "image": ["a", "a", "b"]}
    >>> encoder = Encoder.fit([text("headline", ngrams=1, min_count=1), categorical("image")], log)
    >>> encoder(encoder.raw({"headline": ["Big cat"], "image": ["z"]}))["headline"].numpy().tolist()
    [[2, 1]]
    """

    def __init__(self, codings: Sequence[Coding]) -> None:
        super().__init__()
        self.codings = {coding.encoded.feature: coding for coding in codings}

    @classmethod
    def fit(cls, features: Sequence[Feature], columns: Any) -> Encoder:
        """Learns vocabularies, ranges and scales.

        Args:
          features: what to read; one a column.
          columns: the training rows: a mapping of arrays, a pyarrow Table or a pandas DataFrame; [N] each.

        Returns: the encoder.
        Raises: UserError if a column is missing, of a type its kind can't read, or declared twice.
        """
        _none_twice(features)
        return cls([CODINGS[feature.kind].fit(feature, arrow.take(columns, feature.name)) for feature in features])

    @classmethod
    def fit_parts(cls, features: Sequence[Feature], parts: Callable[[str], Iterable[pa.Array]], threads: int = 1) -> Encoder:
        """The same of rows that memory does not hold: each column is gone through once, by itself.

        Vocabularies, ranges and quantiles are those of `fit`, means and standard deviations to rounding. Memory follows the distinct
        n-grams of texts and the distinct values of lists; what else is counted is spilled.

        Args:
          features: what to read; one a column.
          parts: a column's name -> its rows in parts.
          threads: columns at once.

        Returns: the encoder.
        Raises: UserError as `fit`.

        >>> from recbayes.features import categorical
        >>> encoder = Encoder.fit_parts([categorical("image")], lambda name: iter([pa.array(["a", "b"]), pa.array(["a"])]))
        >>> list(encoder.codings["image"].vocabulary)
        ['a']
        """
        _none_twice(features)
        with ThreadPoolExecutor(threads) as pool:
            return cls(list(pool.map(lambda f: CODINGS[f.kind].fit_parts(f, parts(f.name)), features)))

    @property
    def features(self) -> list[Feature]:
        """The declarations, in order."""
        return [coding.feature for coding in self.codings.values()]  # type: ignore[attr-defined]

    @property
    def signature(self) -> dict[str, Any]:
        """The raw input of each feature as a tf.TensorSpec, first axis N open."""
        return {name: coding.signature for name, coding in self.codings.items()}

    @property
    def specs(self) -> dict[str, Encoded]:
        """What the network gets of each feature."""
        return {name: coding.encoded for name, coding in self.codings.items()}

    def raw(self, columns: Any) -> dict[str, np.ndarray]:
        """A log's columns as arrays of the signature: nulls have a value, timestamps are Unix seconds.

        Args:
          columns: a mapping of arrays, a pyarrow Table or a pandas DataFrame; [N] each.

        Returns: one array a feature, [N, ...].
        Raises: UserError if a column is missing or of a type that can't be read as in training.
        """
        return {name: coding.raw(arrow.take(columns, name)) for name, coding in self.codings.items()}

    def __call__(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encodes raw arrays or tensors [N, ...], eagerly or in a graph: TensorFlow operations only."""
        specs = self.signature
        return {name: coding(tf.convert_to_tensor(raw[name], specs[name].dtype)) for name, coding in self.codings.items()}

    def codes(self, columns: Any) -> dict[str, np.ndarray]:
        """What calling the encoder on `raw` gives, as arrays, by the quickest way: rows by the million.

        Args:
          columns: a pyarrow Table; dictionaries save most of the work.

        Returns: one array a feature, [N, ...].

        >>> from recbayes.features import categorical
        >>> encoder = Encoder.fit([categorical("image")], {"image": ["a", "a", "b"]})
        >>> encoder.codes(pa.table({"image": ["b", "a", None]}))["image"].tolist()
        [0, 1, 0]
        """
        return {name: coding.codes(arrow.kept(columns[name])) for name, coding in self.codings.items()}

    def example(self, rows: int) -> dict[str, np.ndarray]:
        """Made-up rows as arrays of the signature: values of the training log, and a row of unseen ones last.

        >>> from recbayes.features import categorical
        >>> Encoder.fit([categorical("image")], {"image": ["a", "a", "b"]}).example(3)["image"].tolist()
        ['a', 'a', 'never seen']
        """
        return {name: coding.example(rows) for name, coding in self.codings.items()}

    def oov(self, encoded: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Chosen categorical features of chosen rows as if never seen before.

        Args:
          encoded: what calling the encoder gave, [N, ...] each.
          mask: feature -> bool [N], True where the value is to be hidden. Features that are no categories are refused.

        Returns: encoded, with the out-of-vocabulary id where the mask is True (in a bag as the one id).
        Raises: UserError if a masked feature is a number, vector or time.
        """
        changed = dict(encoded)
        for name, rows in mask.items():
            spec = self.specs[name]
            if spec.kind == "dense":
                raise UserError(f"features: {name!r} is {spec.of}, which has no out-of-vocabulary value. Mask categories, lists or texts")
            ids = encoded[name]
            if spec.kind == "ids":
                changed[name] = tf.where(rows, tf.constant(OOV_ID, ids.dtype), ids)
            else:
                unseen = tf.one_hot(0, spec.length, tf.constant(OOV_TOKEN, ids.dtype), tf.constant(0, ids.dtype), dtype=ids.dtype)
                changed[name] = tf.where(tf.convert_to_tensor(rows)[:, None], unseen[None, :], ids)
        return changed

    def oov_mask(self, rows: int, *, share: float, seed: int | Sequence[int], bags: bool = False) -> dict[str, np.ndarray]:
        """Random rows, and in each one or more random categorical features, for `oov`: the deep density network's recipe.

        Each row is taken with probability `share`; how many of its F categorical features are hidden is uniform on 1 .. F.

        Args:
          rows: N.
          share: of rows, in [0, 1].
          seed: of NumPy's generator; say (seed, epoch).
          bags: hide lists and texts too.

        Returns: feature -> bool [N].
        Source: the deep density network's training recipe, where it lowers the error on rows of unseen values.

        >>> from recbayes.features import categorical
        >>> encoder = Encoder.fit([categorical("image")], {"image": ["a", "a", "b"]})
        >>> encoder.oov_mask(3, share=1.0, seed=0)["image"].tolist()
        [True, True, True]
        """
        names = [name for name, spec in self.specs.items() if spec.kind == "ids" or (bags and spec.kind == "bag")]
        if not names:
            return {}
        generator = np.random.default_rng(seed)
        taken = generator.random(rows) < share  # [N]
        many = generator.integers(1, len(names) + 1, rows)  # [N]
        rank = generator.random((rows, len(names))).argsort(1).argsort(1)  # [N, F], a random order a row
        return {name: taken & (rank[:, i] < many) for i, name in enumerate(names)}

    def hidden(self, encoded: Mapping[str, np.ndarray], seed: int | Sequence[int]) -> dict[str, np.ndarray]:
        """Each row with one or more random categorical features as if never seen before (`oov_mask` of all rows).

        Args:
          encoded: what calling the encoder gave, as arrays [N, ...] each.
          seed: of NumPy's generator; say (seed, epoch).

        >>> from recbayes.features import categorical
        >>> Encoder.fit([categorical("image")], {"image": ["a", "a", "b"]}).hidden({"image": np.array([1, 0], np.int32)}, 0)
        {'image': array([0, 0], dtype=int32)}
        """
        mask = self.oov_mask(len(next(iter(encoded.values()))), share=1.0, seed=seed)
        changed = self.oov({name: tf.constant(encoded[name]) for name in mask}, mask)
        return {**encoded, **{name: np.asarray(value) for name, value in changed.items()}}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes encoder.json: declarations and what was learnt."""
        path = Path(folder) / _FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._written(), encoding="utf-8")

    def __reduce__(self) -> tuple[Callable[[str], Encoder], tuple[str]]:
        """To another process it goes as its file: TensorFlow's tables do not travel."""
        return _read, (self._written(),)

    def _written(self) -> str:
        record = [
            {"name": f.name, "kind": f.kind, "side": f.side, "settings": dict(f.settings), "state": self.codings[f.name].state()}
            for f in self.features
        ]
        return json.dumps({"features": record}, ensure_ascii=False)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Encoder:
        """Reads what `save` wrote.

        Raises: UserError if the folder holds no encoder.json, or one that is not whole.
        """
        path = Path(folder) / _FILE
        try:
            return _read(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a saved encoder ({error}). Train again, or give the run's model folder") from error


def _read(written: str) -> Encoder:
    """The encoder that was written."""
    record = json.loads(written)["features"]
    return Encoder([CODINGS[f["kind"]](Feature(f["name"], f["kind"], f["side"], f["settings"]), **f["state"]) for f in record])


def _none_twice(features: Sequence[Feature]) -> None:
    """UserError for a column that is declared twice."""
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"features: {', '.join(twice)} declared twice. One feature a column")
