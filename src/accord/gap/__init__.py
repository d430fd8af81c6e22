"""The generator/validator gap: measured per item and layer, with every measure's interval."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.gap.answer_score import AnswerScore
    from accord.gap.change import Change, compare
    from accord.gap.figures import write_gap_figures
    from accord.gap.measure import measure_gap
    from accord.gap.metrics import MEASURES, summarize
    from accord.gap.questions import NO_FORMS, YES_FORMS, LabelWords
    from accord.gap.result import Gap
    from accord.gap.ridge import Probe, Ridge
    from accord.gap.states import validator_states

__all__ = [
    "MEASURES",
    "NO_FORMS",
    "YES_FORMS",
    "AnswerScore",
    "Change",
    "Gap",
    "LabelWords",
    "Probe",
    "Ridge",
    "compare",
    "measure_gap",
    "summarize",
    "validator_states",
    "write_gap_figures",
]

__getattr__, __dir__ = exports(__name__)
