"""`accord check`: whatever was changed since it was written is told."""

import pytest
from tests.study.made_run import write_page

from accord.errors import AccordError
from accord.study.check import check, stage_folders
from accord.study.stage import Stage
from accord.study.store import publish
from accord.study.work import Models


@pytest.fixture
def run(tmp_path):
    def make(work):
        (work.folder / "tables").mkdir()
        (work.folder / "scores.bin").write_bytes(bytes(range(100)))
        (work.folder / "tables" / "a.svg").write_text("<svg/>")

    for name in ("one", "two"):
        stage = Stage("gap", name, make, {"name": name}, 0, 1)
        publish(stage, tmp_path / "run" / stage.name, models=Models())
    return tmp_path / "run"


def problems(folder):
    return [(problem.path.name, problem.what) for problem in check(folder)]


def test_all_is_well(run):
    assert [folder.name for folder in stage_folders(run)] == ["one", "two"]
    assert check(run) == check(run / "gap" / "one") == []


def test_a_flipped_bit(run):
    path = run / "gap" / "two" / "scores.bin"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    assert problems(run) == [("scores.bin", "changed")]
    assert check(run / "gap" / "one") == []


def test_a_missing_and_an_extra_file(run):
    (run / "gap" / "one" / "tables" / "a.svg").unlink()
    (run / "gap" / "one" / "notes.txt").touch()
    assert problems(run) == [("a.svg", "missing"), ("notes.txt", "not written by accord")]


def test_a_broken_manifest(run):
    (run / "gap" / "one" / "manifest.json").write_text("{")
    assert problems(run) == [("manifest.json", "changed, so that it cannot be read")]


def test_an_unfinished_stage(run):
    (run / "gap" / ".three.partial").mkdir()
    [(name, what)] = problems(run)
    assert name == ".three.partial" and "unfinished" in what


def test_no_results(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(AccordError, match="no results"):
            check(folder)


def test_a_report_beside_the_results_is_no_part_of_them(run):
    stage = next(run.rglob("manifest.json")).parent
    write_page(stage)
    assert problems(run) == []
    (stage / "report.html").write_text((stage / "report.html").read_text().replace("utf-8", "utf-9"))
    assert problems(run) == [("report.html", "changed, or of an earlier version")]
