"""What concepts mean and do, as pages of the report: the dictionary, steering, and the gap told by concepts."""

from pathlib import Path
from typing import Any

from accord.report.explain_data import holds_explanation, read_explanations
from accord.report.explain_page import explain_shown
from accord.report.names_data import holds_names, read_names
from accord.report.names_page import names_shown
from accord.report.steering_data import holds_steering, read_steering
from accord.report.steering_page import steering_shown


def holds_meaning(run: Path) -> bool:
    """Whether a run folder has any of the three."""
    return holds_names(run) or holds_steering(run) or holds_explanation(run)


def meaning_pages(run: Path) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(key, title, template, what it shows) of those that the run has; they have links to each other."""
    named, steered, explained = read_names(run), read_steering(run), read_explanations(run)
    pages = []
    if named:
        shown = names_shown(named, steered, explained, run)
        pages.append(("names", "Concept dictionary", "names.html", shown))
    if steered:
        shown = steering_shown(steered, named, run, "steering")
        pages.append(("steering", "Steering", "steering.html", shown))
    if explained:
        shown = explain_shown(explained, named, run, "explain")
        pages.append(("explain", "The gap, explained", "explain.html", shown))
    return pages
