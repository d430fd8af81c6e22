"""Figures of a measured gap, and the one-file report of a run."""

from accord.report.figures import write_figures
from accord.report.html import write_report

__all__ = ["write_figures", "write_report"]
