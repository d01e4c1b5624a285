"""Logs with known value, for the tests of the evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd

import recbayes as rb

ITEMS = np.array(["ant", "bee", "cat", "dog", "eel"])
RATES = np.array([[0.3, 0.1, 0.2, 0.15, 0.05], [0.2, 0.05, 0.1, 0.3, 0.1]])
LOGGING = np.array([[0.4, 0.3, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.2, 0.2]])
TARGET = np.array([[0.2, 0.2, 0.3, 0.2, 0.1], [0.2, 0.3, 0.1, 0.2, 0.2]])
ROLES = {"clicks": "click", "item": "item", "position": "slot", "propensity": "chance"}


def frame(n=4000, seed=0, logging=LOGGING):
    """Events at two positions; each position has its own policy and rates."""
    rng = np.random.default_rng(seed)
    slot = rng.integers(0, 2, n)
    item = (rng.random(n)[:, None] > logging.cumsum(1)[slot]).sum(1).clip(max=4)
    return pd.DataFrame(
        {
            "decision": np.arange(n),
            "item": ITEMS[item],
            "slot": slot + 1,
            "click": (rng.random(n) < RATES[slot, item]).astype(int),
            "chance": logging[slot, item],
            "user": rng.integers(0, 200, n),
        }
    )


def table(probability=TARGET):
    """A policy table."""
    return pd.DataFrame({"item": np.tile(ITEMS, 2), "slot": np.repeat([1, 2], 5), "probability": np.asarray(probability).ravel()})


def read(data=None, **roles):
    """The events as a log."""
    return rb.read_log(frame() if data is None else data, **({**ROLES, "features": ["decision"]} | roles))


def value(probability=TARGET):
    """What a policy earns, positions equally likely."""
    return float((probability * RATES).sum(1).mean())
