"""What the repairs of a run amount to, in plain words that are right in every case: closed how far, at what cost."""

import math
from collections.abc import Sequence

import pandas as pd

from accord.damage.wording import harms as damage_harms
from accord.report.data import Metric
from accord.report.finding import Finding
from accord.report.repair_glossary import DAMAGE_GROUPS, damage_term, in_sentence
from accord.report.repair_groups import Repair, furthest, nearest, pooled, trials_of, within
from accord.report.wording import capital, count, measured, number

BUDGET = 1.05  # perplexity on held-out text may grow by this factor at most, for a repair to be named first
MOST_WORSE = 3  # what got worse is listed up to here; the table has all of it
THRESHOLD_OFF = 0.1  # accuracy this far below the AUC: the order is right and the yes/no threshold is not
_NAMES = {
    "test": "on test items",
    "test-unseen-hypernyms": "on categories that no training item has",
    "test-unseen-both": "on words that no training item has",
}


def best(repairs: Sequence[Repair]) -> Repair:
    """The repair that is named first; see `rule`."""
    near, far = nearest(repairs), furthest(repairs)

    def place(repair: Repair) -> tuple[bool, bool, float, float]:
        closure = [repair.metric(trial, "pearson_all", "closure").value for trial in (far, near)]
        known = [value if math.isfinite(value) else -math.inf for value in closure]
        return repair.closes(near), within_budget(repair) is not False, known[0], known[1]

    return max(repairs, key=place)


def rule(repairs: Sequence[Repair]) -> str:
    """By which rule a repair is named first, for the page."""
    where = _where(furthest(repairs), repairs)
    return (
        f"Named first: of the repairs that close the gap beyond chance {_where(nearest(repairs), repairs)} and keep "
        f"perplexity on held-out text within × {BUDGET:g}, the one that closes most {where}."
    )


def within_budget(repair: Repair) -> bool | None:
    """Whether perplexity stays within the budget; None where it was not measured."""
    metric = repair.perplexity
    return bool(metric.value <= BUDGET) if metric.known else None


def finding(repairs: Sequence[Repair]) -> Finding:
    """The sentence on the repairs of one base and task."""
    chosen, near = best(repairs), nearest(repairs)
    if not chosen.closes(near):
        return _none_closes(repairs, chosen, near)
    closure, cost = chosen.metric(near, "pearson_all", "closure"), "at a cost not measured"
    if chosen.perplexity.known:
        cost = f"perplexity × {factor(chosen.perplexity)[0]}"
    headline = f"{chosen.label} closes {share(closure.value)} of the gap, {cost}"
    parts = [_correlates(chosen, near), _carries(chosen, near, furthest(repairs), repairs), _broke(chosen)]
    evidence = ". ".join(part for part in parts if part) + "."
    return Finding(headline, evidence, _within(chosen, near), _remarks(chosen, near), _others(repairs, chosen, near))


def share(value: float) -> str:
    """A closure as a percentage, never rounded to all of it."""
    if not math.isfinite(value):
        return "an unknown share"
    shown = f"{min(value, 0.99) if value < 1 else value:.0%}"
    return "0%" if shown == "-0%" else shown.replace("-", "−")


def factor(metric: Metric) -> tuple[str, str]:
    """A ratio near 1 and its interval: `1.004`, `[1.002, 1.006]`."""
    digits = 3 if abs(metric.value - 1) < 0.1 else 2
    value = number(metric.value, digits, bare=False) if metric.value < 1000 else f"{metric.value:,.0f}"
    if not (math.isfinite(metric.low) and math.isfinite(metric.high)):
        return value, ""
    low, high = (number(end, digits, bare=False) for end in (metric.low, metric.high))
    return value, f"[{low},\N{NO-BREAK SPACE}{high}]"


def worsened(repair: Repair) -> list[str]:
    """What is clearly worse in at least half of the seeds, of what can be: one of each group before any second one."""
    tables = harms(repair)
    hits: dict[tuple[str, str], list[pd.Series]] = {}
    for table in tables:
        for _, row in table[table["worsened"]].iterrows():
            hits.setdefault((row["group"], row["measure"]), []).append(row)
    often = [(group, rows) for (group, _), rows in hits.items() if 2 * len(rows) >= len(tables)]
    groups = [group for group, _ in often]
    nth = [groups[:i].count(group) for i, group in enumerate(groups)]
    return [_worse(often[i][1]) for i in sorted(range(len(often)), key=nth.__getitem__)]


