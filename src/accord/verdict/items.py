"""The items that a repair changed most."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from accord.report.prompts import LONGEST, shared_beginning
from accord.report.wording import number
from accord.verdict.judged import JudgedRepair

MOST_ITEMS = 10
_FORMS = ("generator", "validator")


def changed_items(repair: JudgedRepair, trial: str) -> list[dict[str, Any]]:
    """The items whose place among all items moved furthest, in either form.

    A place is the share of the other items that score lower: it does not depend on scale or threshold, which a repair
    may change for all items alike.
    """
    scores = repair.first.scores(trial)
    if scores is None or len(scores[0]) < 2:
        return []
    places = {form: [_places(table[f"{form}_logodds"]) for table in scores] for form in _FORMS}
    moved = np.max([np.abs(after - before) for before, after in places.values()], axis=0)
    shared = {form: shared_beginning(scores[0][f"{form}_prompt"].tolist()) for form in _FORMS}
    rows = [table.to_dict("records") for table in scores]
    items = []
    for i in np.argsort(-moved, kind="stable")[:MOST_ITEMS]:
        if moved[i] > 0:
            before, after = rows[0][i], rows[1][i]
            group = before.get("group")
            forms = {form: _form(form, (before, after), [side[i] for side in places[form]], shared) for form in _FORMS}
            items.append(
                {
                    "answer": str(before["answer"])[:LONGEST],
                    "gold": bool(before["gold"]),
                    "group": "" if not isinstance(group, str) or group == before["answer"] else group,
                    "forms": forms,
                }
            )
    return items


def _places(values: pd.Series) -> np.ndarray:
    return ((values.rank() - 1) / (len(values) - 1)).fillna(0.0).to_numpy(dtype=float)


def _form(
    form: str, rows: Sequence[Mapping[Any, Any]], places: Sequence[float], shared: Mapping[str, str]
) -> dict[str, Any]:
    """One form of an item: its prompt, its log-odds and its place before and after."""
    prompt = str(rows[0][f"{form}_prompt"])
    own = prompt.removeprefix(shared[form])
    before, after = places
    return {
        "shared": shared[form][-LONGEST:] if prompt.startswith(shared[form]) else "",
        "own": own[-LONGEST:],
        "cut": max(0, len(own) - LONGEST),
        "logodds": " → ".join(number(row[f"{form}_logodds"], bare=False) for row in rows),
        "from": f"{100 * before:.1f}",
        "to": f"{100 * after:.1f}",
        "words": f"above {_share(before)} of the items before, {_share(after)} after",
    }


def _share(place: float) -> str:
    """How many of the other items stand lower, never rounded up to all or down to none.

    >>> _share(0.5), _share(0.999), _share(1.0)
    ('50%', '99%', '100%')
    """
    return f"{place if place in (0.0, 1.0) else min(0.99, max(0.01, place)):.0%}"
