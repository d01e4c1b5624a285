"""What a review found: whole runs on logs that the quickstart's is not like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from small import frame
from typer.testing import CliRunner

import recbayes as rb
from recbayes.run_folder import RunFolder
from recbayes.types import UserError

ROLES = {"clicks": "clicked", "impressions": "shown", "item": "item", "group": "page"}


def config(path: Path, log: pd.DataFrame, **keys: Any) -> Path:
    """A small config on a log; `keys` are the log section's."""
    log.to_parquet(path / "log.parquet")
    settings: dict[str, Any] = {
        "log": {"path": str(path / "log.parquet"), "columns": {**ROLES, "time": "at"}, "on_bad_rows": "quarantine"} | keys,
        "features": [{"name": "headline", "kind": "text"}],
        "model": {"kind": "linear"},
        "train": {"epochs": 2, "held_out": 0},
    }
    (path / "c.yaml").write_text(yaml.safe_dump(settings))
    return path / "c.yaml"


def recbayes(*words: object) -> Any:
    """The command line, in this process."""
    from recbayes.cli import app

    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_log_with_quarantined_rows_trains_and_keeps_them(tmp_path: Path) -> None:
    """Rows set aside on the user's word must not stop the run, of the log or of a separate test log."""
    log, test = frame(groups=30), frame(groups=10, seed=1)
    log.loc[3, "clicked"], test.loc[5, "clicked"] = 10**6, -1
    test.to_parquet(tmp_path / "test.parquet")
    path = config(tmp_path, log, test_path=str(tmp_path / "test.parquet"))
    found = recbayes("train", path, "--out", tmp_path / "run")
    assert found.exit_code == 0, found.output
    assert pq.read_table(tmp_path / "run" / "quarantine.parquet").num_rows == 2


def test_splits_by_group_nest() -> None:
    """A split of a split by name takes its share again: a tenth of 800 groups, not one group."""
    log = rb.read_log(frame(groups=1000, arms=1), **ROLES, features=["headline"])
    train, test = log.split(by="group", test_fraction=0.2, seed=0)
    inner = train.split(by="group", test_fraction=0.2, seed=1)[1]
    assert test.segments[1] == pytest.approx(200, abs=60)  # 4.7 standard deviations
    assert inner.segments[1] == pytest.approx(160, abs=55)


def test_clusters_of_many_groups_keep_the_share() -> None:
    """400 clusters of 5 groups: a fifth goes to the test, not two thirds."""
    made = frame(groups=2000, arms=1)
    made["user"] = np.arange(len(made)) // 5
    log = rb.read_log(made, **ROLES, cluster="user", features=["headline"])
    assert len(log.split(by="group", test_fraction=0.2)[1]) / 2000 == pytest.approx(0.2, abs=0.1)


def test_arms_may_have_lists_of_tags() -> None:
    made = frame(groups=5)
    made["tags"] = [["a"] if i % 2 else ["a", "b"] for i in range(len(made))]
    world = rb.queue(rb.read_log(made, **ROLES, features=["tags"]), steps=2)
    assert world.groups == 5


def test_a_folder_whose_first_write_was_killed_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".stages.json").write_text('{"recb')
    with RunFolder.open(tmp_path / "run") as folder:
        assert folder.stages == {}


def test_an_effect_over_other_groups_is_not_replayed_as_the_pages() -> None:
    """An image's effect is not one that a page's arms share: one arm's clicks must not move the others by it."""
    log = rb.read_log(frame(groups=20), **ROLES, time="at", features=["headline", "image"])
    fitted = rb.fit(log, features=[rb.text("headline", min_count=1)], group_effect="image", posterior=rb.map(), epochs=1, held_out=0.0)
    with pytest.raises(UserError, match=r"over 'image', the replayed groups are 'page'.*Fit with group_effect='page'"):
        rb.replay(rb.queue(log, steps=2), [rb.greedy(fitted)], seeds=1)


def test_a_checkpoint_of_another_model_is_not_taken(tmp_path: Path) -> None:
    """Trying a wider prior in a notebook must train again, not return the old weights."""
    log = rb.read_log(frame(groups=20), **ROLES, time="at", features=["headline"])
    arguments: dict[str, Any] = {"features": [rb.text("headline", min_count=1)], "posterior": rb.map(), "epochs": 2, "held_out": 0.0}
    narrow, wide = (rb.fit(log, **arguments, model=rb.linear(wide_stddev=s), checkpoint=tmp_path) for s in (0.001, 1.0))
    assert np.abs(np.asarray(narrow.densities(log).means) - np.asarray(wide.densities(log).means)).max() > 1e-5
