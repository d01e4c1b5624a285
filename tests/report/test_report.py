"""The page from a run folder: everything is in it, nothing breaks it, whatever stages have run."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from recbayes.report import write
from recbayes.types import UserError

STAGES = {
    "audit": ["audit.json"],
    "train": ["training.csv", "predictions.parquet", "calibration.json", "findings.json"],
    "simulate": ["simulation.parquet", "simulation.json"],
    "evaluate": ["evaluation.json"],
    "compare": ["comparison.json"],
    "export": ["export"],
    "config": ["config.yaml", "stages.json"],
}
ORDER = ["replay", "exploration", "policies", "plan", "evaluation", "calibration", "likelihood", "comparison", "training", "doubt"]
ORDER += ["leans", "exposure", "surprises", "audit", "export", "method"]


class Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(name)
        self.ids += [value or "" for key, value in attributes if key == "id"]
        if name not in ("meta", "wbr"):
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(run_folder, out=tmp_path_factory.mktemp("page") / "report.html").read_text(encoding="utf-8")


def test_the_page_is_whole_and_stands_alone(page: str) -> None:
    """Well-formed, for phones, without a script or anything from the network."""
    parsed = Balance(page)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "script" not in parsed.elements
    assert "img" not in parsed.elements
    assert "link" not in parsed.elements
    assert not re.search(r"\ssrc\s*=", page)
    assert set(re.findall(r'<a href="(.)', page)) == {"#", "h"}  # within the page, and links that a reader may follow
    assert not re.search(r"url\(|@import", page)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_the_decision_comes_first_and_the_sections_follow_in_order(page: str) -> None:
    """Readers stop early: what matters is on top."""
    heads = re.findall(r"<h1>(.*?)</h1>", page)
    assert len(heads) == 1
    assert re.sub("<.*?>", "", heads[0]).startswith(
        "Use density/thompson_quarter: it earns 11.8% (10.3 to 13.3%) more clicks than uniform and 1.5% ("
    )
    places = [page.index(f'<section id="{anchor}"') for anchor in ORDER]
    assert places == sorted(places)
    assert page.index("<h1>") < places[0]


def test_texts_of_the_log_stay_texts(page: str) -> None:
    """Headlines, findings and reasons hold markup, quotes and emoji: shown, never run."""
    assert page.count("&lt;script&gt;document.body.remove()&lt;/script&gt;") >= 3
    assert "🦄" in page
    assert "<script" not in page


def test_both_cautions_of_the_same_arms_check_are_there(page: str) -> None:
    """Replay's intervals over replicas are too narrow, and A/A tests were left out."""
    assert "chi² 1.70 a degree of freedom (95% interval 1.55 to 1.86), against 2.86 for arms that differ" in page
    assert "142 test groups have nothing to choose among" in page


def test_every_picture_is_told_in_words(page: str) -> None:
    """For those who don't see it: a role and a label on each picture that is not repeated beside it in text."""
    pictures = re.findall(r"<svg [^>]*>", page)
    assert len(pictures) > 15
    assert all('role="img" aria-label="' in picture or 'aria-hidden="true"' in picture for picture in pictures)
    assert not re.search(r"(NaN|nan|inf)[\s\",]", "".join(re.findall(r"<svg.*?</svg>", page)))


def test_what_the_reader_needs_to_go_on(page: str) -> None:
    """Policies, baselines, attribution, config, code to load the export, verdicts."""
    for words in (
        "density/thompson_quarter",
        "one beta-binomial",
        "CC BY 4.0",
        "saved_model.load",
        "thompson_quarter",
        "do not trust",
        "tensorflow",
    ):
        assert words in page


@pytest.mark.parametrize("stage", [*STAGES, "all"])
def test_a_missing_stage_is_a_hint_not_an_error(stage: str, run_folder: Path, tmp_path: Path) -> None:
    """The report of half a run shows that half and says how to get the rest."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for name in STAGES[stage] if stage != "all" else [n for names in STAGES.values() for n in names]:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    page = write(folder).read_text(encoding="utf-8")
    assert Balance(page).open == []
    if stage in ("audit", "train", "simulate", "export"):
        assert f"recbayes {stage} CONFIG" in page


def test_the_report_lands_in_the_run_folder_and_can_be_written_again(run_folder: Path, tmp_path: Path) -> None:
    """By default report.html beside the stages' files; a second call replaces it and leaves nothing else."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    assert write(folder) == folder / "report.html"
    before = sorted(path.name for path in folder.iterdir())
    first = write(folder).read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert first == write(folder).read_text(encoding="utf-8")


