"""The report of a run folder: is it as new as the results, and made again where it is not."""

from pathlib import Path

from accord.arguments import checked
from accord.disk import is_locked
from accord.study.check import stage_folders
from accord.study.store import MANIFEST, REPORT, STUDY

RELOADS = b'http-equiv="refresh"'  # in the head of the page of a run that is under way


def report_is_new(folder: Path) -> bool:
    """Whether a run folder has a report that is younger than all that it tells of."""
    report, sources = folder / REPORT, [*(stage / MANIFEST for stage in stage_folders(folder)), folder / STUDY]
    if not report.is_file():
        return False
    with report.open("rb") as page:
        if RELOADS in page.read(8192) and not is_locked(folder.resolve()):
            return False  # of a run that was stopped
    written = report.stat().st_mtime_ns
    return all(written >= path.stat().st_mtime_ns for path in sources if path.exists())


@checked
def bring_report(folder: Path) -> Path:
    """The report of a run folder, and its figures, written first if they are not there or older than the results.

    >>> study.bring_report("runs/demo")  # doctest: +SKIP

    Raises AccordError if there is nothing in the folder to show, or a result cannot be read.
    """
    if report_is_new(folder):
        return folder / REPORT
    from accord.report import write_figures, write_report

    if (folder / STUDY).is_file():  # the folder of a single stage has its own
        write_figures(folder)
    return write_report(folder)
