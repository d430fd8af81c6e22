"""The doses of steering in words, in the order of the page, and the arms that stand beside each other at each."""

from dataclasses import dataclass

import pandas as pd

from accord.report.metric import plain
from accord.steering.result import CONCEPT, OTHER, PUSH, Effects

ARMS = (CONCEPT, OTHER, PUSH)
_KINDS = ("factor", "typical", "added")


def label_of(effects: Effects) -> str:
    """What the label of its texts is called."""
    return plain(str(effects.about.get("label") or "the label"))


@dataclass(frozen=True, order=True)
class ShownDose:
    """A dose, in the order of the page: factors, then set strengths, then what is added."""

    place: int
    value: float

    @property
    def kind(self) -> str:
        """What the number multiplies."""
        return _KINDS[self.place]

    @property
    def short(self) -> str:
        """On an axis.

        >>> ShownDose(0, 0.0).short, ShownDose(0, 2.0).short, ShownDose(2, 4.0).short
        ('off', '×2', '+4')
        """
        text = f"{self.value:g}"
        if self.kind == "factor":
            return "off" if self.value == 0 else f"×{text}"
        return f"={text}" if self.kind == "typical" else f"+{text}"

    @property
    def words(self) -> str:
        """In a sentence."""
        text = f"{self.value:g}"
        if self.kind == "factor":
            return "turned off" if self.value == 0 else f"multiplied by {text}"
        return f"set to {text} × its usual strength" if self.kind == "typical" else f"{text} × its usual writing added"


def doses_of(table: pd.DataFrame) -> list[ShownDose]:
    """The doses in a table with columns kind and dose."""
    pairs = table[["kind", "dose"]].drop_duplicates()
    return sorted(ShownDose(_KINDS.index(k), float(v)) for k, v in zip(pairs["kind"], pairs["dose"], strict=True))


def rows_at(table: pd.DataFrame, dose: ShownDose) -> pd.DataFrame:
    """The rows of a dose."""
    return table[(table["kind"] == dose.kind) & (table["dose"] == dose.value)]
