"""The stage of a gap: its folder holds the tables and the figures, and is shown alone as well as in a run."""

from pathlib import Path

import numpy as np

import accord
from accord.gap import measure_gap
from accord.gap.config import GapSection
from accord.gap.result import Gap
from accord.gap.stage import gap_stage
from accord.lm import Backbone
from accord.report import write_report
from accord.study.store import publish
from accord.study.work import Models
from tests.gap.test_measure import pairs
from tests.gap.test_typicality import negatable
from tests.tiny import tiny_model, tiny_tokenizer


def test_a_stage_holds_tables_and_figures(tmp_path: Path) -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    stage = gap_stage(GapSection(task="pairs", layers=True), pairs(), {"model": "tiny"}, lambda work: lm, 0)
    publish(stage, tmp_path / "alone", models=Models())
    files = {path.relative_to(tmp_path / "alone").as_posix() for path in (tmp_path / "alone").rglob("*.*")}
    assert {"scores.parquet", "layers.parquet", "metrics.json", "manifest.json"} <= files
    assert {"figures/scatter.svg", "figures/scatter.png", "figures/lens.svg", "figures/rank.png"} <= files
    run = accord.read(tmp_path / "alone")
    assert list(run) == ["gap/alone"] and run.place("gap/alone") == tmp_path / "alone"
    assert list(run.of(Gap)) == ["alone"] and len(run["gap/alone"].scores) == 24
    assert "typicality" in run["gap/alone"].scores and len(run["gap/alone"].corrections) == 5 * 4
    page = write_report(tmp_path / "alone").read_text(encoding="utf-8")
    assert 'href="./figures/scatter.svg"' in page and "tiny" in page


def test_the_negated_wording_is_part_of_what_a_stage_is_made_with(tmp_path: Path) -> None:
    lm, task = Backbone(tiny_model(), tiny_tokenizer()), negatable(pairs())
    plain, negated = (
        gap_stage(GapSection(task="pairs", negated=asked), task, {"model": "tiny"}, lambda work: lm, 0)
        for asked in (False, True)
    )
    assert (plain.label, negated.label) == ("pairs", "pairs-negated")
    assert negated.settings == {**plain.settings, "negated": "{noun} are certainly not a kind of"}
    publish(negated, tmp_path / "alone", models=Models())
    scores = accord.read(tmp_path / "alone")["gap/alone"].scores
    expected = measure_gap(lm, task, typicality=("own", "negated"), resamples=0).scores
    for column in ("typicality", "negated_typicality"):  # in parts of other sizes
        np.testing.assert_allclose(scores[column], expected[column], atol=1e-4)
