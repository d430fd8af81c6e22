"""The report of a run folder and its figures, made again where they are not made from what is there now."""

from pathlib import Path

from accord.arguments import checked
from accord.study.made_from import figures_are_new, report_is_new
from accord.study.run_folder import Run
from accord.study.run_list import kept_list
from accord.study.store import REPORT, STUDY


@checked
def bring_report(folder: Path) -> Path:
    """The report of a run folder, and its figures, written first if they are not made from what is there now.

    >>> study.bring_report("runs/demo")  # doctest: +SKIP

    Raises AccordError if there is nothing in the folder to show.
    """
    run = Run(folder, verified=True)
    new = report_is_new(run)
    # The folder of a single stage has its own figures; a run without a list is of a version that did not note them.
    drawn = not (folder / STUDY).is_file() or figures_are_new(run) or (new and not kept_list(folder).study)
    if new and drawn:
        return folder / REPORT
    from accord.report import write_figures, write_report

    if not drawn:
        write_figures(folder)
    return folder / REPORT if new else write_report(folder)
