"""The tables of the verdict, every number already put into words: a row a repair, and every trial."""

from collections.abc import Sequence
from typing import Any

from accord.damage.over_seeds import factor, perplexity, specificity
from accord.gap.glossary import term
from accord.gap.metrics import sample
from accord.report.glossary import ACCURACY, AUC, SAME_TOP, Term
from accord.report.links import href
from accord.report.metric import UNKNOWN, Metric
from accord.report.wording import count, interval, measured, number
from accord.study.run_folder import Run
from accord.verdict.judged import CORRELATIONS, JudgedRepair, RepairGroup

Cell = dict[str, str]

# Measures within prompts, in the order of their table, each with the same over all items; concordance has none there.
WITHIN_PROMPTS = {
    "within_pearson": "pearson_all",
    "within_spearman": "spearman_all",
    "within_concordance": None,
    "within_validator_auc": "validator_auc",
    "within_validator_accuracy": "validator_accuracy",
    "within_generator_auc": "generator_auc",
}

_NONE: Cell = {"value": "–", "interval": "", "note": ""}
_UNSEEN = {"unseen-hypernyms": "test-unseen-hypernyms", "unseen-both": "test-unseen-both"}

_COMPARE = "accord.gap.change"
_VERDICT = "accord.verdict.measure"
_METRICS = "accord.gap.metrics"
_R = "cov(l_G, l_V) / (sd l_G · sd l_V)"

# Columns of the table of repairs, in order.
TERMS: dict[str, Term] = {
    "closure": Term(
        "Closed",
        "share of the gap that is closed on test items: (r after − r before) / (1 − r before), r over all items; "
        "1 is perfect agreement of the two forms, 0 nothing gained, below 0 lost",
        f"{_COMPARE}.Change",
        "(r after − r before) / (1 − r before), r over all items",
    ),
    "pearson_all": Term(
        "r, all", "correlation of generator and validator log-odds over all test items, after the repair", _METRICS, _R
    ),
    "pearson_yes": Term(
        "r, right",
        "the same within right answers, where merely telling right from wrong gains nothing",
        _METRICS,
        f"{_R}, over right answers",
    ),
    "pearson_no": Term("r, wrong", "the same within wrong answers", _METRICS, f"{_R}, over wrong answers"),
    "unseen-hypernyms": Term(
        "r, unseen categories", "r, all, on items whose category no training item has", _VERDICT, _R
    ),
    "unseen-both": Term("r, unseen words", "r, all, on items of which no training item has either word", _VERDICT, _R),
    "wordings": Term(
        "r, other wordings",
        "r, all, on test items asked or completed in other words; mean over the wordings",
        _VERDICT,
        f"mean over wordings of {_R}",
    ),
    "validator_auc": Term(
        "Validator AUC",
        "chance that a right answer is affirmed more than a wrong one, when asked",
        f"{_METRICS}.auc",
        AUC.format("l_V"),
    ),
    "validator_accuracy": Term(
        "Accuracy",
        "share of items on which yes or no is right (log-odds above or below 0); the order may be right (AUC) and the "
        "threshold not",
        f"{_METRICS}.MEASURES",
        ACCURACY,
    ),
    "generator_auc": Term(
        "Generator AUC, change",
        "what the repair did to the form that knew: after − before",
        f"{_COMPARE}.Change",
        f"after − before of {AUC.format('l_G')}",
    ),
    "perplexity": Term(
        "Perplexity ×",
        "perplexity on held-out text, repaired / base, same texts: exp of the mean difference in nats a token",
        "accord.damage.measures",
        "exp(Σ (log p − log q) / tokens), p the base's probability of a token, q the repaired model's",
    ),
    "specificity": Term(
        "Others unmoved",
        "specificity: share of prompts about other relations (part–whole, synonyms, capitals, …) whose most likely "
        "next token is still the base model's",
        "accord.damage.measures",
        SAME_TOP,
    ),
    "seconds": Term("Seconds", "time to make the repair, with the one that it goes on from", "verdict.json"),
}