def harms(repair: Repair) -> list[pd.DataFrame]:
    """Of each seed, the rows of damage that can get worse."""
    return [damage_harms(one.damage.table) for one in repair.seeds if one.damage is not None]


def _worse(rows: Sequence[pd.Series]) -> str:
    """`perplexity (held-out text) × 1.02 [1.01, 1.03]`."""
    metric = pooled([Metric(row["change"], row["low"], row["high"]) for row in rows])
    group = rows[0]["group"]
    name = f"{in_sentence(damage_term(rows[0]['measure']).label)} ({DAMAGE_GROUPS.get(group, group)})"
    if rows[0]["ratio"]:
        return f"{name} × {' '.join(factor(metric)).strip()}"
    return f"{name} {'+' if metric.value > 0 else ''}{measured(metric, 3 if abs(metric.value) < 0.01 else 2)}"


def _correlates(repair: Repair, near: str) -> str:
    """Before and after, with items and seeds."""
    before, after = repair.before(near, "pearson_all"), repair.metric(near, "pearson_all")
    seeds, n = count(len(repair.seeds), "seed"), count(repair.n(near), "test item")
    return f"The two forms now correlate with r = {measured(after)}, before with {number(before.value)} ({n}, {seeds})"


def _within(repair: Repair, near: str) -> str:
    """The interval of what was before, and the correlations within the classes."""
    parts = [f"before the repair, r = {measured(repair.before(near, 'pearson_all'))} over all items"]
    for name, label in (("pearson_yes", "right"), ("pearson_no", "wrong")):
        if (r := repair.metric(near, name)).known:
            parts.append(f"within {label} answers now {measured(r)}, before {number(repair.before(near, name).value)}")
    return f"{capital('; '.join(parts))}."


def _carries(repair: Repair, near: str, far: str, repairs: Sequence[Repair]) -> str:
    """What is left of it on the items furthest from the training items."""
    if far == near:
        return ""
    where, r = _where(far, repairs), repair.metric(far, "pearson_all")
    where = where[0].upper() + where[1:]
    if not r.known:
        return f"{where} it was not measured"
    closure = repair.metric(far, "pearson_all", "closure")
    if repair.closes(far):
        return f"{where}: r = {measured(r)}, closing {share(closure.value)}"
    return f"{where} the gap is not shown to close (r = {measured(r)}, closure {measured(closure)})"


def _broke(repair: Repair) -> str:
    """What got worse, in the same breath."""
    if not repair.damaged:
        return "What it broke was not measured"
    worse, tables = worsened(repair), harms(repair)
    n = count(max(len(table) for table in tables), "measure")
    if not any(table["low"].notna().any() for table in tables):
        return "What got worse cannot be said, as damage was measured without intervals"
    if not worse:
        return f"Of {n} of damage none is clearly worse"
    more = f", and {len(worse) - MOST_WORSE} more" if len(worse) > MOST_WORSE else ""
    return f"Worse, of {n} of damage: {', '.join(worse[:MOST_WORSE])}{more}"


def _none_closes(repairs: Sequence[Repair], chosen: Repair, near: str) -> Finding:
    before, after = chosen.before(near, "pearson_all"), chosen.metric(near, "pearson_all")
    closure = chosen.metric(near, "pearson_all", "closure")
    if chosen.metric(near, "pearson_all", "change").high < 0:
        why = "it widens the gap"
    elif math.isfinite(closure.low):
        why = "which chance can explain" if closure.low <= 0 else "which not every seed shows beyond chance"
    else:
        why = "and without an interval nobody can say what is chance"
    what = "The repair is" if len(repairs) == 1 else f"None of {len(repairs)} repairs is"
    evidence = (
        f"{'It' if len(repairs) == 1 else chosen.label} takes the correlation of the two forms from {measured(before)} "
        f"to {measured(after)} ({count(chosen.n(near), 'test item')}, {count(len(chosen.seeds), 'seed')}), closure "
        f"{measured(closure)}, {why}. {_broke(chosen)}."
    )
    headline = f"{what} {'not ' if len(repairs) == 1 else ''}shown to close the gap"
    return Finding(headline, evidence, _within(chosen, near), _remarks(chosen, near), _others(repairs, chosen, near))


