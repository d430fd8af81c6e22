"""Items and texts that show what a repair changed: those that moved most, and what both models write by themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accord.report.gap_page import LONGEST, shared_beginning
from accord.report.repair_data import read_scores
from accord.report.repair_groups import Repair
from accord.report.wording import number

MOST_ITEMS = 10
SAMPLES = 4
LONGEST_TEXT = 1000  # characters of a sample; all of it is in generations.jsonl
_FORMS = ("generator", "validator")


def changed_items(repair: Repair, run: Path, trial: str) -> list[dict[str, Any]]:
    """The items whose place among all items moved furthest, in either form.

    A place is the share of the other items that score lower: it does not depend on scale or threshold, which a repair
    may change for all items alike.
    """
    found = read_scores(run, repair.first, trial)
    if found is None or len(found[0]) < 2:
        return []
    places = {form: [_places(table[f"{form}_logodds"]) for table in found] for form in _FORMS}
    moved = np.max([np.abs(after - before) for before, after in places.values()], axis=0)
    shared = {form: shared_beginning(found[0][f"{form}_prompt"].tolist()) for form in _FORMS}
    return [
        _item(i, found, {form: [float(side[i]) for side in both] for form, both in places.items()}, shared)
        for i in np.argsort(-moved, kind="stable")[:MOST_ITEMS]
        if moved[i] > 0
    ]


def samples(repairs: Sequence[Repair]) -> list[dict[str, Any]]:
    """What the base model and every repaired one wrote from the same beginnings, lowest seed of each."""
    tables = [(r.label, r.first.damage.generations) for r in repairs if r.first.damage is not None]
    tables = [(label, table) for label, table in tables if len(table)]
    if not tables:
        return []
    first = tables[0][1].head(SAMPLES)
    out = []
    for k, row in enumerate(first.to_dict("records")):
        same = [(label, t.iloc[k]) for label, t in tables if k < len(t) and t.iloc[k]["prompt"] == row["prompt"]]
        texts = [_text("before", row["base"]), *(_text(label, other["repaired"]) for label, other in same)]
        out.append({"number": k + 1, "prompt": str(row["prompt"])[:LONGEST_TEXT], "texts": texts})
    return out


def _places(values: pd.Series) -> np.ndarray:
    return ((values.rank() - 1) / (len(values) - 1)).fillna(0.0).to_numpy(dtype=float)


def _item(
    i: int, tables: tuple[pd.DataFrame, pd.DataFrame], places: dict[str, list[float]], shared: dict[str, str]
) -> dict[str, Any]:
    before, after = (table.iloc[i] for table in tables)
    group = before.get("group")
    return {
        "answer": str(before["answer"])[:LONGEST],
        "gold": bool(before["gold"]),
        "group": "" if not isinstance(group, str) or group == before["answer"] else group,
        "forms": {
            form: {
                **_prompt(str(before[f"{form}_prompt"]), shared[form]),
                "logodds": " → ".join(number(float(row[f"{form}_logodds"]), bare=False) for row in (before, after)),
                "from": f"{100 * places[form][0]:.1f}",
                "to": f"{100 * places[form][1]:.1f}",
                "words": f"above {_share(places[form][0])} of the items before, {_share(places[form][1])} after",
            }
            for form in _FORMS
        },
    }


def _prompt(prompt: str, shared: str) -> dict[str, Any]:
    own = prompt.removeprefix(shared)
    folded = shared[-LONGEST:] if prompt.startswith(shared) else ""
    return {"shared": folded, "own": own[-LONGEST:], "cut": max(0, len(own) - LONGEST)}


def _share(place: float) -> str:
    """How many of the other items stand lower, never rounded up to all or down to none."""
    return f"{place if place in (0.0, 1.0) else min(0.99, max(0.01, place)):.0%}"


def _text(label: str, text: object) -> dict[str, Any]:
    shown = text if isinstance(text, str) else ""
    return {"label": label, "text": shown[:LONGEST_TEXT], "cut": max(0, len(shown) - LONGEST_TEXT)}
