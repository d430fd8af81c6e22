"""What the report and the figures of a run were made from: told by hashes, never by times.

A page has that of its sources, and its own, in its head.
"""

import hashlib
import json
import re
from pathlib import Path

from accord.disk import is_locked, sha256
from accord.sealed import BLANK, is_sealed
from accord.study.kept_plan import read_plan
from accord.study.manifest import MANIFEST
from accord.study.run_folder import Run
from accord.study.run_list import kept_list
from accord.study.search_config import SEARCH, TABLE
from accord.study.store import REPORT

MARK = f'<meta name="accord-made-from" content="{{sources}} {BLANK}">'
"""Stands in the head of a page, before anything that others wrote."""

RELOADS = b'http-equiv="refresh"'  # in the head of the page of a run that is under way
_MARK = re.compile(MARK.format(sources="([0-9a-f]{64})").replace(BLANK, "([0-9a-f]{64})").encode())
_HEAD = 8192  # bytes


def sources(run: Run) -> str:
    """A hash of all that the page and the figures of a run are made from; the run's stages are verified."""
    plan = read_plan(run.folder)
    beside = [name for name in (SEARCH, TABLE) if (run.folder / name).is_file()]
    content = {
        "stages": {name: sha256(run.place(name) / MANIFEST) for name in run.manifests},
        "damaged": dict(run.damaged),
        "study": run.study,
        "plan": {} if plan is None else dict(plan.stages),
        "beside": {name: sha256(run.folder / name) for name in beside},
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def report_is_intact(folder: Path) -> bool:
    """Whether the report in a folder is as accord wrote it."""
    return _made_from(folder) is not None


def report_is_new(run: Run) -> bool:
    """Whether a run, whose stages are verified, has a report that is made from what is there now."""
    if _made_from(run.folder) != sources(run):
        return False
    with (run.folder / REPORT).open("rb") as page:
        return RELOADS not in page.read(_HEAD) or is_locked(run.folder.resolve())  # else of a run that was stopped


def _made_from(folder: Path) -> str | None:
    """What the report in a folder says that it was made from; None where there is none, or it was changed."""
    try:
        page = (folder / REPORT).read_bytes()
    except OSError:
        return None
    mark = _MARK.search(page[:_HEAD])
    return mark[1].decode() if mark is not None and is_sealed(page, mark[2].decode()) else None


def figures_are_new(run: Run) -> bool:
    """Whether a run, whose stages are verified, has its figures as accord drew them from what is there now."""
    listed = kept_list(run.folder)
    return listed.figures == sources(run) and not any("/" in name for name, _ in listed.faults(run.folder))
