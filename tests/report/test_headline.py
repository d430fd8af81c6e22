"""The first finding of a run, as `accord runs` shows it: that of the page, also where there is none."""

import os
import re
import shutil
import subprocess
import sys

from tests.report.run_folder import publish_result
from tests.study.made_run import write_page

from accord.report import write_report
from accord.report.finding import Finding
from accord.report.headline import headline
from accord.study.run_folder import Run
from accord.study.run_status import runs, status


def test_the_finding_is_that_of_the_page_also_without_one(tmp_path, run_folder):
    folder = tmp_path / "copy"
    shutil.copytree(run_folder, folder)
    (folder / "report.html").unlink(missing_ok=True)
    told = status(folder).finding
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert told and f'<p class="verdict"><bdi>{told}</bdi></p>' in re.sub(r'<a class="tag".*?</a> ', "", page)
    assert headline(Run(folder)) == told
    write_page(folder, '<meta name="description" content="from the page &amp; no other">')
    os.utime(folder / "report.html", (1, 1))
    assert headline(Run(folder, verified=True)) == "from the page & no other"
    page = (folder / "report.html").read_text()
    (folder / "report.html").write_text(page.replace("no other", "one more"))
    assert headline(Run(folder, verified=True)) == told  # of a page that was changed nothing is told


def test_a_result_that_was_changed_is_told_in_the_list(tmp_path, run_folder):
    shutil.copytree(run_folder, tmp_path / "runs" / "r")
    (tmp_path / "runs" / "r" / "report.html").unlink(missing_ok=True)
    scores = next((tmp_path / "runs" / "r").rglob("scores.parquet"))
    scores.write_bytes(b"x" * scores.stat().st_size)
    (run,) = runs(tmp_path / "runs")
    assert run.finding == "" and run.problem == "damaged: gap/hypernymy"


def test_the_list_needs_neither_torch_nor_matplotlib(tmp_path, run_folder):
    shutil.copytree(run_folder, tmp_path / "runs" / "gap-run")
    (tmp_path / "runs" / "gap-run" / "report.html").unlink(missing_ok=True)
    code = f"""
import sys
from accord.cli import app
for words in (["runs", {str(tmp_path / "runs")!r}], ["status", {str(tmp_path / "runs" / "gap-run")!r}]):
    app(words, standalone_mode=False)
assert not {{"torch", "transformers", "matplotlib"}} & sys.modules.keys(), "heavy"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "gap-run" in done.stdout, done.stderr


def test_what_a_study_is_for_leads(tmp_path, run_folder, monkeypatch):
    folder = tmp_path / "r"
    shutil.copytree(run_folder, folder)
    (folder / "report.html").unlink(missing_ok=True)
    gap = headline(Run(folder))
    publish_result(folder, "verdict", "x", None)
    found = [Finding("It closes\u202e the gap")]
    monkeypatch.setattr("accord.verdict.findings.findings", lambda run: found)
    assert headline(Run(folder)) == "It closes the gap"
    found.clear()
    assert headline(Run(folder)) == gap != ""