def repair_table(group: RepairGroup, run: Run) -> dict[str, Any]:
    """One row a repair, the base model above them; columns that nothing fills are left out."""
    whole = [{name: _cell_of(group, repair, name) for name in TERMS} for repair in group.repairs]
    used = [name for name in TERMS if any(row[name] != _NONE for row in whole)]

    def each(repair: JudgedRepair) -> list[dict[str, Any]]:
        alone = [JudgedRepair(repair.label, [seed]) for seed in repair.seeds]
        return [
            {
                "label": repair.label,
                "seed": single.first.seed,
                "href": href(run.place(f"verdict/{single.first.label}") / "verdict.json", run.folder),
                "cells": [_cell_of(group, single, name) for name in used],
            }
            for single in alone
        ]

    return {
        "terms": [TERMS[name] for name in used],
        "base": [_base_cell(group, name) for name in used],
        "rows": [
            {
                "label": repair.label,
                "kind": "" if repair.kind in repair.label else repair.kind,
                "seeds": len(repair.seeds),
                "cells": [row[name] for name in used],
            }
            for repair, row in zip(group.repairs, whole, strict=True)
        ],
        "each": [row for repair in group.repairs for row in each(repair)],
        "several": any(len(repair.seeds) > 1 for repair in group.repairs),
        "single": any(len(repair.seeds) == 1 for repair in group.repairs),
    }


def trial_table(group: RepairGroup) -> dict[str, Any]:
    """Every trial of every repair: items, each correlation before and after, and what of it closed.

    Within prompts it is the change that stands beside: the mean of correlations has no closure.
    """
    tried = [
        (trial, repair) for trial in group.trials for repair in group.repairs if repair.changes(trial, "pearson_all")
    ]
    inside = any(repair.metric(trial, "within_pearson").known for trial, repair in tried)
    columns = [part for name in ("all", "right", "wrong") for part in ((f"r, {name}", ""), ("Closed", name))]
    columns += [("r, within prompts", ""), ("Change", "within prompts")] if inside else []
    rows = []
    for trial, repair in tried:
        cells = [
            cell
            for measure in CORRELATIONS
            for cell in (_moved(repair, trial, measure), _cell(repair.metric(trial, measure, "closure")))
        ]
        cells += _both(repair, trial, "within_pearson") if inside else ()
        n = count(repair.n(trial), "item")
        rows.append({"title": group.trials[trial], "label": repair.label, "n": n, "cells": cells})
    return {"columns": columns, "rows": rows}


def within_table(group: RepairGroup, chosen: JudgedRepair) -> dict[str, Any] | None:
    """Every measure within prompts on the nearest trial, a row a repair, beside the same over all items.

    None where no prompt has answers to compare. `lead` tells of `chosen`.
    """
    near, parts = group.near, []
    for name, pooled in WITHIN_PROMPTS.items():
        if any(repair.metric(near, name).known for repair in group.repairs):
            rows = [
                {"label": repair.label, "cells": [*_both(repair, near, name), *_both(repair, near, pooled)]}
                for repair in group.repairs
            ]
            parts.append({"term": term(name), "rows": rows})
    if not parts:
        return None
    return {"lead": _within_lead(chosen, near), "parts": parts, "note": _within_note(group)}


def _both(repair: JudgedRepair, trial: str, measure: str | None) -> tuple[Cell, Cell]:
    """Before and after, and the change."""
    return (_moved(repair, trial, measure), _change(repair, trial, measure)) if measure else (_NONE, _NONE)


def _within_lead(repair: JudgedRepair, trial: str) -> str:
    """What the repair changed among the answers to one prompt; empty where that is not defined."""
    before, after = repair.before(trial, "within_pearson"), repair.metric(trial, "within_pearson")
    if not (before.known and after.known):
        return ""
    pooled = repair.before(trial, "pearson_all"), repair.metric(trial, "pearson_all")
    return (
        f"Among the answers to one prompt, {repair.label} takes r from {number(before.value)} to {measured(after)}; "
        f"over all items, from {number(pooled[0].value)} to {measured(pooled[1])}."
    )