def _remarks(chosen: Repair, near: str) -> list[str]:
    out = [leaning] if (leaning := _leaning(chosen)) else []
    r, inside = chosen.metric(near, "pearson_all"), within(chosen, near)
    if inside and chosen.closes(near) and r.value - sum(m.value for m in inside) / len(inside) >= 0.2:
        out.append(
            "Much of that correlation is only right and wrong lying apart: judge the repair by the correlations within "
            "right and within wrong answers."
        )
    open_classes = [
        label
        for name, label in (("pearson_yes", "right"), ("pearson_no", "wrong"))
        if chosen.closes(near) and chosen.changed(near, name) and not chosen.closes(near, name)
    ]
    if open_classes:
        out.append(f"Among {' and among '.join(open_classes)} answers alone, the gap is not shown to close.")
    auc, accuracy = chosen.metric(near, "validator_auc"), chosen.metric(near, "validator_accuracy")
    if auc.known and accuracy.known and auc.value - accuracy.value > THRESHOLD_OFF:
        out.append(
            f"Asked, it orders the items with AUC {number(auc.value)}, but says yes or no rightly to only "
            f"{accuracy.value:.0%}: its threshold is off, which a repair of kind calibrate mends."
        )
    gain = chosen.metric(near, "validator_accuracy", "change")
    if gain.low > 0 and not chosen.closes(near):
        out.append(f"Its yes or no is right more often than before, though: {measured(accuracy)} of the items.")
    drop = chosen.metric(near, "generator_auc", "change")
    if drop.high < 0:
        out.append(f"The generator itself tells right from wrong less well than before: AUC {measured(drop)}.")
    if within_budget(chosen) is False:
        out.append(f"Its perplexity is beyond the budget of × {BUDGET:g}; no repair that closes the gap keeps to it.")
    if len(chosen.seeds) == 1 and chosen.first.curve is not None:
        out.append("One seed: how much of this depends on the seed is not known.")
    return out


def _leaning(repair: Repair) -> str:
    """Whether, asked about other relations, it says yes more or less often: no harm by itself, but no judgement."""
    rows = repair.of_damage(lambda t: (t["group"] == "relations") & (t["measure"] == "yes_share"))
    if not rows:
        return ""
    change = pooled([Metric(row["change"], row["low"], row["high"]) for row in rows])
    if not (change.low > 0 or change.high < 0):
        return ""
    base, after = (sum(float(row[side]) for row in rows) / len(rows) for side in ("base", "repaired"))
    said = f"Asked about other relations, it says yes to {after:.0%} of the questions, of which half are right"
    return f"{said}; the base model to {base:.0%}."


def _others(repairs: Sequence[Repair], chosen: Repair, near: str) -> str:
    """One line on all the others, so that the first is not taken for the only one."""
    rest = [r for r in repairs if r is not chosen]
    closing = sorted((r for r in rest if r.closes(near)), key=lambda r: -r.metric(near, "pearson_all", "closure").value)
    said = [f"{r.label} {share(r.metric(near, 'pearson_all', 'closure').value)}" + _priced(r) for r in closing]
    text = f"The other repairs close, {_where(near, repairs)}: {', '.join(said)}." if said else ""
    failed = [r.label for r in rest if not r.closes(near)]
    if failed and chosen.closes(near):
        text += f"{' ' if text else ''}Not shown to close it: {', '.join(failed)}."
    return text


def _priced(repair: Repair) -> str:
    return f" (perplexity × {factor(repair.perplexity)[0]})" if repair.perplexity.known else ""


def _where(trial: str, repairs: Sequence[Repair]) -> str:
    return _NAMES.get(trial) or f"on {trials_of(repairs).get(trial, trial)}"
