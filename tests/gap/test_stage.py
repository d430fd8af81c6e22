"""The stage of a gap: its folder holds the tables and the figures, and is shown alone as well as in a run."""

from pathlib import Path

import accord
from accord.gap.config import GapSection
from accord.gap.result import Gap
from accord.gap.stage import gap_stage
from accord.lm import Backbone
from accord.report import write_report
from accord.study.store import publish
from accord.study.work import Models
from tests.gap.test_measure import pairs
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
    page = write_report(tmp_path / "alone").read_text(encoding="utf-8")
    assert 'href="./figures/scatter.svg"' in page and "tiny" in page
