"""What the repairs of a question amount to, in words that are right in every case: closed how far, at what cost."""

import math

from accord.damage.over_seeds import factor, harms, leaning, perplexity, worsened
from accord.report.finding import Finding
from accord.report.wording import capital, count, equals, measured, number
from accord.study.run_folder import Run
from accord.verdict.judged import JudgedRepair, RepairGroup, judged_repairs

BUDGET = 1.05  # perplexity on held-out text may grow by this factor at most, for a repair to be named first
MOST_WORSE = 3  # what got worse is listed up to here; the table has all of it
THRESHOLD_OFF = 0.1  # accuracy this far below the AUC: the order is right and the yes/no threshold is not
_NAMES = {
    "test": "on test items",
    "test-unseen-hypernyms": "on categories that no training item has",
    "test-unseen-both": "on words that no training item has",
}
_CLASSES = (("pearson_yes", "right"), ("pearson_no", "wrong"))


def best(group: RepairGroup) -> JudgedRepair:
    """The repair that is named first; see `rule`."""

    def place(repair: JudgedRepair) -> tuple[bool, bool, float, float]:
        closures = (repair.metric(trial, "pearson_all", "closure").value for trial in (group.far, group.near))
        far, near = (value if math.isfinite(value) else -math.inf for value in closures)
        return repair.closes(group.near), not _beyond_budget(repair), far, near

    return max(group.repairs, key=place)


def rule(group: RepairGroup) -> str:
    """By which rule the repair is named first that is, for the page: as far as the rule has anything to choose from."""
    near, far = _where(group, group.near), _where(group, group.far)
    budget = f"perplexity on held-out text within × {BUDGET:g}"
    closing = [repair for repair in group.repairs if repair.closes(group.near)]
    cheap = [repair for repair in closing or group.repairs if not _beyond_budget(repair)]
    if closing:
        of = f"the repairs that close the gap beyond chance {near}"
        of += f" and keep {budget}" if cheap else f" (none keeps {budget})"
        return f"Named first: of {of}, the one that closes most {far}."
    of = f"of those that keep {budget}" if cheap else f"none keeping {budget}"
    return f"No repair is shown to close the gap {near}. Named first: {of}, the one with the largest closure {far}."


def findings(run: Run) -> list[Finding]:
    """One for each question whose repairs a run has."""
    return [finding(group) for group in judged_repairs(run)]


def finding(group: RepairGroup) -> Finding:
    """The sentence on the repairs of one question."""
    chosen, near = best(group), group.near
    headline, evidence = (_closes if chosen.closes(near) else _none_closes)(group, chosen)
    return Finding(headline, evidence, _within(chosen, near), _remarks(chosen, near), _others(group, chosen))


def share(value: float) -> str:
    """A closure as a percentage, never rounded to all of it.

    >>> share(0.42), share(0.998), share(-0.1)
    ('42%', '99%', '−10%')
    """
    if not math.isfinite(value):
        return "an unknown share"
    percent = f"{min(value, 0.99) if value < 1 else value:.0%}"
    return "0%" if percent == "-0%" else percent.replace("-", "−")


def _beyond_budget(repair: JudgedRepair) -> bool:
    """Whether perplexity is known to have grown too much."""
    ratio = perplexity(repair.damages)
    return ratio.known and ratio.value > BUDGET


def _closes(group: RepairGroup, chosen: JudgedRepair) -> tuple[str, str]:
    """Headline and evidence where a repair closes the gap beyond chance."""
    near, ratio = group.near, perplexity(chosen.damages)
    closure = chosen.metric(near, "pearson_all", "closure")
    cost = f"perplexity × {factor(ratio)[0]}" if ratio.known else "at a cost not measured"
    headline = f"{chosen.label} closes {share(closure.value)} of the gap, {cost}"
    before, after = chosen.before(near, "pearson_all"), chosen.metric(near, "pearson_all")
    n = f"{count(chosen.n(near), 'test item')}, {count(len(chosen.seeds), 'seed')}"
    correlate = f"The two forms now correlate with {equals('r', after)}, before with {number(before.value)} ({n})"
    parts = [correlate, _carries(group, chosen), _broke(chosen)]
    return headline, ". ".join(part for part in parts if part) + "."


def _carries(group: RepairGroup, repair: JudgedRepair) -> str:
    """What is left of it on the items furthest from the training items."""
    far = group.far
    if far == group.near:
        return ""
    where, r = capital(_where(group, far)), repair.metric(far, "pearson_all")
    if not r.known:
        return f"{where} it was not measured"
    closure = repair.metric(far, "pearson_all", "closure")
    if repair.closes(far):
        return f"{where}: {equals('r', r)}, closing {share(closure.value)}"
    return f"{where} the gap is not shown to close ({equals('r', r)}, closure {measured(closure)})"


def _broke(repair: JudgedRepair) -> str:
    """What got worse, in the same breath."""
    if not repair.damages:
        return "What it broke was not measured"
    worse, tables = worsened(repair.damages), harms(repair.damages)
    n = count(max(len(table) for table in tables), "measure")
    if not any(table["low"].notna().any() for table in tables):
        return "What got worse cannot be said, as damage was measured without intervals"
    if not worse:
        return f"Of {n} of damage none is clearly worse"
    more = f", and {len(worse) - MOST_WORSE} more" if len(worse) > MOST_WORSE else ""
    return f"Worse, of {n} of damage: {', '.join(worse[:MOST_WORSE])}{more}"


