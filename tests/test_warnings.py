"""What a posterior warns of reaches every place where its figures are read: the fit, the log of the stage, the files, the report."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from helpers import recbayes
from small import features, log, network, section

import recbayes as rb
from recbayes.training import Schedule, doubts_of_training, train
from recbayes.types import UserError

DOUBT = "the chains disagree (R-hat 1.31 <b>): run them longer"


def warned(method: Any) -> Any:
    """The method with something to warn of."""
    return method._replace(warnings=lambda network, state: [DOUBT])


def test_a_warning_is_part_of_the_fit_and_of_its_files(tmp_path: Path) -> None:
    """A fit that is saved, loaded and judged later must not lose what was wrong with it."""
    fitted = rb.fit(log(groups=12), features=features(), posterior=warned(rb.map()), epochs=1)
    assert fitted.record["warnings"] == fitted.warnings == [DOUBT]
    assert "R-hat 1.31 &lt;b&gt;" in fitted._repr_html_()
    fitted.save(tmp_path)
    assert rb.load(tmp_path).warnings == [DOUBT]
    figures, _ = rb.calibrate(fitted, log(groups=12), log(groups=6, seed=1), draws=256)
    assert figures["warnings"] == [DOUBT]


def test_a_good_fit_has_nothing_to_warn_of() -> None:
    """Alarms without a cause teach a reader to ignore them."""
    assert rb.fit(log(groups=12), features=features(), epochs=2).warnings == []


def test_the_stage_says_it_and_the_report_opens_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads calibration.json: the first screen has to say it, before the figures that it puts in doubt."""
    plain = rb.map
    monkeypatch.setattr(import_module("recbayes.posteriors.map"), "map", lambda **settings: warned(plain(**settings)))
    config = {"log": section(tmp_path, groups=30), "features": [{"name": "image", "kind": "categorical"}]}
    config |= {"model": "linear", "posterior": "map", "train": {"epochs": 1, "held_out": 0}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = recbayes("run", tmp_path / "config.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert f"warning  {DOUBT}" in done.stderr
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["warnings"] == [DOUBT]
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.index("the chains disagree (R-hat 1.31 &lt;b&gt;)") < page.index('class="tiles"')


def test_a_loss_that_explodes_is_a_warning_and_one_that_falls_is_not() -> None:
    """A finite loss can be useless too: far above where it began, training has diverged."""
    falling = [{"loss": 5.0}, {"loss": 4.0}]
    assert doubts_of_training(falling) == doubts_of_training([]) == doubts_of_training([{"loss": 4.0}, {"loss": 4.1}]) == []
    (told,) = doubts_of_training([{"loss": 4.0}, {"loss": 40.0}])
    assert "rose from 4.000 in epoch 1 to 40.000 in epoch 2" in told
    assert "Lower train.learning_rate" in told


def test_a_weight_that_is_no_number_is_an_error_though_every_loss_was_one() -> None:
    """The last step's damage shows in no loss; silently saved, every prediction would be NaN."""
    net, rows = network()
    broken = rb.map()._replace(finish=lambda network, state, batches: tf.nest.map_structure(lambda t: t * np.float32("nan"), state))
    with pytest.raises(UserError, match=r"numbers of the trained map are not finite.*learning_rate \(now 0.01\)"):
        train(net, broken, rows, Schedule(epochs=1))


def test_a_held_out_likelihood_that_is_no_number_stops_the_training() -> None:
    """NaN compares as the best epoch: early stopping would keep the broken one."""
    net, rows = network()
    with pytest.raises(UserError, match=r"held-out log likelihood is not a number in epoch 1.*learning_rate"):
        train(net, rb.map(), rows, Schedule(epochs=2), held_out=lambda state: float("nan"))
