"""Splits: groups are never cut, nothing leaks along shared values, the newest are judged."""

import numpy as np
import pandas as pd
import pytest
from log.logs import ROLES, frame, upworthy

from recbayes.log import read_log
from recbayes.types import UserError


def groups(log):
    return set(log.group.tolist())


@pytest.mark.parametrize("by", ["time", "group", "random"])
def test_groups_are_never_cut(by):
    """A test whose arms lie on both sides would tell the model its own answer."""
    log = upworthy()
    train, test = log.split(by=by, test_fraction=0.2)
    assert not groups(train) & groups(test)
    assert len(train) + len(test) == len(log)
    # alarm 1e-6 for a fair hash: 4.9 standard deviations of a binomial share are 0.031
    assert abs(test.segments[1] / log.segments[1] - 0.2) < (0.031 if by == "group" else 1e-3)


def test_by_time_takes_the_newest():
    """The figures that all stages quote are those of the newest 780 tests, 638 of them with two distinct arms."""
    train, test = upworthy().split(by="time", test_fraction=0.2)
    assert test.segments[1] == 780
    assert train.time.max() <= test.time.min()
    arms = test.to_pandas().drop_duplicates(["clickability_test_id", "headline", "eyecatcher_id"]).groupby("clickability_test_id").size()
    assert (arms >= 2).sum() == 638


def test_by_time_goes_by_a_groups_first_row():
    """A group that started early is old, however long it ran."""
    log = read_log(frame(at=pd.to_datetime(["2024-01-01", "2024-03-01", "2024-01-02", "2024-01-02", "2024-01-03", "2024-01-03"])), **ROLES)
    assert groups(log.split(test_fraction=0.34)[1]) == {"z"}


@pytest.mark.parametrize("by", ["connected", "time", "random"])
def test_followed_values_stay_on_one_side(by):
    """A headline on both sides would be remembered, not predicted."""
    train, test = upworthy().split(by=by, test_fraction=0.2, follow=["headline", "eyecatcher_id"])
    for name in ("headline", "eyecatcher_id"):
        shared = set(train.column(name).to_pylist()) & set(test.column(name).to_pylist()) - {None}
        assert not shared
    assert 0.19 < test.segments[1] / 3898 <= 0.2002


def test_connection_goes_through_chains():
    """Groups that share nothing directly but are linked by a third one stay together; nulls link nothing."""
    table = frame(colour=["red", "blue", "blue", None, "green", None], test=["x", "x", "y", "y", "z", "z"])
    more = pd.concat([table, table.assign(test=[*"uuvvww"], colour=["a", "b", "b", "c", "c", None])])
    log = read_log(more, **ROLES, features=["colour"])
    train, test = log.split(by="connected", test_fraction=0.5, follow=["colour"], seed=1)
    sides = [groups(train), groups(test)]
    assert any({"x", "y"} <= side for side in sides)
    assert any({"u", "v", "w"} <= side for side in sides)


def test_clusters_hold_groups_together():
    """Tests of one user stay together when the log names its clusters."""
    log = read_log(frame(user=[1, 1, 2, 2, 1, 1]), **ROLES, cluster="user")
    train, test = log.split(by="time", test_fraction=0.34)
    assert sorted([groups(train), groups(test)], key=len) == [{"y"}, {"x", "z"}]


def test_by_name_a_group_stays_on_its_side():
    """When the log grows, what was held out stays held out."""
    log = upworthy()
    before = groups(log.take(np.arange(6_000)).split(by="group")[1])
    after = groups(log.split(by="group")[1])
    early = groups(log.take(np.arange(6_000)))
    # the first and the last name of a log are held to one side each, so two may move
    assert len(before ^ (after & early)) <= 2


def test_same_seed_same_rows():
    """A split can be made again; another seed makes another."""
    log = upworthy()
    first, again, other = (log.split(by="random", seed=seed)[1] for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_rows_without_groups_are_split_one_by_one():
    """Events without a group are units of their own, in the order of time."""
    log = read_log("example:open_bandit", clicks="click", time="timestamp", features=["position"])
    train, test = log.split(by="time", test_fraction=0.3)
    assert len(test) == 3_000
    assert train.time.max() <= test.time.min()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"by": "month"}, "must be one of time, group, connected, random"),
        ({"test_fraction": 1.0}, "between 0 and 1"),
        ({"by": "connected"}, "needs `follow`"),
        ({"by": "connected", "follow": ["same"]}, "all groups share values of same"),
        ({"by": "random", "follow": ["nowhere"]}, "was read without a column 'nowhere'"),
    ],
)
def test_impossible_splits(settings, expected):
    """A split that cannot be made says why."""
    with pytest.raises(UserError, match=expected):
        read_log(frame(same=[1] * 6), **ROLES).split(**settings)


def test_by_time_without_time():
    """Without a time column there is no newest group."""
    with pytest.raises(UserError, match="Name it, or split by group"):
        read_log(frame(), clicks="clicks", impressions="shown", group="test").split()


def test_a_giant_component_is_passed_over():
    """Where most groups hang together, the rest is the test, not nothing."""
    table = pd.DataFrame({"clicks": [1] * 20, "test": range(20), "page": [0] * 16 + [1, 2, 3, 4]})
    log = read_log(table, clicks="clicks", group="test")
    train, test = log.split(by="connected", test_fraction=0.2, follow=["page"])
    assert test.segments[1] == 4
    assert set(train.column("page").to_pylist()) == {0}
