"""From a study file to a run folder: config, stages, store, engine."""

from accord.study.check import Problem
from accord.study.check import check as check_files
from accord.study.config import StudyFile, from_options, load
from accord.study.engine import bars, plan, run
from accord.study.sections import Backbone, GapSection, Study
from accord.study.stages import Stage, gap_stage, lazy, measure
from accord.study.store import Recipe, publish
from accord.study.template import template, write_template
from accord.study.validate import check, task_of

__all__ = [
    "Backbone",
    "GapSection",
    "Problem",
    "Recipe",
    "Stage",
    "Study",
    "StudyFile",
    "bars",
    "check",
    "check_files",
    "from_options",
    "gap_stage",
    "lazy",
    "load",
    "measure",
    "plan",
    "publish",
    "run",
    "task_of",
    "template",
    "write_template",
]
