"""The one-file report of a run and its figures: the frame and the page kit; every capability makes its own chapters."""

from accord.report.html import write_figures, write_report

__all__ = ["write_figures", "write_report"]
