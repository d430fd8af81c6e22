"""Do concepts do what they should when they are turned? Shares of concepts beside the controls, in plain sentences."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from accord.intervals import wilson
from accord.report.finding import Finding
from accord.report.metric import plain
from accord.report.wording import capital, count, p_value
from accord.steering.result import Effects
from accord.steering.shown_doses import ARMS, ShownDose, doses_of, label_of, rows_at
from accord.study.run_folder import Run

SURE = 0.05
EXPECTED = ("promoted", "wanted", "label")


@dataclass(frozen=True)
class Acting:
    """How many concepts of a model act as expected at a dose, and how many of the controls do.

    Attributes:
        n: concepts.
        counts: of each arm, how many act.
        p: of each control, the exact McNemar test of the concepts against it: a two-sided binomial test of the pairs
            in which only one of the two acts.
    """

    n: int
    counts: dict[str, int]
    p: dict[str, float]

    @property
    def lead(self) -> bool | None:
        """Whether more concepts act than of either control; None where fewer than six concepts can never tell."""
        if self.n < 6:  # of five pairs, all one way, p is .0625
            return None
        return all(self.more_than(arm) for arm in ARMS[1:])

    def more_than(self, arm: str) -> bool:
        """Whether more concepts act than of one control, p ≤ .05."""
        return self.counts[ARMS[0]] > self.counts[arm] and self.p[arm] <= SURE

    def interval(self, arm: str) -> tuple[float, float]:
        """Wilson's, of the share of an arm."""
        return wilson(self.counts[arm], self.n)


def count_acting(effects: pd.DataFrame, measure: str, dose: ShownDose) -> Acting | None:
    """Of the concepts for which all three arms were measured; None if there is none."""
    from scipy.stats import binomtest  # takes a second to import: who only reads numbers must not wait for it

    rows = rows_at(effects[effects["measure"] == measure], dose)
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


def compared(acting: Acting, measure: str) -> str:
    """What ends the headline: how the count of concepts compares with those of the controls."""
    if acting.lead is None:
        return ", too few concepts to compare with controls"
    if measure != EXPECTED[0]:
        return (
            f" as expected, {'more than controls do' if acting.lead else 'not measurably more than both controls do'}"
        )
    if acting.more_than(ARMS[1]):
        return ", more than random concepts move these: the edit is specific to the concept"
    return ", not measurably more than random concepts move these"


def findings(run: Run) -> list[Finding]:
    """Those of a run's steered concepts."""
    return steering_findings(run.of(Effects))


def steering_findings(steered: Mapping[str, Effects]) -> list[Finding]:
    """A finding for each model, by its label: turned off; in the details the largest dose, and what texts became."""
    findings = []
    for label, effects in steered.items():
        counted = {measure: counts for measure in EXPECTED[:2] if (counts := _counted(effects, measure))}
        if counted:
            words = _Words(plain(label), label_of(effects))
            measure, counts = next(iter(counted.items()))
            details = " ".join(words.details(m, c) for m, c in counted.items())
            findings.append(words.finding(measure, *_leading(measure, counts), details))
    return findings


Counted = list[tuple[ShownDose, Acting]]


def _counted(effects: Effects, measure: str) -> Counted:
    """Every dose at which concepts and both controls were measured."""
    doses = doses_of(effects.table[effects.table["measure"] == measure])
    return [(dose, counts) for dose in doses if (counts := count_acting(effects.table, measure, dose)) is not None]


def _leading(measure: str, counted: Counted) -> tuple[ShownDose, Acting]:
    """Promoted tokens are judged at the first dose (turned off), texts at the largest."""
    return counted[0] if measure == EXPECTED[0] else counted[-1]


@dataclass(frozen=True)
class _Words:
    """Sentences about a model, and about what the label of its texts is called."""

    model: str
    label: str

    def finding(self, measure: str, dose: ShownDose, acting: Acting, details: str) -> Finding:
        controls = ", ".join(f"{arm}s {acting.counts[arm]} of {acting.n}" for arm in ARMS[1:])
        evidence = f"{capital(controls)}."
        if measure == EXPECTED[0]:
            evidence = f"{evidence} {PROMOTED_NOTE}"
        return Finding(f"{self._acting(measure, dose, acting)}{compared(acting, measure)}", evidence, details)

    def details(self, measure: str, counted: Counted) -> str:
        """The leading dose and the largest one, with the tests against each control."""
        dose, acting = _leading(measure, counted)
        words = f"{self._acting(measure, dose, acting)}: {beside(acting)}."
        last, other = counted[-1]
        if last != dose:
            words += f" {capital(last.words)}: {other.counts[ARMS[0]]} of {other.n} ({beside(other)})."
        return words

    def _acting(self, measure: str, dose: ShownDose, acting: Acting) -> str:
        """`Turned off, 7 of 8 concepts of topk-s0 move the tokens they promote`."""
        concepts = f"{acting.counts[ARMS[0]]} of {count(acting.n, 'concept')} of {self.model}"
        does = "move the tokens they promote" if measure == EXPECTED[0] else f"bring the wanted {self.label}"
        return f"{capital(dose.words)}, {concepts} {does}"


def beside(acting: Acting) -> str:
    """`random concepts 2 of 20, p < .001; random directions 3 of 20, p = .004`."""
    return "; ".join(f"{arm}s {acting.counts[arm]} of {acting.n}, {p_value(acting.p[arm])}" for arm in ARMS[1:])