def _within_note(group: RepairGroup) -> str:
    """Of how many prompts the means are, as far as the scores are there."""
    tables = (seed.verdict.after.get(group.near) for repair in group.repairs for seed in repair.seeds)
    scores = next((table for table in tables if table is not None), None)
    of = "the prompts"
    if scores is not None:
        columns = sample(scores)
        of = f"{len(columns.compared):,} of {count(columns.prompts, 'prompt')}"
    return (
        f"Within prompts: the mean over {of}, those with four answers or more, right and wrong ones; brackets are over "
        "prompts, those of a change over the same prompts before and after. Over all items, that all answers to one "
        "prompt score above those to another counts, too."
    )


def _source(group: RepairGroup, name: str) -> tuple[str, str]:
    """The trial and the measure that a column is of."""
    return (_UNSEEN[name], "pearson_all") if name in _UNSEEN else (group.near, name)


def _cell_of(group: RepairGroup, repair: JudgedRepair, name: str) -> Cell:
    """A column of a repair."""
    if name == "closure":
        return _cell(repair.metric(group.near, "pearson_all", "closure"))
    if name == "wordings":
        return _cell(repair.mean_of(group.reworded, "pearson_all"))
    if name == "perplexity":
        ratio = perplexity(repair.damages)
        return {**dict(zip(("value", "interval"), factor(ratio), strict=True)), "note": ""} if ratio.known else _NONE
    if name == "specificity":
        return _cell(specificity(repair.damages))
    if name == "seconds":
        return {**_NONE, "value": f"{repair.seconds.value:,.0f}"} if repair.seconds.known else _NONE
    trial, measure = _source(group, name)
    signed = name == "generator_auc"
    metric = repair.metric(trial, measure, "change" if signed else "after")
    return _cell(metric, _fell(repair.each(trial, measure, "change")), signed=signed)


def _base_cell(group: RepairGroup, name: str) -> Cell:
    """The base model's own numbers, where a column has one: the same for all repairs."""
    if name == "wordings":
        mean = _first([repair.mean_of(group.reworded, "pearson_all", "before") for repair in group.repairs])
        return _cell(Metric(mean.value, UNKNOWN.low, UNKNOWN.high))
    before = _first([repair.before(*_source(group, name)) for repair in group.repairs])
    return _cell(before, "its AUC" if name == "generator_auc" else "")


def _first(metrics: Sequence[Metric]) -> Metric:
    return next((metric for metric in metrics if metric.known), UNKNOWN)


def _cell(metric: Metric, note: str = "", *, signed: bool = False) -> Cell:
    if not metric.known:
        return _NONE
    if not signed:
        return {"value": number(metric.value), "interval": interval(metric), "note": note}
    if not any(metric):
        return {"value": "0", "interval": "", "note": note}
    # three digits: a change may be small and beyond doubt
    return {"value": number(metric.value, 3, signed=True), "interval": interval(metric, 3), "note": note}


def _moved(repair: JudgedRepair, trial: str, measure: str) -> Cell:
    """`.01 → .84`, the interval being that of the second."""
    before, after = repair.before(trial, measure), repair.metric(trial, measure)
    if not (before.known or after.known):
        return _NONE
    return {"value": f"{number(before.value)} → {number(after.value)}", "interval": interval(after), "note": ""}


def _change(repair: JudgedRepair, trial: str, measure: str) -> Cell:
    """After − before on the same items."""
    changes = repair.each(trial, measure, "change")
    return _cell(repair.metric(trial, measure, "change"), _fell(changes), signed=True)


def _fell(changes: Sequence[Metric]) -> str:
    """A mark where a measure fell beyond chance, over the items of every seed."""
    return "▾ worse" if changes and all(change.high < 0 for change in changes) else ""
