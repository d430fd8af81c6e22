"""Do the concepts that explain a gap carry it? What the check found, in plain sentences."""

import math
from collections.abc import Mapping
from typing import Any

from accord.explain.result import Explanation
from accord.report.finding import Finding
from accord.report.metric import Metric, metric_of, plain
from accord.report.wording import capital, count, interval, number, p_value
from accord.study.run_folder import Run

SURE = 0.05
# what -> (what turning the set off should do, which way the measure should go)
EXPECTED = {
    "against": ("the two forms agree more", 1),
    "for": ("the two forms agree less", -1),
    "largest": ("the validator's answers move more", 1),
}
_SETS = {"against": "against agreement", "for": "for it", "largest": "of the largest contributions"}
_MEASURES = {"change": ("changes r", ""), "moved": ("moves the validator's log-odds", " nats")}


RULE = (
    "A set does more than random ones if p ≤ .05 and, where r is what changes, the 95 % interval of its own change "
    "over items lies on the expected side of 0 too."
)


def why_not(check: Mapping[str, Any], what: str) -> str:
    """By which half of `RULE` a set does not beat random ones; empty where it does."""
    if float(check["p"]) > SURE:
        return "p > .05"
    own = metric_of(check)
    side = what == "largest" or (own.low > 0 if EXPECTED[what][1] > 0 else own.high < 0)
    if side:
        return ""
    if not (math.isfinite(own.low) and math.isfinite(own.high)):
        return "its own change has no interval"
    return "its own interval holds 0" if own.low <= 0 <= own.high else "its own change is the other way"


def beats_random(check: Mapping[str, Any], what: str) -> bool:
    """Whether a set beats random ones, by `RULE`."""
    return not why_not(check, what)


def random_sets(check: Mapping[str, Any]) -> Metric:
    """The mean of random sets, and the range of 95 % of them."""
    return metric_of({"value": check["random_mean"], "low": check["random_low"], "high": check["random_high"]})


def findings(run: Run) -> list[Finding]:
    """Those of a run's explanations."""
    return explain_findings(run.of(Explanation))


def explain_findings(explained: Mapping[str, Explanation]) -> list[Finding]:
    """A finding for each concept model, by its label."""
    findings = (_finding(plain(label), explanation) for label, explanation in explained.items())
    return [finding for finding in findings if finding is not None]


def _finding(label: str, explanation: Explanation) -> Finding | None:
    checks = {what: check for what, check in explanation.summary["check"].items() if what in EXPECTED}
    if not checks:
        return None
    n = count(int(explanation.summary["checked_items"]), "item")
    gap = [what for what in ("against", "for") if what in checks]
    moved = [what for what in gap if beats_random(checks[what], what)]
    of = f"the concepts of {label}"
    if gap and len(moved) == len(gap):
        headline = f"{capital(of)} that explain the gap move it more than random concepts do"
    elif moved:
        side = "that stand against agreement" if moved == ["against"] else "that carry agreement"
        headline = f"{capital(of)} {side} move the gap more than random concepts do; the others do not measurably"
    elif gap:
        headline = f"{capital(of)} that seem to explain the gap do not measurably move it more than random concepts"
    else:
        headline = f"No concept of {label} has a pull on the gap"
    leading = gap or list(checks)
    evidence = f"On {n} that chose none of them, {'; '.join(_briefly(what, checks[what]) for what in leading)}."
    details = "; ".join(sentence(what, check) for what, check in checks.items())
    return Finding(headline, evidence, f"{capital(details)}. {RULE}")


def _briefly(what: str, check: Mapping[str, Any]) -> str:
    """`turning off the 8 against agreement changes r by .12 [.03, .21], random sets by .01`.

    Where p alone would make it more than random, the half of the rule that it fails stands beside it.
    """
    failed = why_not(check, what)
    but = "" if failed in ("", "p > .05") else f" ({p_value(float(check['p']))}, but {failed})"
    return f"{_alone(what, check)}, random sets by {number(random_sets(check).value)}{but}"


def _alone(what: str, check: Mapping[str, Any]) -> str:
    own, verb, unit = metric_of(check), *_MEASURES[check["measure"]]
    k = len(check["concepts"])
    return f"turning off the {k} {_SETS[what]} {verb} by {number(own.value)} {interval(own)}{unit}"


def sentence(what: str, check: Mapping[str, Any]) -> str:
    """`turning off the 8 against agreement changes r by .12 [.03, .21], 20 random sets … by .01 (…, p = .048)`."""
    random = random_sets(check)
    p = f"{p_value(float(check['p']))}{too_few(check)}"
    return (
        f"{_alone(what, check)}, {count(int(check['random']), 'random set')} of equal rates by {number(random.value)} "
        f"(95 % of them in {interval(random)}, {p})"
    )


def too_few(check: Mapping[str, Any]) -> str:
    """Why p cannot be small, where there are fewer random sets than that takes; else nothing."""
    least = 1 / (1 + int(check["random"]))
    return "" if least <= SURE else ": too few other concepts for more sets, so no p of .05 can be reached"
