"""The frame: a study file becomes a checked graph of stages, which fills a run folder; searches and checks of these."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.study.check import Problem
    from accord.study.config import StudyFile, from_options, load
    from accord.study.engine import run
    from accord.study.graph import Graph, plan_study
    from accord.study.preview import DryRun, dry_run
    from accord.study.remove import Removal, removal
    from accord.study.report_file import bring_report
    from accord.study.root import Study
    from accord.study.run_folder import Run, read
    from accord.study.run_status import RunStatus, runs, status
    from accord.study.stage import Recipe, Stage
    from accord.study.store import publish
    from accord.study.template import write_template

__all__ = [
    "DryRun",
    "Graph",
    "Problem",
    "Recipe",
    "Removal",
    "Run",
    "RunStatus",
    "Stage",
    "Study",
    "StudyFile",
    "bring_report",
    "dry_run",
    "from_options",
    "load",
    "plan_study",
    "publish",
    "read",
    "removal",
    "run",
    "runs",
    "status",
    "write_template",
]

__getattr__, __dir__ = exports(__name__)
