"""A gap as a notebook shows it."""

from matplotlib.figure import Figure

from accord.gap.draw_items import draw_scatter
from accord.gap.figures import draw_all
from accord.gap.findings import finding_of
from accord.gap.glossary import MAIN, term
from accord.gap.result import Gap
from accord.report.metric import metric_in
from accord.report.notebook import finding_html
from accord.report.style import house_style
from accord.report.wording import measured


def html(gap: Gap) -> str:
    """The finding, the main measures, and both forms against each other."""
    rows = [[term(name).label, measured(metric_in(gap.metrics, name))] for name in MAIN if name in gap.metrics]
    with house_style():
        figure = draw_scatter(gap).figure
    return finding_html(finding_of(gap, "The model"), ("measure", "value"), rows, figure)


def figures(gap: Gap) -> dict[str, Figure]:
    """Those that this gap has the tables for."""
    with house_style():
        return {drawn.name: drawn.figure for drawn in draw_all(gap)}
