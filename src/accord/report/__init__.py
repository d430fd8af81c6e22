"""The one-file report of a run and its figures: the frame and the page kit; every capability makes its own chapters."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.report.exported import export
    from accord.report.html import write_figures, write_report

__all__ = ["export", "write_figures", "write_report"]

__getattr__, __dir__ = exports(__name__)
