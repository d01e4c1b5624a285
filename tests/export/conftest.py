"""One small fitted model and its export, shared by the tests of this room."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import recbayes as rb


def frame(groups, seed):
    """Made-up tests of four headlines each, with every kind of feature and a name that TensorFlow does not allow."""
    rng = np.random.default_rng(seed)
    words = np.array("you will not believe what this cat did next to a man who never saw it coming".split())
    rows = 4 * groups
    impressions = rng.integers(500, 2000, rows)
    page = np.repeat(rng.normal(0.0, 0.5, groups), 4)
    first = rng.integers(0, 18, rows)
    rate = 1.0 / (1.0 + np.exp(4.0 - page - 0.1 * (first % 5) - rng.normal(0.0, 0.15, rows)))
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "page": np.repeat([f"page {i}" for i in range(groups)], 4),
            "at": np.repeat(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(groups), "h"), 4),
            "headline": [" ".join(np.roll(words, -f)[:6]) for f in first],
            "image-id": rng.integers(0, 30, rows),
            "tags": [list(rng.choice(["a", "b", "c"], rng.integers(0, 3), replace=False)) for _ in range(rows)],
            "price": np.where(rng.random(rows) < 0.1, np.nan, rng.lognormal(size=rows)),
            "embedding": list(rng.normal(size=(rows, 3)).astype(np.float32)),
            "country": np.repeat(rng.choice(["de", "fr", None], groups), 4),
            "clicks": rng.binomial(impressions, rate),
            "impressions": impressions,
        }
    )


FEATURES = [
    rb.text("headline", min_count=1),
    rb.categorical("image-id"),
    rb.multi_categorical("tags"),
    rb.numeric("price", log1p=True),
    rb.vector("embedding"),
    rb.categorical("country", "context"),
    rb.time("at"),
]


@pytest.fixture(scope="session")
def rows():
    return frame(10, 1)


@pytest.fixture(scope="session")
def train_log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "train.parquet"
    frame(60, 0).to_parquet(path)
    names = tuple(feature.name for feature in FEATURES)
    return rb.read_log(path, clicks="clicks", impressions="impressions", item="id", group="page", time="at", features=names)


@pytest.fixture(scope="session")
def fitted(train_log):
    return rb.fit(train_log, features=FEATURES, posterior=rb.last_layer(draws=16), epochs=2, held_out=0.0)


@pytest.fixture(scope="session")
def plain(train_log):
    """Another family and posterior, and no page effect."""
    features = [rb.text("headline"), rb.categorical("image-id")]
    return rb.fit(train_log, features=features, density=rb.point(), posterior=rb.map(), group_effect=False, epochs=1, held_out=0.0)


@pytest.fixture(scope="session")
def run_folder(fitted, tmp_path_factory):
    """A run folder with a trained model and its export."""
    folder = tmp_path_factory.mktemp("run")
    fitted.save(folder / "model")
    told = {"held_out": {"log_likelihood_per_row": -4.1}}
    rb.export(fitted, rb.thompson(exploration=0.5, draws=32), folder / "export", metadata=told, slate=3)
    return folder


@pytest.fixture(scope="session")
def served(run_folder):
    """The signatures of what was saved there, as Python loads them."""
    return tf.saved_model.load(str(run_folder / "export" / "1")).signatures


@pytest.fixture(scope="session")
def session(run_folder):
    """The same by the graph session loader: (signature, inputs) -> outputs."""
    opened = tf.compat.v1.Session(graph=tf.Graph())
    definitions = tf.compat.v1.saved_model.loader.load(opened, ["serve"], str(run_folder / "export" / "1")).signature_def

    def ask(name, inputs):
        feed = {definitions[name].inputs[key].name: value for key, value in inputs.items()}
        return opened.run({key: out.name for key, out in definitions[name].outputs.items()}, feed)

    yield ask
    opened.close()
