"""The queue world: which groups are replayed, what an arm is, how groups are laid out."""

import numpy as np
import pytest
from replay.worlds import log

import recbayes as rb
from recbayes.replay.layout import blocks

ROLES = {"item": "source_row", "group": "clickability_test_id", "time": "test_created_at"}


def upworthy():
    """The newest fifth of the headline tests."""
    return rb.read_log(
        "example:upworthy", clicks="clicks", impressions="impressions", features=["headline", "eyecatcher_id"], **ROLES
    ).split()[1]


def test_the_headline_tests():
    """The published figures rest on these numbers: 780 tests, 142 of them A/A, 638 with 3,268 arms."""
    world = rb.queue(upworthy())
    assert (world.groups, len(world.clicks), world.left_out["all arms alike"]) == (638, 3268, 142)
    assert np.median(world.horizon) == 3795
    smallest = np.full(world.groups, 10**9)
    np.minimum.at(smallest, world.segments, world.impressions)
    np.testing.assert_array_equal(world.horizon, smallest)


def test_what_is_left_out_is_counted():
    """One arm, arms alike in all features, an arm hardly shown: none vanishes unseen."""
    made = log([1, 2, 3, 4, 5, 6, 0], [10, 10, 10, 10, 10, 10, 3], [1, 2, 2, 3, 3, 4, 4], headline=list("aaabcde"))
    world = rb.queue(made, horizon=0.1)
    assert dict(world.left_out) == {"one arm": 1, "all arms alike": 1, "an arm hardly shown": 1}
    assert world.groups == 1
    assert world.clicks.tolist() == [4, 5]
    assert "1 left out: one arm" in world._repr_html_()


def test_arms_differ_in_what_is_said():
    """Groups whose arms differ only in a context column are A/A tests for the items."""
    made = log([1, 2, 3, 4], [10] * 4, [1, 1, 2, 2], headline=list("aabc"), hour=[1, 2, 3, 4])
    assert rb.queue(made).groups == 2
    assert rb.queue(made, distinct=["headline"]).groups == 1


def test_an_item_is_one_arm():
    """Rows of one item in one group, say of several hours, are one arm with their clicks summed; its features are the first row's."""
    made = log([1, 2, 4, 8], [10, 20, 30, 40], [1, 1, 1, 1], item=list("abab"), hour=[1, 1, 2, 2])
    world = rb.queue(made, horizon=0.5, distinct=["item"])
    assert world.clicks.tolist() == [5, 10]
    assert world.impressions.tolist() == [40, 60]
    assert world.horizon.tolist() == [20]
    assert world.rows.column("hour").to_pylist() == [1, 1]


def test_events_are_summed():
    """A row an impression: arms are items, impressions their rows."""
    import pandas as pd

    frame = pd.DataFrame({"click": [1, 0, 0, 1, 1, 0], "page": [1] * 6, "item": list("aabbba")})
    world = rb.queue(rb.read_log(frame, clicks="click", group="page", item="item"), steps=2)
    assert world.clicks.tolist() == [1, 2]
    assert world.impressions.tolist() == [3, 3]


def test_items_and_clusters_are_numbered():
    """Counts shared by item and resampling by cluster need them; without an item column every arm is an item."""
    made = log([1, 2, 3, 4], [10] * 4, [1, 1, 2, 2], item=list("abbc"))
    assert rb.queue(made).items.tolist() == [0, 1, 1, 2]
    assert rb.queue(made).clusters.tolist() == [0, 1]
    assert rb.queue(log([1, 2, 3, 4], [10] * 4, [1, 1, 2, 2], headline=list("abcd"))).items.tolist() == [0, 1, 2, 3]


def test_uniforms_value_is_the_mean_of_the_arms_rates():
    """What every lift is measured against."""
    world = rb.queue(log([1, 3, 3, 3], [10, 20, 30, 10], [1, 1, 2, 2], headline=list("abcd")))
    np.testing.assert_allclose(world.uniform_rate, [(0.1 + 0.15) / 2, (0.1 + 0.3) / 2])
    assert world.decisions(world.steps).tolist() == [10, 10]
    assert world.decisions(np.array([0, 55])).tolist() == [[0, 0], [5, 5]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"delay": -1}, "delay is -1"),
        ({"horizon": 1.5}, "horizon is 1.5"),
        ({"steps": 0, "horizon": 0.0}, "steps is 0, must be at least 1; horizon is 0.0"),
    ],
)
def test_settings_out_of_range_say_so(settings, message):
    """All faults at once, each with its value."""
    with pytest.raises(rb.UserError, match=message):
        rb.queue(log([1, 2], [10, 10], [1, 1], headline=list("ab")), **settings)


def test_no_group_with_two_arms_says_why():
    """The commonest mistake: the group column names the rows, or all arms are alike."""
    with pytest.raises(rb.UserError, match=r"no group of .* has two arms to choose from \(2 groups: 2 with one arm\)"):
        rb.queue(log([1, 2], [10, 10], [1, 2], headline=list("ab")))
    with pytest.raises(rb.UserError, match="1 with all arms alike"):
        rb.queue(log([1, 2], [10, 10], [1, 1], headline=list("aa")))


def test_a_log_without_groups_says_so():
    """Nothing says which rows compete."""
    import pandas as pd

    made = rb.read_log(pd.DataFrame({"clicked": [1, 2], "shown": [10, 10]}), clicks="clicked", impressions="shown")
    with pytest.raises(rb.UserError, match="has no group column"):
        rb.queue(made)


def test_layout_holds_every_arm_once():
    """A padded place that repeats or drops an arm would bias every figure."""
    rng = np.random.default_rng(0)
    sizes = np.r_[rng.integers(2, 5, 300), 40, 33]
    segments = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    parts = blocks(segments)
    assert len(parts) == 2
    assert len(blocks(segments, together=True)) == 1
    even = np.repeat(np.arange(30), np.r_[np.full(20, 3), np.full(10, 5)]).astype(np.int32)
    assert [len(blocks(even, played=played)) for played in (0, 100_000, 10**7)] == [1, 1, 2], "long studies are worth a second program"
    rows = np.concatenate([part.place[part.present] for part in parts])
    assert sorted(rows) == list(range(len(segments)))
    for part in parts:
        for group in range(part.place.shape[1]):
            here = part.place[:, group][part.present[:, group]]
            assert set(segments[here]) <= {part.groups[group]}
        assert part.counts(np.ones(len(segments), np.int64)).sum() == part.present.sum()
        assert part.of_groups(np.arange(len(sizes))).max() == part.groups.max()
