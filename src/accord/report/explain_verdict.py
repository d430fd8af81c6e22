"""Do the concepts that explain a gap carry it? What the check found, in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from accord.report.data import Metric
from accord.report.explain_data import Explained
from accord.report.finding import Finding
from accord.report.reading import as_number
from accord.report.steering_verdict import p_value
from accord.report.wording import capital, count, interval, number

SURE = 0.05
# what -> (what turning the set off should do, which way the measure should go)
EXPECTED = {
    "against": ("the two forms agree more", 1),
    "for": ("the two forms agree less", -1),
    "largest": ("the validator's answers move more", 1),
}
_SETS = {"against": "against agreement", "for": "for it", "largest": "of the largest contributions"}
_MEASURES = {"change": ("changes r", ""), "moved": ("moves the validator's log-odds", " nats")}


def tested(one: Mapping[str, Any], what: str) -> bool:
    """Whether a set beats random ones: p ≤ .05, and for a change of r its own interval on the expected side of 0."""
    sign = EXPECTED[what][1]
    own = metric(one)
    side = what == "largest" or (own.low > 0 if sign > 0 else own.high < 0)
    return float(one["p"]) <= SURE and side


def metric(one: Mapping[str, Any]) -> Metric:
    """The found set's measure, with its interval over items."""
    return Metric(*(as_number(one[end], end, "explain.json") for end in ("value", "low", "high")))


def explain_findings(stages: Sequence[Explained]) -> list[Finding]:
    """A finding for each concept model."""
    return [found for one in stages if (found := _finding(one)) is not None]


def _finding(one: Explained) -> Finding | None:
    check = {what: told for what, told in one.summary["check"].items() if what in EXPECTED}
    if not check:
        return None
    n = count(int(one.summary["checked_items"]), "item")
    gap = [what for what in ("against", "for") if what in check]
    moved = [what for what in gap if tested(check[what], what)]
    of = f"the concepts of {one.label}"
    if gap and len(moved) == len(gap):
        headline = f"{capital(of)} that explain the gap move it more than random concepts do"
    elif moved:
        side = "that stand against agreement" if moved == ["against"] else "that carry agreement"
        headline = f"{capital(of)} {side} move the gap more than random concepts do; the others do not measurably"
    elif gap:
        headline = f"{capital(of)} that seem to explain the gap do not measurably move it more than random concepts"
    else:
        headline = f"No concept of {one.label} has a pull on the gap"
    led = gap or list(check)
    evidence = f"On {n} that chose none of them, {'; '.join(_briefly(what, check[what]) for what in led)}."
    return Finding(headline, evidence, f"{capital('; '.join(sentence(what, told) for what, told in check.items()))}.")


def _briefly(what: str, one: Mapping[str, Any]) -> str:
    """`turning off the 8 against agreement changes r by .12 [.03, .21], random sets by .01`."""
    own, verb, unit = metric(one), *_MEASURES[one["measure"]]
    random = as_number(one["random_mean"], "random_mean", "explain.json")
    return (
        f"turning off the {len(one['concepts'])} {_SETS[what]} {verb} by {number(own.value)} {interval(own)}{unit}, "
        f"random sets by {number(random)}"
    )


def sentence(what: str, one: Mapping[str, Any]) -> str:
    """`turning off the 8 against agreement changes r by .12 [.03, .21], 20 random sets … by .01 (…, p = .048)`."""
    random = Metric(*(as_number(one[f"random_{e}"], e, "explain.json") for e in ("mean", "low", "high")))
    p = f"{p_value(float(one['p']))}{too_few(one)}"
    return (
        f"{_briefly(what, one).rpartition(', random sets')[0]}, {count(int(one['random']), 'random set')} of equal "
        f"rates by {number(random.value)} (95 % of them in {interval(random)}, {p})"
    )


def too_few(one: Mapping[str, Any]) -> str:
    """Why p cannot be small, where there are fewer random sets than that takes; else nothing."""
    least = 1 / (1 + int(one["random"]))
    return "" if least <= SURE else ": too few other concepts for more sets, so no p of .05 can be reached"
