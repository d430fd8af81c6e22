"""What the concept models amount to, in a plain sentence a layer."""

import math
from collections.abc import Sequence

from accord.concepts.groups import best_r2, concept_groups, is_gated, names_of, place_of
from accord.report.finding import Finding
from accord.report.metric import Metric
from accord.report.seeds import SeedGroup, differ, relabelled, seeds_of
from accord.report.wording import amount, capital, number
from accord.study.run_folder import Run

CLOSE = 0.05  # L0 that differ by less than this share count as about the same


def findings(run: Run) -> list[Finding]:
    """Those of a run's concept models."""
    return concept_findings(concept_groups(run))


def concept_findings(groups: Sequence[SeedGroup]) -> list[Finding]:
    """One for each layer: reconstructions of different layers cannot be compared."""
    layers = list(dict.fromkeys(place_of(group) for group in groups))
    findings = []
    for layer in layers:
        here = [group for group in groups if place_of(group) == layer]
        here = relabelled(here, names_of(here))  # the layer stands once, in front
        way = "From" if here[0].named("target") else "At"
        where = f"{way} layer {layer}, " if len(layers) > 1 else ""
        headline, evidence = _finding(here)
        findings.append(Finding(where + headline if where else _capital(headline), capital(evidence)))
    return findings


def _finding(groups: Sequence[SeedGroup]) -> tuple[str, str]:
    ranked = sorted((g for g in groups if math.isfinite(best_r2(g).value)), key=lambda g: -best_r2(g).value)
    if not ranked:
        return "how well the concept models reconstruct is not known", ""
    over = f"over {seeds_of(ranked[:2])}"
    if len(ranked) == 1:
        best = ranked[0]
        return (
            f"{best.label} reconstructs {_share(best_r2(best).value)} of the variance",
            f"{_numbers(best).removesuffix(',')}, {over}.",
        )
    best, other = ranked[:2]
    of = f"; the best two of {len(ranked)} concept models" if len(ranked) > 2 else ""
    unsure = differ(best_r2(best), best_r2(other)) is None
    chance = "; too few seeds to tell the difference from chance" if unsure else ""
    numbers = f"{_numbers(best).removesuffix(',')}, against {_numbers(other)} for {other.label}"
    return _comparison(best, other), f"{numbers}, {over}{of}{chance}."


def _comparison(best: SeedGroup, other: SeedGroup) -> str:
    """Who reconstructs better, and at what price in active concepts."""
    clear = differ(best_r2(best), best_r2(other))
    if clear is False or best_r2(best).value == best_r2(other).value:
        both = f"{best.label} and {other.label} reconstruct equally well, as far as the seeds can tell"
        return both + _price(best, other)
    sparser = _sparser(best, other)
    if sparser is None:
        with_what = ""
    elif sparser == 0:
        with_what = " with about as many active concepts"
    else:
        with_what = " with fewer active concepts" if sparser > 0 else ", but with more active concepts"
    verb = "reconstructs" if clear else "may reconstruct"
    return f"{best.label} {verb} better than {other.label}{with_what}"


def _price(best: SeedGroup, other: SeedGroup) -> str:
    sparser = _sparser(best, other)
    if not sparser:
        return ", with about as many active concepts" if sparser == 0 else ""
    return f", {(best if sparser > 0 else other).label} with fewer active concepts"


def _sparser(best: SeedGroup, other: SeedGroup) -> int | None:
    """1 where `best` uses fewer concepts, −1 where more, 0 where about as many, None where not known."""
    a, b = best.metric("l0").value, other.metric("l0").value
    if not (math.isfinite(a) and math.isfinite(b)):
        return None
    return 0 if abs(a - b) <= CLOSE * max(a, b) else (1 if a < b else -1)


def _numbers(group: SeedGroup) -> str:
    """`R² .590 [.582, .598] at L0 10.3 and CE recovered .760 [.752, .768], with hard gates`."""
    hard = is_gated(group)
    parts = [f"R² {_joined(best_r2(group))} at L0 {amount(group.metric('l0'))[0]}"]
    recovered = group.metric("ce_recovered_hard" if hard else "ce_recovered")
    if recovered.known:
        parts.append(f"CE recovered {_joined(recovered)}")
    return " and ".join(parts) + (", gates hard," if hard else "")


def _joined(metric: Metric) -> str:
    return "\N{NO-BREAK SPACE}".join(part for part in amount(metric) if part)


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0 else f"less than nothing ({number(value)})"


def _capital(text: str) -> str:
    """A name at the start keeps its own spelling; only our own words get a capital."""
    return "How" + text[3:] if text.startswith("how ") else text