def test_posteriors_side_by_side(page: str) -> None:
    """The table, the two curves with their numbers, what the reference is, and why a method is missing."""
    section = page[page.index('<section id="comparison"') : page.index('<section id="training"')]
    assert "last_layer predicts held-out rows best: −4.110 nats a row" in section
    assert "Distances are to nuts (500 draws, exact up to its draws). Its fit warns: R-hat 1.07" in section
    assert "mean_field comes to rest at 0.21 of a stddev in the mean and 40% in the stddev after 256 draws" in section
    assert "nuts, no held-out figures: nuts: the model has 9,000 weights &lt;b&gt;" in section
    assert "+11.2%" in section
    assert section.count("<figure") == 2


def test_no_folder_and_a_broken_file_are_named(run_folder: Path, tmp_path: Path) -> None:
    """What, where, how to mend."""
    with pytest.raises(UserError, match=r"there is no run folder .*nowhere"):
        write(tmp_path / "nowhere")
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "simulation.json").write_text('{"chosen": ')
    with pytest.raises(UserError, match=r"simulation\.json can't be read .* run its stage again"):
        write(folder)
    assert not (folder / "report.html").exists()


def test_a_point_posterior_has_no_doubt_to_draw(run_folder: Path, tmp_path: Path) -> None:
    """mle and map: the section says so instead of an empty picture."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    frame = pd.read_parquet(folder / "predictions.parquet").assign(model_stddev=0.0)
    frame.assign(stddev=frame.data_stddev).to_parquet(folder / "predictions.parquet")
    page = write(folder).read_text(encoding="utf-8")
    assert "it has no doubt of its own" in page
    assert "Two kinds of not knowing" not in page


def test_findings_say_what_to_do(page: str) -> None:
    """Each view of the uncertainty ends in a sentence of what to collect, show or leave out."""
    for words in (
        "Collect more of headline.",
        "Show a new item about 1,900 times.",
        "Give image coarser values that repeat.",
        "7 training rows have rare values of image",
        "fell outside their 99% intervals",
        "Explore: only impressions tell.",
    ):
        assert words in page


def test_whether_the_uncertainty_helped_and_what_exploring_costs(page: str) -> None:
    """The control's sentence stands on the first screen; controls are no rows of the policies' table; cost and choice are told."""
    first = page[: page.index('id="replay"')]
    assert "Whether the uncertainty helps" in first
    assert "The uncertainty did not help density/thompson_quarter" in first
    table = page[page.index('id="policies"') : page.index('id="plan"')]
    assert "Holm, 5% over all 8 comparisons" in table
    assert "clear after 310" in table
    assert "too few to say" in table
    assert "shuffled" not in table[: table.index("comparisons</summary>")].replace("shuffled among", "")
    plan = page[page.index('id="plan"') : page.index('id="evaluation"')]
    for words in ("is at worst 12 clicks behind", "delay of 10 steps", "not at all", "horizon 0.5", "8 policies were tried", "flatter"):
        assert words in plan, words


def test_recalibration_and_scores_are_told(page: str) -> None:
    """A reader must know that intervals were moved, and what they were before."""
    assert "recalibrated on 312 groups set aside from training: 8% narrower, moved by −0.10 standard deviations; before, 90%" in page
    assert "It expected −4.16 and got −4.11 on 400 of the rows: as it should." in page
    assert "15.9 clicks (CRPS), against 22.0 of the best baseline" in page
    assert "Coverage by image" in page


def test_a_run_of_an_older_build_has_no_comparisons_and_still_a_page(run_folder: Path, tmp_path: Path) -> None:
    """simulation.json without comparisons, controls and plan: verdicts come from the intervals, as they did."""
    older = tmp_path / "run"
    shutil.copytree(run_folder, older)
    figures = json.loads((older / "simulation.json").read_text())
    for key in ("comparisons", "controls", "plan", "choice"):
        del figures[key]
    (older / "simulation.json").write_text(json.dumps(figures))
    page = write(older).read_text(encoding="utf-8")
    assert "Where the interval against it holds 0" in page
    assert 'id="plan"' not in page


def test_a_run_of_an_older_build_has_no_findings_and_still_a_page(run_folder: Path, tmp_path: Path) -> None:
    """Without findings.json, and with calibration.json as it was before, the other sections stand."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "findings.json").unlink()
    old = json.loads((folder / "calibration.json").read_text())
    for name in ("coverage_by", "log_likelihood_expected", "crps", "recalibration"):
        old.pop(name)
    (folder / "calibration.json").write_text(json.dumps(old))
    page = write(folder).read_text(encoding="utf-8")
    assert Balance(page).open == []
    assert 'id="leans"' not in page
    assert 'id="calibration"' in page