def _none_closes(group: RepairGroup, chosen: JudgedRepair) -> tuple[str, str]:
    """Headline and evidence where none does."""
    near, alone = group.near, len(group.repairs) == 1
    before, after = chosen.before(near, "pearson_all"), chosen.metric(near, "pearson_all")
    closure = chosen.metric(near, "pearson_all", "closure")
    if chosen.metric(near, "pearson_all", "change").high < 0:
        why = "it widens the gap"
    elif math.isfinite(closure.low):
        why = "which chance can explain" if closure.low <= 0 else "which not every seed shows beyond chance"
    else:
        why = "and without an interval nobody can say what is chance"
    evidence = (
        f"{'It' if alone else chosen.label} takes the correlation of the two forms from {measured(before)} to "
        f"{measured(after)} ({count(chosen.n(near), 'test item')}, {count(len(chosen.seeds), 'seed')}), closure "
        f"{measured(closure)}, {why}. {_broke(chosen)}."
    )
    none = "The repair is not" if alone else f"None of {len(group.repairs)} repairs is"
    return f"{none} shown to close the gap", evidence


def _within(repair: JudgedRepair, near: str) -> str:
    """The interval of what was before, and the correlations within the classes."""
    parts = [f"before the repair, {equals('r', repair.before(near, 'pearson_all'))} over all items"]
    for name, label in _CLASSES:
        if (r := repair.metric(near, name)).known:
            parts.append(f"within {label} answers now {measured(r)}, before {number(repair.before(near, name).value)}")
    return f"{capital('; '.join(parts))}."


def _remarks(chosen: JudgedRepair, near: str) -> list[str]:
    """What to know before quoting it."""
    remarks = [leaning(chosen.damages)]
    closes, r = chosen.closes(near), chosen.metric(near, "pearson_all")
    inside = [metric.value for name, _ in _CLASSES if (metric := chosen.metric(near, name)).known]
    if inside and closes and r.value - sum(inside) / len(inside) >= 0.2:
        remarks.append(
            "Much of that correlation is only right and wrong lying apart: judge the repair by the correlations within "
            "right and within wrong answers."
        )
    still_open = [label for name, label in _CLASSES if chosen.changes(near, name) and not chosen.closes(near, name)]
    if still_open and closes:
        remarks.append(f"Among {' and among '.join(still_open)} answers alone, the gap is not shown to close.")
    remarks.append(_among_answers(chosen, near, closes))
    auc, accuracy = chosen.metric(near, "validator_auc"), chosen.metric(near, "validator_accuracy")
    if auc.known and accuracy.known and auc.value - accuracy.value > THRESHOLD_OFF:
        remarks.append(
            f"Asked, it orders the items with AUC {number(auc.value)}, but says yes or no rightly to only "
            f"{accuracy.value:.0%}: its threshold is off, which a repair of kind calibrate mends."
        )
    if chosen.metric(near, "validator_accuracy", "change").low > 0 and not closes:
        remarks.append(f"Its yes or no is right more often than before, though: {measured(accuracy)} of the items.")
    drop = chosen.metric(near, "generator_auc", "change")
    if drop.high < 0:
        remarks.append(f"The generator itself tells right from wrong less well than before: AUC {measured(drop)}.")
    if _beyond_budget(chosen):
        others = "no repair that closes the gap keeps to it" if closes else "no repair keeps to it"
        remarks.append(f"Its perplexity is beyond the budget of × {BUDGET:g}; {others}.")
    if len(chosen.seeds) == 1 and chosen.first.trained:
        remarks.append("One seed: how much of this depends on the seed is not known.")
    return [remark for remark in remarks if remark]


def _among_answers(chosen: JudgedRepair, near: str, closes: bool) -> str:
    """Where agreement among the answers to one prompt tells otherwise than that over all items; else nothing."""
    change, r = chosen.metric(near, "within_pearson", "change"), chosen.metric(near, "within_pearson")
    sides = f"r {measured(r)}, before {number(chosen.before(near, 'within_pearson').value)}"
    if closes and change.low <= 0:
        return (
            "Among the answers to one prompt, the two forms are not shown to agree more than before "
            f"({sides}): over all items it also counts that prompts differ in how high all their answers score."
        )
    if not closes and change.low > 0:
        return f"Among the answers to one prompt, the two forms do agree more than before, though ({sides})."
    return ""


def _others(group: RepairGroup, chosen: JudgedRepair) -> str:
    """One line on all the others, so that the first is not taken for the only one."""
    near, rest = group.near, [repair for repair in group.repairs if repair is not chosen]
    closing = [(repair.metric(near, "pearson_all", "closure").value, repair) for repair in rest if repair.closes(near)]
    closing.sort(key=lambda pair: -pair[0])
    parts = [f"{repair.label} {share(closure)}{_priced(repair)}" for closure, repair in closing]
    text = f"The other repairs close, {_where(group, near)}: {', '.join(parts)}." if parts else ""
    failed = [repair.label for repair in rest if not repair.closes(near)]
    if failed and chosen.closes(near):
        text += f"{' ' if text else ''}Not shown to close it: {', '.join(failed)}."
    return text


def _priced(repair: JudgedRepair) -> str:
    ratio = perplexity(repair.damages)
    return f" (perplexity × {factor(ratio)[0]})" if ratio.known else ""


def _where(group: RepairGroup, trial: str) -> str:
    return _NAMES.get(trial) or f"on {group.trials[trial]}"
