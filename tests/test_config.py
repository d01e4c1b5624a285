"""Configs: every fault at once, each with its mend; what is shipped is right."""

import re

import pytest
import yaml

from recbayes import plugins
from recbayes.config import Config, load, parse
from recbayes.configs import shipped, source
from recbayes.types import UserError

LEAST = {"log": {"path": "log.parquet", "columns": {"clicks": "clicks"}}}


def faults(data, *overrides):
    with pytest.raises(UserError) as caught:
        parse(data, overrides)
    head, *lines = str(caught.value).split("\n  ")
    assert head == f"{len(lines)} fault{'s' * (len(lines) > 1)} in the config:"
    return lines


def test_log_path_and_clicks_are_enough():
    """A newcomer's shortest config must not ask for what has a default."""
    config = parse(LEAST)
    assert (config.model.kind, config.density.kind, config.posterior.kind) == ("ddn", "beta_mixture", "last_layer")
    assert config.simulate is None
    assert config.export is None


def test_all_faults_are_told_at_once():
    """A user who mends one fault after the other runs validate six times."""
    found = faults(
        {
            "seed": -1,
            "log": {"columns": {"clicks": "clicks", "impresions": "n"}, "split": {"by": "tim"}},
            "train": {"epoch": 3, "batch_size": "many"},
            "posterior": {"kind": "last_layer", "draw": 3},
            "features": [{"name": "headline", "kind": "txt"}],
        }
    )
    assert len(found) == 8
    for start, mend in {
        "seed:": "greater than or equal to 0",
        "log.path:": "missing",
        "log.columns.impresions:": "Did you mean impressions?",
        "log.split.by:": "'time', 'group', 'connected' or 'random'",
        "train.epoch:": "Did you mean epochs?",
        "train.batch_size:": "'many'",
        "posterior.draw:": "Did you mean draws?",
        "features.0.kind:": "Did you mean text?",
    }.items():
        (line,) = [line for line in found if line.startswith(start)]
        assert mend in line


@pytest.mark.parametrize(
    ("section", "where", "says"),
    [
        ({"posterior": "last_later"}, "posterior.kind", "Did you mean last_layer?"),
        ({"posterior": {"kind": "last_layer", "draws": "many"}}, "posterior.draws", "valid integer"),
        ({"density": {"kind": "beta_mixture", "component": 2}}, "density.component", "Did you mean components?"),
        ({"modle": {}}, "modle", "Did you mean model?"),
        ({"features": [{"kind": "text"}]}, "features.0.name", "missing"),
        ({"runtime": {"device": "tpu"}}, "runtime.device", "'auto', 'cpu' or 'gpu'"),
        ({"export": {"policy": {"kind": "thomson"}}}, "export.policy.kind", "Did you mean thompson?"),
        ({"export": {"polic": "chosen"}}, "export.polic", "Did you mean policy?"),
        ({"runtime": {"replica_chunk": 0}}, "runtime.replica_chunk", "at least 1"),
        ({"log": {**LEAST["log"], "split": {"test_fraction": 1}}}, "log.split.test_fraction", "less than 1"),
    ],
)
def test_a_fault_names_its_place_and_mend(section, where, says):
    (line,) = faults({**LEAST, **section})
    assert line.startswith(f"{where}: ")
    assert says in line


def test_overrides_reach_everything():
    """`key=value` is how people try things out: scalars, list items, sections written as a bare name, new sections."""
    data = {**LEAST, "posterior": "last_layer", "features": [{"name": "a", "kind": "text"}]}
    overrides = [
        "train.epochs=3",
        "train.learning_rate=1e-3",
        "features.0.ngrams=1",
        "posterior.draws=8",
        "log.columns.group=page",
        "model=mlp",
    ]
    config = parse(data, overrides)
    assert (config.train.epochs, config.train.learning_rate) == (3, 0.001)
    assert config.features[0].settings["ngrams"] == 1
    assert (config.posterior.settings["draws"], config.log.columns.group, config.model.kind) == (8, "page", "mlp")
    assert data["posterior"] == "last_layer"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.epoch=3", "Did you mean epochs?"),
        ("train=3", "mapping of epochs"),
        ("epochs", "key=value"),
        ("features.7.name=a", "0"),
        ("train.epochs.more=3", "no parts"),
        ("seed=[1", "not YAML"),
    ],
)
def test_wrong_overrides_say_what_to_write(override, says):
    with pytest.raises(UserError, match=re.escape(says)):
        parse({**LEAST, "train": {"epochs": 2}, "features": [{"name": "a", "kind": "text"}]}, [override])


def test_yaml_that_would_be_misread_is_refused(tmp_path):
    """YAML takes the last of two equal keys silently, and reads 1e-3 as text."""
    file = tmp_path / "twice.yaml"
    file.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(UserError, match="'seed' stands twice"):
        load(str(file))
    file.write_text("log: [\n")
    with pytest.raises(UserError, match="not YAML"):
        load(str(file))
    file.write_text("- 1\n")
    with pytest.raises(UserError, match="mapping of sections"):
        load(str(file))
    file.write_bytes(b"PAR1\xff\xfe")
    with pytest.raises(UserError, match="not a text file"):
        load(str(file))


def test_unknown_configs_list_the_shipped_ones():
    for name in ("quickstrat", "missing.yaml", "some/where.yaml"):
        with pytest.raises(UserError, match="quickstart"):
            load(name)


