"""The frame: a study file becomes a checked graph of stages, which fills a run folder; searches and checks of these."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.study.check import Problem
    from accord.study.config import StudyFile, from_options, load
    from accord.study.engine import bars, run
    from accord.study.graph import Graph, plan_study
    from accord.study.root import Study
    from accord.study.run_folder import Run, read
    from accord.study.stage import Recipe, Stage
    from accord.study.store import publish
    from accord.study.template import write_template

__all__ = [
    "Graph",
    "Problem",
    "Recipe",
    "Run",
    "Stage",
    "Study",
    "StudyFile",
    "bars",
    "from_options",
    "load",
    "plan_study",
    "publish",
    "read",
    "run",
    "write_template",
]

__getattr__ = exports(
    __name__,
    {
        "Graph": "accord.study.graph",
        "Problem": "accord.study.check",
        "Recipe": "accord.study.stage",
        "Run": "accord.study.run_folder",
        "Stage": "accord.study.stage",
        "Study": "accord.study.root",
        "StudyFile": "accord.study.config",
        "bars": "accord.study.engine",
        "from_options": "accord.study.config",
        "load": "accord.study.config",
        "plan_study": "accord.study.graph",
        "publish": "accord.study.store",
        "read": "accord.study.run_folder",
        "run": "accord.study.engine",
        "write_template": "accord.study.template",
    },
)
