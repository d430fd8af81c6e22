"""The generator/validator gap: measured per item and layer, with every measure's interval."""

from accord.gap.answer_score import AnswerScore
from accord.gap.compare import Change, compare
from accord.gap.explain import Explanation, explain_gap
from accord.gap.measure import Gap, measure_gap
from accord.gap.metrics import MEASURES, summarize
from accord.gap.questions import NO_FORMS, YES_FORMS, LabelWords
from accord.gap.ridge import Probe, Ridge
from accord.gap.states import validator_states

__all__ = [
    "MEASURES",
    "NO_FORMS",
    "YES_FORMS",
    "AnswerScore",
    "Change",
    "Explanation",
    "Gap",
    "LabelWords",
    "Probe",
    "Ridge",
    "compare",
    "explain_gap",
    "measure_gap",
    "summarize",
    "validator_states",
]
