"""A small log of headline tests with known rates, and a network on it, for the tests of models, posteriors and training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

import recbayes as rb
from recbayes.densities.group_effect import GroupEffect
from recbayes.fitted import joint_log_likelihood
from recbayes.posteriors import Batch, Network
from recbayes.training import Rows, batches

WORDS = np.array("one two red blue cat dog why how never always secret video".split())


def frame(groups: int = 60, arms: int = 4, seed: int = 0, impressions: int = 1000) -> pd.DataFrame:
    """Rows with a headline whose words move the click rate, a page effect, an image, a time."""
    generator = np.random.default_rng(seed)
    worth = generator.normal(0.0, 0.3, len(WORDS))
    rows = []
    for g in range(groups):
        page = generator.normal(-4.0, 0.5)
        for _ in range(arms):
            words = generator.choice(len(WORDS), 4, replace=False)
            rate = 1.0 / (1.0 + np.exp(-(page + worth[words].sum())))
            shown = int(generator.integers(impressions // 2, impressions))
            at = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=g)
            rows.append(
                (f"g{g:04d}", " ".join(WORDS[words]), f"image{generator.integers(8)}", shown, int(generator.binomial(shown, rate)), at)
            )
    made = pd.DataFrame(rows, columns=["page", "headline", "image", "shown", "clicked", "at"])
    made["item"] = np.arange(len(made))
    return made


ROLES = {"clicks": "clicked", "impressions": "shown", "item": "item", "group": "page", "time": "at"}


def log(**settings: Any) -> rb.Log:
    """`frame` as a log."""
    return rb.read_log(frame(**settings), features=("headline", "image"), **ROLES)


def section(folder: Path, groups: int = 24) -> dict[str, Any]:
    """`frame` as a file in a folder, as the section `log` of a config."""
    frame(groups=groups).to_parquet(folder / "log.parquet")
    return {"path": str(folder / "log.parquet"), "columns": dict(ROLES)}


def features() -> list[Any]:
    """One feature of each of three kinds."""
    return [rb.text("headline", min_count=1, ngrams=1), rb.categorical("image"), rb.time("at")]


def network(model: Any = None, rows: int = 48, seed: int = 0, prior: float | None = None, page: bool = True) -> tuple[Network, Rows]:
    """A beta mixture's network over random inputs of three kinds, with a page effect or without."""
    from recbayes.features import Encoded
    from recbayes.models import prior_stddevs

    tf.keras.utils.set_random_seed(seed)
    specs = {
        "headline": Encoded("bag", 12, "item", "headline", "text", length=5),
        "image": Encoded("ids", 6, "item", "image", "categorical"),
        "at": Encoded("dense", 1, "context", "at", "time"),
    }
    family = rb.beta_mixture(components=2)
    built = (model or rb.ddn(embedding=4, title=4, tower=4))(specs, family.size, family.location)
    built.get_layer("head").bias.assign(family.start_at(0.02, 300.0))

    def log_likelihood(outputs: Any, extras: Any, batch: Batch) -> Any:
        effect = GroupEffect(tf.exp(extras["log_tau"])) if page else None
        rows = batch.clicks, batch.impressions, batch.segments, tf.shape(batch.groups)[0]
        return joint_log_likelihood(family.density(outputs), effect, *rows)

    generator = np.random.default_rng(seed)
    inputs = {
        "headline": generator.integers(0, 12, (rows, 5)).astype(np.int32),
        "image": generator.integers(0, 6, rows).astype(np.int32),
        "at": generator.normal(size=(rows, 1)).astype(np.float32),
    }
    shown = generator.integers(500, 1500, rows).astype(np.float32)
    clicks = generator.binomial(shown.astype(int), 0.02).astype(np.float32)
    segments = (np.arange(rows) // 4).astype(np.int32)
    stddevs = prior_stddevs(built)
    return Network(built, stddevs, log_likelihood, {"log_tau": -1.0} if page else {}, rows, family=family), Rows(
        inputs, clicks, shown, segments, segments
    )


class Two(NamedTuple):
    """Two workers that are this process. answers: what they give in place of a task's results, or None."""

    answers: Any = None
    size: int = 2

    def each(self, task: Any, shared: Any) -> list[Any]:
        """See `posteriors.base.Workers`."""
        return self.answers or [task(shared, rank) for rank in range(self.size)]


def whole(rows: Rows) -> Batch:
    """All rows as one batch."""
    return next(batches(rows, 10**9, np.arange(int(rows.segments.max()) + 1)))