def test_shipped_configs_are_right_and_commented():
    """Each shipped YAML is checked, says its command, and comments its values."""
    assert set(shipped()) >= {"quickstart", "upworthy", "open_bandit"}
    for name in shipped():
        config = load(name)
        assert config.log.path.startswith("example:") or not config.simulate.world.of_log  # a test bed needs no log
        text = source(name)
        assert f"recbayes run {name}" in text
        values = [line for line in text.splitlines() if ":" in line and not line.lstrip().startswith(("#", "- "))]
        assert sum("#" in line for line in values) > 0.6 * len(values)


def test_a_resolved_config_is_a_config():
    """A run's config.yaml, defaults filled in, runs again as it is."""
    config = load("quickstart")
    again = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    assert parse({**again, "resolved": {"versions": {}}}) == config


def test_a_test_bed_needs_no_log():
    """The wheel runs by itself; anything that looks at a log still says that it is missing, and so does a learner over the network."""
    bed = {"simulate": {"world": {"kind": "wheel"}, "policies": ["uniform", {"kind": "ucb", "learner": "linear"}]}}
    assert parse(bed).log.path == ""
    for more in ({"export": {}}, {"features": [{"name": "headline", "kind": "text"}]}):
        assert faults({**bed, **more}) == ["log: missing, and it has no default"]
    (line,) = faults({"simulate": {**bed["simulate"], "policies": ["uniform", "ucb"]}})
    assert line.startswith("simulate.policies.1.learner: density starts from the trained network, which needs a log")


def test_every_field_has_a_line_of_help():
    seen = []

    def walk(section):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            seen.append(name)
            inner = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if hasattr(kind, "model_fields")]
            for kind in inner:
                walk(kind)

    walk(Config)
    assert len(seen) > 40


def test_policies_get_their_names():
    simulate = {"world": {"kind": "queue", "steps": 10}, "policies": ["uniform", {"kind": "ucb"}, {"kind": "greedy", "learner": "counts"}]}
    config = parse({**LEAST, "simulate": simulate})
    assert [policy.name for policy in config.simulate.policies] == ["uniform", "density/ucb", "counts/greedy", "density/greedy"]
    alone = {**simulate, "policies": [{"kind": "ucb", "learner": {"kind": "counts", "prior": "flat"}}]}
    assert [policy.name for policy in parse({**LEAST, "simulate": alone}).simulate.policies] == ["counts/ucb", "uniform", "counts/greedy"]
    (line,) = faults({**LEAST, "simulate": {**simulate, "policies": [{"kind": "ucb"}, {"kind": "ucb", "exploration": 2.0}]}})
    assert "several policies are named density/ucb" in line
    (line,) = faults({**LEAST, "simulate": {**simulate, "policies": [{"kind": "uniform", "learner": "counts"}]}})
    assert line.startswith("simulate.policies.0.learner: uniform learns nothing")
    (line,) = faults({**LEAST, "simulate": {**simulate, "policies": [{"kind": "thomson", "learner": "counts"}]}})
    assert "Did you mean thompson?" in line


def test_a_grid_of_explorations_is_a_policy_a_scale():
    """One entry gives the curve; each point has a name that an export can ask for, and config.yaml names them all."""
    grid = {"kind": "ucb", "exploration": [0.5, 1, 2.0], "stddev": "total"}
    data = LEAST | {"simulate": {"world": {"kind": "queue"}, "policies": ["uniform", grid]}}
    config = parse(data)
    found = [(policy.name, policy.settings.get("exploration")) for policy in config.simulate.policies]
    assert found == [("uniform", None), ("density/ucb@0.5", 0.5), ("density/ucb@1", 1.0), ("density/ucb@2", 2.0), ("density/greedy", None)]
    assert {policy.settings["stddev"] for policy in config.simulate.policies[1:4]} == {"total"}
    assert parse(config.model_dump(mode="json")) == config
    assert "simulate.policies: density/ucb: exploration is an empty list" in faults(data, "simulate.policies.1.exploration=[]")[0]
    assert "several policies are named density/ucb@1" in faults(data, "simulate.policies.1.exploration=[1, 1.0]")[0]
    assert "export.policy: exploration is a grid of 2" in faults(LEAST | {"export": {"policy": grid | {"exploration": [1, 2]}}})[0]
    assert "simulate.policies.1.exploration" in faults(data, "simulate.policies.1.exploration=[much]")[0]


def test_a_new_file_is_a_new_kind(tmp_path, monkeypatch):
    """Adding a posterior must not need a change anywhere else."""
    (tmp_path / "fresh.py").write_text("def fresh(*, draws: int = 3, share: float = 0.5, hidden=LATER) -> base.Posterior:\n    ...\n")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})()
    monkeypatch.setattr(plugins, "find_spec", lambda name: spec)
    plugins._builders.cache_clear()
    try:
        room = "posteriors:Posterior"
        assert plugins._builders(room)["fresh"].module == "recbayes.posteriors.fresh"
        assert plugins.settings.__wrapped__(room, "fresh")["share"] == plugins.Setting("float", 0.5)
        assert plugins.settings.__wrapped__(room, "fresh")["hidden"] == plugins.Setting(None, ...)
    finally:
        plugins._builders.cache_clear()
