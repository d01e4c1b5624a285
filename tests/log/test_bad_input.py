"""Bad input names the file, the column, the first rows and the mend; nothing passes silently."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log.logs import ROLES, frame

from recbayes.log import read_log
from recbayes.types import UserError


def message(*args, **kwargs):
    """The message of the UserError that reading raises."""
    with pytest.raises(UserError) as caught:
        read_log(*args, **kwargs)
    return str(caught.value)


def test_no_such_file_offers_the_nearest(tmp_path):
    """A mistyped path says what is there."""
    frame().to_parquet(tmp_path / "clicks.parquet")
    text = message(tmp_path / "click.parquet", **ROLES)
    assert "no such file" in text
    assert "Did you mean 'clicks.parquet'?" in text


def test_no_such_example_lists_them():
    """A mistyped example says which there are."""
    text = message("example:upworth", clicks="clicks")
    assert "Did you mean 'upworthy'?" in text
    assert "open_bandit" in text


def test_empty_file(tmp_path):
    """A file of 0 bytes is named as such, not as bad Parquet."""
    (tmp_path / "log.parquet").touch()
    assert "is empty (0 bytes)" in message(tmp_path / "log.parquet", **ROLES)


def test_no_rows(tmp_path):
    """A table with columns and no rows has nothing to read."""
    frame().iloc[:0].to_parquet(tmp_path / "log.parquet")
    assert "no rows" in message(tmp_path / "log.parquet", **ROLES)


def test_folder_without_parquet(tmp_path):
    """An empty folder is an error, not an empty log."""
    assert "holds no file" in message(tmp_path, **ROLES)


def test_not_parquet_says_how_to_convert(tmp_path):
    """A CSV gets the line that converts it."""
    frame().to_csv(tmp_path / "log.csv")
    text = message(tmp_path / "log.csv", **ROLES)
    assert "not a Parquet file" in text
    assert "read_csv" in text


def test_cut_off_file(tmp_path):
    """A Parquet file without its end was not written to the end."""
    frame().to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "log.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:200])
    assert "its end is missing" in message(tmp_path / "log.parquet", **ROLES)


def test_damaged_inside(tmp_path):
    """Bytes overwritten in the middle stop the reading with the file's name."""
    pq.write_table(pa.table({"clicks": np.arange(10_000) % 2, "x": np.random.default_rng(0).normal(size=10_000)}), tmp_path / "log.parquet")
    data = bytearray((tmp_path / "log.parquet").read_bytes())
    data[4:200] = b"\xff" * 196
    (tmp_path / "log.parquet").write_bytes(data)
    assert "log.parquet is damaged" in message(tmp_path / "log.parquet", clicks="clicks")


def test_missing_columns_all_at_once_with_the_nearest():
    """Two misnamed columns are two lines, each with what was probably meant and what it is for."""
    text = message(frame(), **(ROLES | {"impressions": "shwon", "time": "when"}), features=["color"])
    assert "no column 'shwon' (impressions). Did you mean 'shown'?" in text
    assert "no column 'when' (time)." in text
    assert "no column 'color' (feature). Did you mean 'colour'?" in text
    assert "It has: clicks, shown, item" in text


@pytest.mark.parametrize(
    ("changes", "roles", "expected"),
    [
        ({"clicks": ["1"] * 6}, {}, "column 'clicks' (clicks) is large_string: it must be a number"),
        ({"shown": [True] * 6}, {}, "column 'shown' (impressions) is bool"),
        ({"at": ["monday"] * 6}, {}, "column 'at' (time) is large_string: it must be a timestamp"),
        ({"item": [["a"]] * 6}, {}, "column 'item' (item) is large_list"),
        ({"p": ["high"] * 6}, {"propensity": "p"}, "column 'p' (propensity) is large_string"),
        ({"shelf": ["a"] * 6}, {"candidates": "shelf"}, "column 'shelf' (candidates) is large_string: it must be a list"),
        ({"colour": [{"r": 1}] * 6}, {"features": ["colour"]}, "column 'colour' (feature) is struct"),
    ],
)
def test_wrong_type(changes, roles, expected):
    """A column of a type that its role cannot have is named with its type and the mend."""
    assert expected in message(frame(**changes), **(ROLES | roles))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clicks": [1, None, 0, 3, None, 0]}, "clicks is null: 2 rows (row 1: clicks = None; row 4: clicks = None)"),
        ({"clicks": [1, 2, 0, 31, 1, 0]}, "clicks > shown: 1 row (row 3: clicks = 31, shown = 30)"),
        ({"clicks": [-1, 2, 0, 3, 1, 0]}, "clicks is negative: 1 row (row 0: clicks = -1)"),
        ({"shown": [10, -20, 10, 30, 10, 5], "clicks": [0] * 5 + [1]}, "shown is negative: 1 row (row 1: shown = -20)"),
        ({"shown": [10, np.inf, 10, 30, 10, 5]}, "shown is infinite or above 2^53: 1 row (row 1: shown = inf)"),
        ({"clicks": [0.5, 2, 0, 3, 1, 0]}, "clicks is not a whole number: 1 row (row 0: clicks = 0.5)"),
        ({"item": ["a", None, "a", "c", "b", "c"]}, "item is null: 1 row (row 1: item = None)"),
        ({"at": pd.to_datetime([None, *["2024-01-01"] * 5])}, "at is null: 1 row (row 0"),
    ],
)
def test_impossible_rows(changes, expected):
    """Rows that cannot be right are named with row number and value, and both ways to mend them."""
    text = message(frame(**changes), **ROLES)
    assert expected in text
    assert "of 6 rows are bad" in text
    assert "quarantine" in text


