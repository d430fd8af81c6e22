"""From a study file to a run folder: root, config, validate, plan, stages, store, engine.

Names are imported when first used: what runs a study needs torch, which takes seconds. `check` of a
study is in `accord.study.validate`, `check` of a run folder in `accord.study.check`.
"""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.gap.config import GapSection
    from accord.lm.config import BackboneSection
    from accord.study.check import Problem
    from accord.study.config import StudyFile, from_options, load
    from accord.study.engine import bars, run
    from accord.study.gap_stages import gap_stage, measure
    from accord.study.root import Study
    from accord.study.stage import Stage, lazy
    from accord.study.store import Recipe, publish
    from accord.study.template import write_template
    from accord.study.validate import task_of

__all__ = [
    "BackboneSection",
    "GapSection",
    "Problem",
    "Recipe",
    "Stage",
    "Study",
    "StudyFile",
    "bars",
    "from_options",
    "gap_stage",
    "lazy",
    "load",
    "measure",
    "publish",
    "run",
    "task_of",
    "write_template",
]

__getattr__ = exports(
    __name__,
    {
        "BackboneSection": "accord.lm.config",
        "GapSection": "accord.gap.config",
        "Problem": "accord.study.check",
        "Recipe": "accord.study.store",
        "Stage": "accord.study.stage",
        "Study": "accord.study.root",
        "StudyFile": "accord.study.config",
        "bars": "accord.study.engine",
        "from_options": "accord.study.config",
        "gap_stage": "accord.study.gap_stages",
        "lazy": "accord.study.stage",
        "load": "accord.study.config",
        "measure": "accord.study.gap_stages",
        "publish": "accord.study.store",
        "run": "accord.study.engine",
        "task_of": "accord.study.validate",
        "write_template": "accord.study.template",
    },
)
