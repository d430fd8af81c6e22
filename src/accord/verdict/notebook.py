"""A verdict as a notebook shows it."""

from matplotlib.figure import Figure

from accord.report.metric import metric_of
from accord.report.notebook import finding_html
from accord.report.style import house_style
from accord.report.wording import measured
from accord.verdict.figures import draw_closure
from accord.verdict.findings import finding
from accord.verdict.judged import CORRELATIONS, alone
from accord.verdict.result import Verdict


def html(verdict: Verdict) -> str:
    """The finding, the correlations before and after on every test, within prompts too, and how far each closes."""
    rows = [
        [verdict.titles[trial], str(verdict.n[trial]), measure]
        + [measured(metric_of(side)) for side in (change.before, change.after, change.change)]
        for trial, measure, change in verdict.rows()
        if measure in (*CORRELATIONS, "within_pearson")
    ]
    header = ("items", "n", "measure", "before", "after", "change")
    return finding_html(finding(alone(verdict)), header, rows, next(iter(figures(verdict).values()), None))


def figures(verdict: Verdict) -> dict[str, Figure]:
    """How far the gap is closed on every test."""
    with house_style():
        drawn = draw_closure(alone(verdict))
    return {} if drawn is None else {drawn.name: drawn.figure}
