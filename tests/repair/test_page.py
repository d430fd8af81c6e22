"""How repairs were made, on the page: settings, files, and the curves of those that were trained."""

from pathlib import Path

import pytest
from tests.report.run_folder import publish_result
from tests.verdict.repaired_run import MADE, record

from accord.repair.page import draw_training, made_shown
from accord.repair.result import RepairRecord
from accord.report import style
from accord.study.run_folder import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    for name, seed in (("rankalign", 0), ("rankalign", 1), ("readout", 0)):
        publish_result(folder, "repair", f"{name}-s{seed}", None, files=record(name, MADE[name], seed))
    return Run(folder)


def test_curves_are_of_the_trained_and_settings_of_all(run: Run) -> None:
    records = run.of(RepairRecord)
    repairs = {
        "rankalign": {0: records["rankalign-s0"], 1: records["rankalign-s1"]},
        "readout": {0: records["readout-s0"]},
        "unknown": {0: None},
    }
    files: dict[str, list[Path]] = {label: [] for label in repairs}
    files["readout"] = [run.place("repair/readout-s0") / "repair.json"]
    with style.house_style():
        values = made_shown(repairs, files, run.folder, "key")
        drawn = draw_training(repairs)
    assert [figure["name"] for figure in values["training"]] == ["repair-training"]
    assert drawn is not None and len(drawn.figure.axes) == 1
    assert len(drawn.figure.axes[0].lines) == 3  # two seeds and their mean
    first, second, third = values["made"]
    assert ("settings.lr", "0.0003") in first["settings"] and first["files"] == []
    assert second["files"] == [{"text": "repair/readout-s0/repair.json", "href": "./repair/readout-s0/repair.json"}]
    assert third["settings"] == []


def test_without_training_there_is_no_curve(run: Run) -> None:
    assert draw_training({"readout": {0: run["repair/readout-s0"]}}) is None
