"""A forecast as a notebook shows it."""

from matplotlib.figure import Figure

from accord.forecasting.figures import draw_all
from accord.forecasting.findings import finding, measures
from accord.forecasting.result import RepairForecast
from accord.report.notebook import finding_html
from accord.report.style import house_style


def html(forecast: RepairForecast) -> str:
    """The finding, the main measures, and the pairs by size of the difference."""
    rows = [[row["label"], row["value"]] for row in measures(forecast)]
    return finding_html(finding(forecast), ("measure", "value"), rows, figures(forecast).get("pairs"))


def figures(forecast: RepairForecast) -> dict[str, Figure]:
    """Those that this forecast has the numbers for."""
    with house_style():
        return {drawn.name: drawn.figure for drawn in draw_all(forecast)}
