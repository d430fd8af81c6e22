"""The repairs of a run as the page shows them: verdict first, then how far it carries, what it broke, by which way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.damage.page import damage_shown
from accord.gap.item_json import BUDGET, SCRIPT, items_shown
from accord.pathway.page import pathway_shown
from accord.repair.page import made_shown
from accord.repair.result import RepairRecord
from accord.report import header, style
from accord.report.chapter import Chapter, FirstScreen
from accord.report.drawn import on_page
from accord.report.metric import plain
from accord.report.wording import capital, count
from accord.study.run_folder import Run
from accord.verdict.figures import draw_before_after, draw_closure, draw_every_repair
from accord.verdict.findings import best, finding, rule
from accord.verdict.frontier import draw_frontier
from accord.verdict.items import changed_items
from accord.verdict.judged import JudgedRepair, RepairGroup, judged_repairs
from accord.verdict.result import LEADS, Verdict
from accord.verdict.tables import repair_table, trial_table, within_table

_TEMPLATE = Path(__file__).with_name("page.html")
_PARTS = ("repair", "verdict", "damage", "pathway")


def chapters(run: Run) -> list[Chapter]:
    """A chapter for each base and task that was repaired."""
    groups = judged_repairs(run)
    verdicts = run.of(Verdict)
    left_out = [plain(label) for label in run.of(RepairRecord) if label not in verdicts]
    pages = []
    for i, group in enumerate(groups):
        key = "repair" if len(groups) == 1 else f"repair-{i + 1}"
        title = "Repairs" if len(groups) == 1 else f"Repairs, {group.task}"
        with style.house_style():
            values = _shown(run, group, key, BUDGET // len(groups)) | {"left_out": left_out if i == 0 else []}
        script = SCRIPT.read_text(encoding="utf-8") if values["all_items"] else ""
        answer, gist = _answer(run, group, values), f"{count(len(group.repairs), 'repair')} on {values['n']}."
        within = values["within"]["parts"] if values["within"] else []
        terms = [*values["table"]["terms"], *(part["term"] for part in within), *values["damage"]["terms"]]
        pages.append(Chapter(key, title, _TEMPLATE, values, answer, gist, leads=LEADS, script=script, terms=terms))
    if left_out and not pages:
        pages.append(Chapter("repair", "Repairs", _TEMPLATE, {"empty": True, "left_out": left_out}, leads=LEADS))
    return pages


def _shown(run: Run, group: RepairGroup, key: str, budget: int) -> dict[str, Any]:
    repairs, near, chosen = group.repairs, group.near, best(group)
    files = {repair.label: _files(run, repair) for repair in repairs}
    return {
        "empty": False,
        "findings": [finding(group)],
        "best": chosen.label,
        "closes": chosen.closes(near),
        "near": group.trials[near],
        "n": count(chosen.n(near), "item"),
        "before": on_page([draw_before_after(chosen, near), draw_every_repair(group)], key),
        "table": repair_table(group, run),
        "rule": rule(group),
        "within": within_table(group, chosen),
        "trials": trial_table(group),
        "reach": on_page([draw_frontier(group), draw_closure(group)], key),
        "damage": damage_shown(_by_seed(repairs, "damage"), chosen.label),
        "pathway": pathway_shown(_by_seed(repairs, "pathway"), chosen.label, key),
        "items": changed_items(chosen, near),
        "item_seed": chosen.first_named,
        "all_items": _all_items(chosen, near, key, budget),
        "repair": made_shown(_by_seed(repairs, "record"), files, run.folder, key),
        "missing": _missing(repairs),
    }


def _answer(run: Run, group: RepairGroup, shown: Mapping[str, Any]) -> FirstScreen:
    model, chosen = ", ".join(header.models(run)) or "the model", best(group)
    asked = (
        f"Can {model} be made to affirm, when it is asked, what it says when it completes a sentence, and what does "
        f"that break? Task: {group.task}."
    )
    over = f"{capital(shown['n'].replace('item', 'test item'))}, {count(len(chosen.seeds), 'seed')} of {chosen.label}"
    others = len(group.repairs) - 1
    over += f"; {count(others, 'other repair')} tried on the same items." if others else "."
    picture = next((figure for figure in shown["before"] if figure["name"] == "before-after"), None)
    return FirstScreen(asked, over, picture)


def _all_items(repair: JudgedRepair, trial: str, key: str, budget: int) -> dict[str, Any] | None:
    """The items of a trial before and after the repair; None where their scores are not there."""
    if (scores := repair.first.scores(trial)) is None:
        return None
    seed = f", {repair.first_named}" if repair.first_named else ""
    note = f"Before any repair, and after {repair.label}{seed}."
    label, file = f"Items before and after {repair.label}", f"{trial}.parquet"
    return items_shown(key, *scores, label=label, note=note, file=file, budget=budget)


def _by_seed(repairs: Sequence[JudgedRepair], part: str) -> dict[str, dict[int, Any]]:
    """A part of every repair (record, damage or pathway): label -> seed -> the part, or None."""
    return {repair.label: {seed.seed: getattr(seed, part) for seed in repair.seeds} for repair in repairs}


def _files(run: Run, repair: JudgedRepair) -> list[Path]:
    """The file in which each stage of a repair says what it did, seed by seed."""
    names = [(part, f"{part}/{seed.label}") for seed in repair.seeds for part in _PARTS]
    return [run.place(name) / f"{part}.json" for part, name in names if name in run.manifests]


def _missing(repairs: Sequence[JudgedRepair]) -> list[str]:
    """Which parts were not measured, and of which repairs."""
    out = []
    for part, what in (("damage", "what they broke ([damage])"), ("pathway", "their pathway ([pathway])")):
        without = [repair.label for repair in repairs if all(getattr(seed, part) is None for seed in repair.seeds)]
        if without:
            everyone = len(without) == len(repairs)
            which = "none of the repairs was tried" if everyone else f"not of {', '.join(without)}"
            out.append(f"{what}: {which}")
    return out
