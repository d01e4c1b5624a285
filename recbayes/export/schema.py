"""What the served model takes and gives: name, type, shape, meaning and default of every input.

Shapes are letters: N rows; B decisions of A candidates; L positions of a slate; a number is a fixed size. TensorFlow allows letters,
digits and `_` in the name of an input, so a feature called `user-age` is served as `user_age`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.features import Encoder
from recbayes.features.feature import RESERVED

Axis = str | int

OUTPUTS: dict[str, dict[str, tuple[str, tuple[Axis, ...], str]]] = {
    "click_rate": {
        "mean": ("float32", ("N",), "expected click rate"),
        "data_stddev": ("float32", ("N",), "spread that the features can't explain; own clicks shrink it"),
        "model_stddev": ("float32", ("N",), "spread from what the weights leave open; more training rows shrink it"),
        "stddev": ("float32", ("N",), "both: the root of the sum of their squares"),
        "lower": ("float32", ("N",), "5% quantile of the click rate"),
        "upper": ("float32", ("N",), "95% quantile of the click rate"),
    },
    "decide": {
        "action": ("int32", ("B",), "the chosen candidate, 0 to A - 1"),
        "propensity": ("float32", ("B",), "probability with which it was chosen: log it beside the outcome"),
        "probabilities": ("float32", ("B", "A"), "of every candidate; 0 where candidates is false"),
        "mean": ("float32", ("B", "A"), "expected click rate"),
        "stddev": ("float32", ("B", "A"), "its standard deviation"),
    },
    "slate": {
        "actions": ("int32", ("B", "L"), "the candidate at each position, the best position first; -1 where none was left"),
        "propensities": ("float32", ("B", "L"), "probability of each action at its position, given those above it; 1 where none was left"),
        "probabilities": ("float32", ("B", "L", "A"), "of every candidate at each position, given the actions above it"),
        "mean": ("float32", ("B", "A"), "expected click rate"),
        "stddev": ("float32", ("B", "A"), "its standard deviation"),
    },
}


class Input(NamedTuple):
    """One input. feature: the log's column it is, or None; default: what to send for want of a value, None where there must be one."""

    name: str
    dtype: str
    shape: tuple[Axis, ...]
    feature: str | None
    default: Any
    meaning: str

    @property
    def spec(self) -> Any:
        """As a tf.TensorSpec, letters open."""
        return tf.TensorSpec([axis if isinstance(axis, int) else None for axis in self.shape], self.dtype, name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """As metadata.json has it."""
        record = self._asdict() | {"shape": list(self.shape)}
        return {key: value for key, value in record.items() if value is not None}


def inputs(encoder: Encoder, defaults: Mapping[str, float]) -> dict[str, list[Input]]:
    """The inputs of each signature.

    Args:
      encoder: says what the features are.
      defaults: of remaining, batch and exploration.
    """
    names = served_names(list(encoder.signature))

    def feature(name: str, axes: tuple[Axis, ...]) -> Input:
        spec, what = encoder.signature[name], encoder.specs[name]
        meaning = {"time": "Unix seconds"}.get(what.of, what.of.replace("_", "-"))
        return Input(
            names[name], spec.dtype.name, (*axes, *spec.shape[1:]), name, _missing(spec.dtype.name), f"{meaning} of the {what.side}"
        )

    def axes(name: str) -> tuple[Axis, ...]:
        return ("B",) if encoder.specs[name].side == "context" else ("B", "A")

    def counts(*axes: Axis) -> list[Input]:
        return [
            Input("clicks", "int64", axes, None, 0, "the row's own clicks so far"),
            Input("impressions", "int64", axes, None, 0, "the row's own impressions so far; 0 answers from the features alone"),
        ]

    decision = [
        *(feature(name, axes(name)) for name in names),
        *counts("B", "A"),
        Input("candidates", "bool", ("B", "A"), None, None, "what may be shown; a place that holds nothing is false, its counts 0"),
        Input("remaining", "float32", ("B",), None, defaults["remaining"], "decisions left on the horizon, this batch included"),
        Input("batch", "float32", ("B",), None, defaults["batch"], "decisions taken before the counts are next updated"),
        Input("exploration", "float32", (), None, defaults["exploration"], "scale of exploration; 0 is greedy"),
        Input("seed", "int32", (2,), None, None, "any two numbers, new ones each call: the same seed gives the same action"),
    ]
    return {"click_rate": [*(feature(name, ("N",)) for name in names), *counts("N")], "decide": decision, "slate": decision}


def served_names(features: Sequence[str]) -> dict[str, str]:
    """Feature -> name of its input: letters, digits and `_`, all different.

    >>> served_names(["user-age", "user age", "größe", "1st"])
    {'user-age': 'user_age', 'user age': 'user_age_2', 'größe': 'gr__e', '1st': 'f_1st'}
    """
    taken = {*RESERVED, "self"}
    names = {}
    for feature in features:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", feature)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"f_{plain}"
        name, count = plain, 1
        while name in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name)
        names[feature] = name
    return names


def _missing(dtype: str) -> Any:
    """What stands for a missing value: NaN has no place in JSON and is written as the string NaN."""
    return {"string": "", "int64": -(2**63)}.get(dtype, "NaN")
