"""The generator/validator gap: measured per item and layer, with every measure's interval."""

from accord.gap.measure import NO_FORMS, YES_FORMS, Gap, measure_gap
from accord.gap.metrics import MEASURES, summarize

__all__ = ["MEASURES", "NO_FORMS", "YES_FORMS", "Gap", "measure_gap", "summarize"]