@pytest.mark.parametrize(("value", "expected"), [(0.0, "p is outside (0, 1]"), (1.5, "p is outside (0, 1]"), (np.nan, "p is null")])
def test_impossible_propensities(value, expected):
    """A propensity that no choice can have had is a bad row."""
    assert f"{expected}: 1 row (row 2" in message(frame(p=[0.5, 1.0, value, 0.1, 0.2, 0.3]), **ROLES, propensity="p")


def test_reward_outside_its_range():
    """A reward beyond its declared range is a bad row."""
    text = message(frame(sales=[0.0, 1.0, 2.0, 11.0, np.inf, np.nan]), reward="sales", reward_range=(0, 10))
    assert "sales is outside its range [0, 10]: 1 row (row 3: sales = 11.0)" in text
    assert "sales is infinite: 1 row (row 4" in text
    assert "sales is null: 1 row (row 5" in text


def test_only_the_first_rows_are_shown():
    """A million bad rows give a message of one line, with their number."""
    text = message(pd.DataFrame({"clicks": np.full(200_000, 2.0)}), clicks="clicks")
    assert (
        "200,000 rows (row 0: clicks = 2.0; row 1: clicks = 2.0; row 2: clicks = 2.0; row 3: clicks = 2.0; row 4: clicks = 2.0; ...)"
        in text
    )
    assert "without an impressions column a row is one impression" in text


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (frame(clicks=[0] * 6), "column 'clicks' is 0 in all 6 rows"),
        (frame(clicks=[0] * 6, shown=[0] * 6), "column 'shown' is 0 in all 6 rows"),
        (frame().iloc[:1], "holds one row"),
    ],
)
def test_nothing_to_learn(table, expected):
    """A log without clicks, impressions or a second row stops before anything is trained on it."""
    assert expected in message(table, **ROLES)


def test_one_group_cannot_be_split():
    """One group is no test log: the message says what to give instead."""
    log = read_log(frame(test=["x"] * 6), **ROLES)
    with pytest.raises(UserError, match=r"one group only.*separate test log"):
        log.split()


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({"clicks": None}, "exactly one of them is needed"),
        ({"reward": "shown"}, "exactly one of them is needed"),
        ({"clicks": None, "reward": "clicks"}, "leave `impressions` out"),
        ({"features": ["clicks"]}, "clicks cannot be a feature"),
        ({"on_bad_rows": "ignore"}, "must be fail or quarantine"),
    ],
)
def test_roles_that_contradict_each_other(roles, expected):
    """Roles that cannot go together are refused before anything is read."""
    assert expected in message(frame(), **(ROLES | roles))


def test_files_that_disagree(tmp_path):
    """A folder whose files have other columns or types names both files."""
    frame().to_parquet(tmp_path / "a.parquet")
    frame().drop(columns="item").to_parquet(tmp_path / "b.parquet")
    assert "b.parquet lacks column item that a.parquet has" in message(tmp_path, **ROLES)
    frame(item=[[1]] * 6).to_parquet(tmp_path / "b.parquet")
    assert "column 'item' is large_string in a.parquet and large_list" in message(tmp_path, **ROLES)


def test_bad_rows_in_several_files_name_the_file(tmp_path):
    """A row number means nothing without its file."""
    frame().to_parquet(tmp_path / "a.parquet")
    frame(clicks=[1, 2, 0, 3, 1, 9]).to_parquet(tmp_path / "b.parquet")
    assert "clicks > shown: 1 row (b.parquet row 5: clicks = 9, shown = 5)" in message(tmp_path, **ROLES)
