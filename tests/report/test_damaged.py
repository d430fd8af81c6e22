"""No number of a result that was changed is told anywhere: page, files, commands, Python."""

import json
import shutil

import pytest
from tests.report.run_folder import publish_result
from tests.study.made_run import listed, said

import accord
from accord.errors import AccordError
from accord.report.html import write_report
from accord.study.run_folder import Run
from accord.study.run_status import runs


@pytest.fixture
def measured(tmp_path, run_folder):
    """A run with a measured gap and another one, which can be read."""
    run = tmp_path / "runs" / "measured"
    shutil.copytree(run_folder / "gap", run / "gap")
    (run / "study.toml").write_text('name = "demo"\n')
    (run / "plan.json").write_text('{"command": "accord run s.toml", "stages": {}}')
    publish_result(
        run, "gap", "other", Run(run)["gap/hypernymy"], settings=Run(run).manifests["gap/hypernymy"]["settings"]
    )
    return listed(run)


def test_no_number_of_a_damaged_stage_is_told(measured):
    """Not by the list of runs, the page, exported files or Python; and every command ends with exit code 1."""
    path = measured / "gap" / "hypernymy" / "metrics.json"
    sound = measured.parent / "sound"
    shutil.copytree(measured, sound)
    value = json.loads(path.read_text())["pearson_all"]["value"]
    path.write_text(path.read_text().replace(str(value), "0.99321"))
    run = accord.read(measured)
    with pytest.raises(AccordError, match=r"This stage is damaged[\s\S]*metrics\.json: changed"):
        run["gap/hypernymy"]
    assert run["gap/other"].metrics["pearson_all"]["value"] == value
    page = write_report(measured).read_text(encoding="utf-8")
    assert "gap/hypernymy (metrics.json: changed" in page and 'id="gap-1"' in page and 'id="gap-2"' not in page
    (row,) = [row for row in runs(measured.parent) if row.folder == measured]
    assert row.problem == "damaged: gap/hypernymy"
    difference = accord.diff(sound, measured)
    assert not [metric for metric in difference.metrics if metric.stage == "gap/hypernymy"]
    for words in (["report", measured], ["export", measured], ["diff", sound, measured], ["status", measured]):
        code, text = said(*words)
        assert code == 1 and "gap/hypernymy" in text and "accord check" in text, words
        assert ".993" not in text, words
    assert "99321" not in "".join(file.read_text() for file in (measured / "export").rglob("*.csv"))
    assert "0.99321" not in page and ".99\N{NO-BREAK SPACE}[" not in page
    run = Run(measured, verified=True)
    with pytest.raises(AccordError, match="damaged"):
        run["gap/hypernymy"]
