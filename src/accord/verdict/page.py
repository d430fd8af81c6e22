"""The repairs of a run as the page shows them: verdict first, then how far it carries, what it broke, by which way."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from accord.report import style
from accord.report.draw_damage import draw_frontier
from accord.report.draw_pathway import BRIEFLY, PATHWAY_FIGURES, draw_pathway
from accord.report.draw_repair import draw_before_after, draw_closure, draw_every_repair
from accord.report.draw_repair_training import draw_repair_training
from accord.report.drawn import Drawn
from accord.report.gap_page import flat
from accord.report.repair_data import DAMAGE, PATHWAY, REPAIR, VERDICT, Repairs, read_repairs
from accord.report.repair_groups import Repair, grouped, nearest, trials_of
from accord.report.repair_items import changed_items, samples
from accord.report.repair_tables import damage_table, damage_terms, method_table, trial_rows
from accord.report.repair_verdict import best, finding, rule
from accord.report.wording import count

PATHWAY_BUDGET = 1_500_000  # bytes of figures; pathways beyond it are named, and lie in their folders

Figures = list[dict[str, Any]]


def repair_pages(run: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """(key, title, what `repair.html` shows) for each base and task that was repaired."""
    found = read_repairs(run)
    groups = grouped(found)
    pages = []
    for i, ((_, task), repairs) in enumerate(groups.items()):
        key = "repair" if len(groups) == 1 else f"repair-{i + 1}"
        title = "Repairs" if len(groups) == 1 or not task else f"Repairs, {task}"
        with style.house_style():
            shown = _shown(found, repairs, key, left_out=found.left_out if i == 0 else [])
        pages.append((key, title, shown))
    if not pages and found.left_out:
        nothing = {"findings": [], "empty": True, "left_out": found.left_out}
        pages.append(("repair", "Repairs", nothing))
    return pages


def _shown(found: Repairs, repairs: Sequence[Repair], key: str, left_out: list[str]) -> dict[str, Any]:
    run, near, chosen = found.run, nearest(repairs), best(repairs)
    damages = [damage_table(repair) for repair in repairs if repair.damaged]
    damages.sort(key=lambda table: table["label"] != chosen.label)  # stable: the one that is named first leads
    return {
        "empty": False,
        "findings": [finding(repairs)],
        "best": chosen.label,
        "near": trials_of(repairs)[near],
        "n": count(chosen.n(near), "item"),
        "before": _figures(key, draw_before_after(chosen, run, near), draw_every_repair(repairs, run, near)),
        "table": method_table(repairs, run),
        "rule": rule(repairs),
        "trials": trial_rows(repairs),
        "reach": _figures(key, draw_frontier(repairs), draw_closure(repairs)),
        "damages": damages,
        "damage_terms": damage_terms(damages),
        "samples": samples(repairs),
        "pathways": _pathways(repairs, chosen, key),
        "items": changed_items(chosen, run, near),
        "item_seed": f"seed {chosen.first.seed}" if len(chosen.seeds) > 1 else "",
        "training": _figures(key, draw_repair_training(repairs)),
        "made": [_made(repair, run) for repair in repairs],
        "missing": _missing(repairs),
        "left_out": left_out,
    }


def _figures(key: str, *drawn: Drawn | None) -> Figures:
    """Figures for the page, those that there are."""
    return [
        {
            **{part: getattr(one, part) for part in ("name", "title", "caption", "alt", "wide")},
            # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
            "svg": Markup(style.inline_svg(one.figure, f"{key}-{one.name}")),
        }
        for one in drawn
        if one is not None
    ]


def _pathways(repairs: Sequence[Repair], chosen: Repair, key: str) -> dict[str, Any]:
    """The pathway of each repair, lowest seed that has one: all figures of the one that leads, a few of others."""
    shown: list[dict[str, Any]] = []
    dropped, spent = [], 0
    for repair in sorted(repairs, key=lambda r: r is not chosen):
        one = next((seed for seed in repair.seeds if seed.pathway is not None), None)
        if one is None or one.pathway is None:
            continue
        if spent > PATHWAY_BUDGET:
            dropped.append(repair.label)
            continue
        which = BRIEFLY if shown else PATHWAY_FIGURES
        figures = _figures(f"{key}-p{len(shown)}", *draw_pathway(one.pathway, which))
        spent += sum(len(figure["svg"]) for figure in figures)
        seed = f"seed {one.seed}" if len(repair.seeds) > 1 else ""
        shown.append({"label": repair.label, "seed": seed, "sentence": one.pathway.sentence, "figures": figures})
    return {"shown": shown, "dropped": dropped}


def _made(repair: Repair, run: Path) -> dict[str, Any]:
    """How a repair was made, and where its files are."""
    files = []
    for one in repair.seeds:
        for part, name in _FILES.items():
            path = run / part / one.path.name / name
            if path.is_file():
                text = path.relative_to(run).as_posix()
                files.append({"text": text, "href": "./" + quote(text)})
    return {"label": repair.label, "settings": list(flat(repair.first.about)), "files": files}


_FILES = {REPAIR: "repair.json", VERDICT: "verdict.json", DAMAGE: "damage.json", PATHWAY: "pathway.json"}


def _missing(repairs: Sequence[Repair]) -> list[str]:
    """Which parts were not measured, and of which repairs."""
    out = []
    for part, what in ((DAMAGE, "what they broke ([damage])"), (PATHWAY, "their pathway ([pathway])")):
        without = [r.label for r in repairs if all(getattr(one, part) is None for one in r.seeds)]
        if without:
            out.append(f"{what}: {_everyone(without, repairs)}")
    return out


def _everyone(labels: Sequence[str], repairs: Iterable[Repair]) -> str:
    return "none of the repairs was tried" if len(labels) == len(list(repairs)) else f"not of {', '.join(labels)}"
