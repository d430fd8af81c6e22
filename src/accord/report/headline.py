"""The first finding of a run in a line, as its page leads with it: read from the page, or told without drawing one."""

import html
import re
from collections.abc import Iterator

from accord.capabilities import CAPABILITIES, part
from accord.report.finding import Finding
from accord.report.metric import plain
from accord.study.made_from import report_is_new
from accord.study.run_folder import Run
from accord.study.store import REPORT

_HEAD = 4096  # bytes; the page says it at its beginning
_SAID = re.compile(r'<meta name="description" content="([^"]*)">')


def headline(run: Run) -> str:
    """The first headline of a run's page; empty where it has none. The run's stages are verified.

    Raises AccordError, or what reading a result raises that another version wrote, where it must be told from these.
    """
    if report_is_new(run) and (said := _in_page(run)) is not None:
        return said
    return next((plain(finding.headline) for finding in findings(run)), "")


def findings(run: Run) -> Iterator[Finding]:
    """The findings of a run in the order of its page, those of the search aside; nothing is drawn."""
    made = {manifest["stage"] for manifest in run.manifests.values()}
    results = {capability: part(capability, "result") for capability in CAPABILITIES}
    there = [name for name, module in results.items() if made & getattr(module, "RESULTS", {}).keys()]
    for capability in sorted(there, key=lambda name: not getattr(results[name], "LEADS", False)):
        if (module := part(capability, "findings")) is not None:
            yield from module.findings(run)


def _in_page(run: Run) -> str | None:
    with (run.folder / REPORT).open("rb") as file:
        said = _SAID.search(file.read(_HEAD).decode("utf-8", errors="replace"))
    return None if said is None else plain(html.unescape(said[1]))
