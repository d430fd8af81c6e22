"""Do concepts do what they should when they are turned? Shares of concepts beside the controls, in plain sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

from accord.intervals import wilson
from accord.report.finding import Finding
from accord.report.steering_data import ARMS, Given, Steered, at, given
from accord.report.wording import capital, count, number

SURE = 0.05
EXPECTED = ("promoted", "wanted", "label")


@dataclass(frozen=True)
class Acting:
    """How many concepts of a model act as expected at a dose, and how many of the controls do.

    Attributes:
        n: concepts.
        acting: of each arm, how many.
        p: of each control, the exact McNemar test of the concepts against it: a two-sided binomial test of the pairs
            in which only one of the two acts.
    """

    n: int
    acting: dict[str, int]
    p: dict[str, float]

    @property
    def lead(self) -> bool | None:
        """Whether more concepts act than of either control; None where fewer than six concepts can never tell."""
        if self.n < 6:  # of five pairs, all one way, p is .0625
            return None
        return all(self.more_than(arm) for arm in ARMS[1:])

    def more_than(self, arm: str) -> bool:
        """Whether more concepts act than of one control, p ≤ .05."""
        return self.acting[ARMS[0]] > self.acting[arm] and self.p[arm] <= SURE

    def interval(self, arm: str) -> tuple[float, float]:
        """Wilson's, of the share of an arm."""
        return wilson(self.acting[arm], self.n)


def acting(effects: pd.DataFrame, measure: str, dose: Given) -> Acting | None:
    """Of the concepts for which all three arms were measured; None if there is none."""
    rows = at(effects[effects["measure"] == measure], dose)
    rows = rows[rows["control"].isin(ARMS) & rows["acts"].notna()]
    table = rows.pivot_table(index="concept", columns="control", values="acts", aggfunc="first").dropna()
    if table.empty or any(arm not in table for arm in ARMS):
        return None
    does = {arm: table[arm].astype(bool).to_numpy() for arm in ARMS}
    p = {}
    for arm in ARMS[1:]:
        only, other = int((does[ARMS[0]] & ~does[arm]).sum()), int((does[arm] & ~does[ARMS[0]]).sum())
        p[arm] = float(binomtest(only, only + other).pvalue) if only + other else 1.0
    return Acting(len(table), {arm: int(does[arm].sum()) for arm in ARMS}, p)


PROMOTED_NOTE = (
    "Each random direction is scored on the tokens that it raises most itself. This checks that an edit does what the "
    "concept writes; it is no evidence that the concept means something."
)


def compared(told: Acting, measure: str) -> str:
    """What ends the headline: how the count of concepts compares with those of the controls."""
    if told.lead is None:
        return ", too few concepts to compare with controls"
    if measure != EXPECTED[0]:
        return f" as expected, {'more than controls do' if told.lead else 'not measurably more than both controls do'}"
    if told.more_than(ARMS[1]):
        return ", more than random concepts move these: the edit is specific to the concept"
    return ", not measurably more than random concepts move these"


def steering_findings(stages: Sequence[Steered]) -> list[Finding]:
    """A finding for each model: turned off; in the details the largest dose, and what texts became."""
    found = []
    for one in stages:
        counted = {measure: told for measure in EXPECTED[:2] if (told := _counted(one, measure))}
        if counted:
            measure, told = next(iter(counted.items()))
            details = [_details(one, m, told) for m, told in counted.items()]
            found.append(_finding(one, measure, *_leading(measure, told), " ".join(details)))
    return found


Counted = list[tuple[Given, Acting]]


def _counted(one: Steered, measure: str) -> Counted:
    """Every dose at which concepts and both controls were measured."""
    doses = given(one.effects[one.effects["measure"] == measure])
    return [(dose, told) for dose in doses if (told := acting(one.effects, measure, dose)) is not None]


def _leading(measure: str, counted: Counted) -> tuple[Given, Acting]:
    """Promoted tokens are judged at the first dose (turned off), texts at the largest."""
    return counted[0] if measure == EXPECTED[0] else counted[-1]


def _finding(one: Steered, measure: str, dose: Given, told: Acting, details: str) -> Finding:
    controls = ", ".join(f"{arm}s {told.acting[arm]} of {told.n}" for arm in ARMS[1:])
    evidence = f"{capital(controls)}."
    if measure == EXPECTED[0]:
        evidence = f"{evidence} {PROMOTED_NOTE}"
    return Finding(f"{_acting(one, measure, dose, told)}{compared(told, measure)}", evidence, details)


def _acting(one: Steered, measure: str, dose: Given, told: Acting) -> str:
    """`Turned off, 7 of 8 concepts of topk-s0 move the tokens they promote`."""
    concepts = f"{told.acting[ARMS[0]]} of {count(told.n, 'concept')} of {one.label}"
    does = "move the tokens they promote" if measure == EXPECTED[0] else f"bring the wanted {one.scorer}"
    return f"{capital(dose.words)}, {concepts} {does}"


def _details(one: Steered, measure: str, counted: Counted) -> str:
    """The leading dose and the largest one, with the tests against each control."""
    dose, told = _leading(measure, counted)
    said = f"{_acting(one, measure, dose, told)}: {beside(told)}."
    last, other = counted[-1]
    if last != dose:
        said += f" {capital(last.words)}: {other.acting[ARMS[0]]} of {other.n} ({beside(other)})."
    return said


def beside(told: Acting) -> str:
    """`random concepts 2 of 20, p < .001; random directions 3 of 20, p = .004`."""
    return "; ".join(f"{arm}s {told.acting[arm]} of {told.n}, {p_value(told.p[arm])}" for arm in ARMS[1:])


def p_value(p: float) -> str:
    """`p = .031`, `p < .001`."""
    said = "p < .001" if p < 0.001 else f"p = {number(p, 3)}"
    return said.replace(" ", "\N{NO-BREAK SPACE}")
