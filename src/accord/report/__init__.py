"""Figures of a measured gap and of concept models, and the one-file report of a run."""

from accord.report.concepts_figures import write_concept_figures
from accord.report.figures import write_figures
from accord.report.html import write_report

__all__ = ["write_concept_figures", "write_figures", "write_report"]
