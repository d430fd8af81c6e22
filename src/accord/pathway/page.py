"""Which way repairs go, as their chapter shows it: a sentence and figures for each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.pathway.figures import draw_pathway
from accord.pathway.result import Pathway
from accord.report.drawn import on_page
from accord.report.links import label_key
from accord.report.metric import plain

BUDGET = 1_500_000  # bytes of figures; pathways beyond it are named, and lie in their folders


def pathway_shown(repairs: Mapping[str, Mapping[int, Pathway | None]], leads: str, key: str) -> dict[str, Any]:
    """What page.html shows, the lowest seed that has one: all figures of the repair that leads, a few of others.

    Args:
        repairs: by label: seed -> its pathway, None where that was not measured.
        key: begins the ids of the figures.
    """
    blocks: list[dict[str, Any]] = []
    dropped, spent = [], 0
    for label in sorted(repairs, key=lambda label: label != leads):
        measured = {seed: pathway for seed, pathway in repairs[label].items() if pathway is not None}
        if not measured:
            continue
        if spent > BUDGET:
            dropped.append(label)
            continue
        seed, pathway = next(iter(measured.items()))
        figures = on_page(draw_pathway(pathway, briefly=bool(blocks)), f"{key}-{label_key(label)}")
        spent += sum(figure["weight"] for figure in figures)
        sentence = plain(" ".join(pathway.summary()["sentences"]))
        of_seed = f"seed {seed}" if len(repairs[label]) > 1 else ""
        blocks.append({"label": label, "seed": of_seed, "sentence": sentence, "figures": figures})
    return {"template": str(Path(__file__).with_name("page.html")), "shown": blocks, "dropped": dropped}
