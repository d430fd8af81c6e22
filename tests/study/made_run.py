"""Run folders for tests of what tells of runs: whole stages without numbers, a plan, a page of one line."""

import json
import os
import platform

from tests.report.run_folder import publish_result
from typer.testing import CliRunner

from accord import cli
from accord.disk import sha256
from accord.sealed import DIGEST, sealed, sealed_json
from accord.study.made_from import MARK, sources
from accord.study.manifest import MANIFEST, read_manifest
from accord.study.run_folder import Run
from accord.study.run_list import begin_list, list_stage

STUDY = 'name = "demo"\n[backbone]\nmodel = "smollm2-135m"\n'
FOUND = "readout closes 52% of the gap, perplexity × 1.00"


def said(*words, **environment):
    done = CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "80", **environment})
    return done.exit_code, done.output


def change(path, **values):
    """A manifest or plan with other values, as if accord had written it."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(sealed_json(content) if content.pop(DIGEST, None) else json.dumps(content))
    list_stage(path.parent, str(content.get("name")), sha256(path))


def write_page(folder, head=""):
    """A page as accord writes it of what is in a run folder now, but for all that it tells."""
    mark = MARK.format(sources=sources(Run(folder, verified=True)))
    (folder / "report.html").write_text(sealed(f'<meta charset="utf-8">\n{mark}\n{head}\n'))
    return folder / "report.html"


def make_run(folder, stages=("gap/a", "gap/b"), *, planned=(), day=1, study=STUDY, report=True):
    """A run with these stages whole, others planned."""
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(study)
    for name in stages:
        kind, _, label = name.partition("/")
        place = publish_result(folder, kind, label, None, files={"numbers.txt": name}, settings={"model": "m"})
        change(place / "manifest.json", finished=f"2026-03-{day:02}T10:00:00+00:00", seconds=41.0)
    prints = {name: read_manifest(folder / name)["fingerprint"] for name in stages}
    plan = {"command": "accord run demo.toml", "stages": {**prints, **dict.fromkeys(planned, "planned")}}
    (folder / "plan.json").write_text(json.dumps(plan))
    if report:
        write_page(folder, f'<meta name="description" content="{FOUND}">')
    return folder


def listed(run):
    """The same run with a list of what is in it, as `accord run` keeps it."""
    begin_list(run, "demo", ["study.toml", "plan.json"])
    for name, manifest in Run(run).manifests.items():
        assert manifest["name"] == name
        list_stage(run / name, name, sha256(run / name / MANIFEST))
    return run


def progress(folder, **values):
    said = {
        **{"pid": os.getpid(), "host": platform.node(), "started": "2026-03-01T10:00:00+00:00", "stage": "gap/c"},
        **{"number": 3, "of": 4, "done": 2, "total": 5, "elapsed": 130.0, "left": 250.0},
        "updated": "2026-03-01T10:02:10+00:00",
    }
    (folder / "progress.json").write_text(json.dumps({**said, **values}))
