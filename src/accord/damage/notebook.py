"""Damage as a notebook shows it."""

from matplotlib.figure import Figure

from accord.damage.result import Damage
from accord.damage.wording import harms, word
from accord.report.finding import Finding
from accord.report.notebook import finding_html

_COLUMNS = ("group", "measure", "base", "repaired", "change", "low", "high", "n")


def html(damage: Damage) -> str:
    """What got worse, and every measure that can."""
    rows = [
        [f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in _COLUMNS] + [word(row)]
        for row in harms(damage.table).to_dict("records")
    ]
    return finding_html(Finding("What the repair cost", damage.sentence), (*_COLUMNS, ""), rows)


def figures(damage: Damage) -> dict[str, Figure]:
    """None: damage is a table."""
    return {}
