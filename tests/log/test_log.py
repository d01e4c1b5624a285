"""A log in memory: its columns, its groups, its rows, its picture."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from log.logs import ROLES, frame, upworthy

from recbayes.log import read_log
from recbayes.log.counts import equal_rows
from recbayes.types import UserError


def test_columns_as_arrays():
    """What models and replays read has the types that they count on."""
    log = read_log(frame(p=[0.5] * 6), **ROLES, propensity="p")
    assert log.clicks.tolist() == [1, 2, 0, 3, 1, 0]
    assert log.impressions.tolist() == [10, 20, 10, 30, 10, 5]
    assert log.item.tolist() == ["a", "b", "a", "c", "b", "c"]
    assert log.group.tolist() == ["x", "x", "y", "y", "z", "z"]
    assert log.propensity.tolist() == [0.5] * 6
    assert log.time[2] - log.time[0] == 86_400
    assert log.reward is None


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 3_600], pa.timestamp("s")),
        pa.array([0, 3_600_000_000_000], pa.timestamp("ns", tz="Europe/Berlin")),
        pa.array([0, 3_600.0]),
        pa.array([0, 3_600], pa.int32()),
    ],
    ids=lambda values: str(values.type),
)
def test_time_in_unix_seconds(values):
    """Every kind of time ends up on one scale, in UTC."""
    log = read_log(pa.table({"clicks": [1, 0], "at": values}), clicks="clicks", time="at")
    assert log.time.tolist() == [0.0, 3_600.0]


def test_dates_are_times():
    """A day is its first second."""
    log = read_log(pa.table({"clicks": [1, 0], "at": [datetime.date(1970, 1, 1), datetime.date(1970, 1, 3)]}), clicks="clicks", time="at")
    assert log.time.tolist() == [0.0, 172_800.0]


def test_segments_in_order_of_first_appearance():
    """Segment ids are dense and stable; a row without a group competes with no other."""
    log = read_log(frame(test=["b", None, "a", "b", None, "a"]), **ROLES)
    segments, number = log.segments
    assert segments.tolist() == [0, 1, 2, 0, 3, 2]
    assert segments.dtype == np.int32
    assert number == 4
    alone = read_log(frame(), clicks="clicks", impressions="shown").segments
    assert (alone[0].tolist(), alone[1]) == ([0, 1, 2, 3, 4, 5], 6)


def test_clusters_are_the_groups_unless_named():
    """Splits and bootstraps keep together what the user says, or the groups."""
    assert read_log(frame(), **ROLES).clusters[1] == 3
    log = read_log(frame(user=[1, 2, 1, 2, 1, 2]), **ROLES, cluster="user")
    assert log.clusters[0].tolist() == [0, 1, 0, 1, 0, 1]


def test_counts_sum_equal_rows():
    """Rows equal in group, item and features become one; time is that of the first."""
    table = pd.concat([frame(), frame(at=pd.to_datetime(["2023-12-31"] * 6))])
    counts = read_log(table, **ROLES, features=["colour"]).counts()
    assert len(counts) == 6
    assert counts.clicks.tolist() == [2, 4, 0, 6, 2, 0]
    assert counts.impressions.tolist() == [20, 40, 20, 60, 20, 10]
    assert (counts.time == pd.Timestamp("2023-12-31").timestamp()).all()


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "b", None, "a"]),
        pa.chunked_array([pa.array(["a", None, "b"]).dictionary_encode(), pa.array([None, "a"]).dictionary_encode()]),
        pa.DictionaryArray.from_arrays([0, 3, 1, None, 2], ["a", "b", "a", None]),
        pa.array([[1, 2], None, [], None, [1, 2]]),
        pa.array([1, None, 2**63, None, 1], pa.uint64()),
        pa.array([0.5, None, float("nan"), None, 0.5]),
    ],
)
def test_equal_values_and_nulls_agree_however_they_are_stored(column):
    """A column that is dictionary-encoded in the file breaks on its nulls, or equal values differ."""
    codes, number = equal_rows(pa.table({"x": column}), ["x"])
    assert (codes.tolist(), number) == ([0, 1, 2, 1, 0], 3)


def test_rows_of_counts_without_items_are_items():
    """Identical arms of one test stay two draws of the click rate, though nothing names them."""
    log = read_log(frame(colour="red"), clicks="clicks", impressions="shown", group="test", features=["colour"])
    assert log.counts() is log
    assert len(read_log(frame(), clicks="clicks", impressions="shown", group="test", features=[], as_counts=True)) == 6


def test_spread_is_identified_by_repeats():
    """Events that differ in every feature cannot tell the spread of rates, and a fit asks before it tries."""
    events = frame(clicks=[0, 1, 0, 1, 1, 0])
    assert read_log(events, clicks="clicks", item="item", features=[]).spread_identified
    assert not read_log(events, clicks="clicks", item="item", features=["shown", "test"]).spread_identified
    assert read_log(frame(), **ROLES).spread_identified


def test_counts_of_events_forget_the_decision():
    """What belongs to one decision cannot be kept when decisions are summed."""
    log = read_log(
        frame(clicks=[0, 1, 0, 1, 1, 0], p=[0.5] * 6, slot=[1, 2, 1, 2, 1, 2]),
        clicks="clicks",
        item="item",
        propensity="p",
        position="slot",
        features=[],
    )
    counts = log.counts()
    assert log.is_events
    assert not counts.is_events
    assert counts.table.to_pydict() == {"clicks": [0, 2, 1], "impressions": [2, 2, 2], "item": ["a", "b", "c"]}
    assert counts.columns.propensity is counts.columns.position is None


def test_counts_tell_lists_nulls_and_numbers_apart():
    """Features of any type are compared by value."""
    table = pa.table(
        {
            "clicks": [1, 0, 1, 0, 1, 0, 1, 0, 1],
            "tags": pa.array([["a"], ["a"], ["a", "b"], None, None, [], [None], [""], [None]], pa.list_(pa.string())),
            "x": [1.5, 1.5, 1.5, None, None, None, None, None, None],
        }
    )
    counts = read_log(table, clicks="clicks").counts()
    assert counts.impressions.tolist() == [2, 1, 2, 1, 2, 1]
    assert counts.column("tags").to_pylist() == [["a"], ["a", "b"], None, [], [None], [""]]


def test_counts_keep_every_click():
    """Summing loses nothing: totals by item agree."""
    log = read_log("example:open_bandit", clicks="click", item="item_id", features=["position", "user_feature_0"])
    counts = log.counts()
    by_item = counts.to_pandas().groupby("item_id")[["click", "impressions"]].sum()
    events = log.to_pandas().groupby("item_id").click.agg(["sum", "size"])
    assert (by_item.click == events["sum"]).all()
    assert (by_item.impressions == events["size"]).all()


def test_impressions_get_a_free_name():
    """A feature that is called impressions is not overwritten by the sum."""
    table = frame(clicks=[0, 1, 0, 1, 1, 0]).rename(columns={"shown": "impressions"})
    counts = read_log(table, clicks="clicks", item="item", features=["impressions"]).counts()
    assert counts.columns.impressions == "impressions_"
    assert counts.impressions.sum() == 6


def test_a_reward_is_no_count():
    """Asked for clicks, a log of rewards says what it has."""
    log = read_log(frame(sales=[0.0, 1.5, 2.0, 0.0, 0.1, 0.0]), reward="sales", item="item", features=[])
    assert log.reward.tolist() == [0.0, 1.5, 2.0, 0.0, 0.1, 0.0]
    for what in (lambda: log.clicks, log.counts, lambda: read_log(frame(sales=[0.0] * 6), reward="sales", as_counts=True)):
        with pytest.raises(UserError, match="reward"):
            what()


def test_take_by_numbers_and_by_mask():
    """Both ways of naming rows give the same log."""
    log = read_log(frame(), **ROLES)
    assert log.take([4, 0]).clicks.tolist() == [1, 1]
    assert log.take(log.clicks > 1).table.equals(log.take([1, 3]).table)


def test_a_column_that_was_not_read():
    """The message says how to have it read."""
    with pytest.raises(UserError, match="Name it among the features"):
        read_log(frame(), **ROLES, features=[]).column("colour")


def test_picture_in_a_notebook():
    """The summary, the roles and the authors are shown, and nothing in the data can break out of it."""
    page = upworthy()._repr_html_()
    assert "17,860" in page
    assert "Scientific Data" in page
    hostile = read_log(frame(colour=["<script>alert(1)</script>"] * 6), **ROLES)
    assert "<script>" not in hostile._repr_html_()
    assert repr(hostile) == "Log('table', rows 6, clicks 7, impressions 85, groups 3)"
