"""Small logs that the tests of this room share."""

import pandas as pd

from recbayes.log import read_log

UPWORTHY = {
    "clicks": "clicks",
    "impressions": "impressions",
    "item": "source_row",
    "group": "clickability_test_id",
    "time": "test_created_at",
}


def upworthy(*features):
    return read_log("example:upworthy", **UPWORTHY, features=features or ["headline", "eyecatcher_id"])


def frame(**changes):
    """Six good rows of three groups; a column given replaces that of the same name."""
    columns = {
        "clicks": [1, 2, 0, 3, 1, 0],
        "shown": [10, 20, 10, 30, 10, 5],
        "item": ["a", "b", "a", "c", "b", "c"],
        "test": ["x", "x", "y", "y", "z", "z"],
        "at": pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-02", "2024-01-03", "2024-01-03"]),
        "colour": ["red", "blue", "red", "green", "blue", "green"],
    }
    return pd.DataFrame(columns | changes)


ROLES = {"clicks": "clicks", "impressions": "shown", "item": "item", "group": "test", "time": "at"}
