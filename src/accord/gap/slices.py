"""Which items and which kinds of item the two forms disagree on."""

import numpy as np
import pandas as pd

from accord.intervals import wilson

SAYS_DENIES = "says it but denies it"
AFFIRMS_SILENT = "affirms it but would not say it"


def generator_cut(scores: pd.DataFrame) -> float:
    """The generator log-odds above which the model counts as *saying* the answer.

    No single token among tens of thousands is likely, so zero is no threshold here. The model is taken to say as
    many answers as there are right ones: its own highest. (With one class only: the upper half.)

    >>> scores = pd.DataFrame({"gold": [True, True, False, False], "generator_logodds": [-1.0, -4.0, -2.0, -5.0]})
    >>> generator_cut(scores)
    -3.0
    """
    right = float(scores["gold"].mean())
    share = right if 0 < right < 1 else 0.5
    return float(np.quantile(_finite(scores["generator_logodds"]), 1 - share))


def judged(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with what each form makes of the item, and how far apart the two stand.

    Adds `says`, `affirms`, `disagreement` (one of the two kinds, or ""), `generator_place` and `validator_place`
    (share of the other items that stand lower, 0..1) and `distance` (their difference: positive where it says more).
    """
    says = scores["generator_logodds"] > generator_cut(scores)
    affirms = scores["validator_logodds"] > 0
    kind = np.select([says & ~affirms, affirms & ~says], [SAYS_DENIES, AFFIRMS_SILENT], "")
    others = max(1, len(scores) - 1)
    places = {form: (scores[f"{form}_logodds"].rank() - 1) / others for form in ("generator", "validator")}
    return scores.assign(
        says=says,
        affirms=affirms,
        disagreement=kind,
        generator_place=places["generator"],
        validator_place=places["validator"],
        distance=places["generator"] - places["validator"],
    )


def by_category(scores: pd.DataFrame) -> pd.DataFrame:
    """A row a category, the one that disagrees most first; no rows where the items have no category.

    Columns: category, n, rate, low, high (Wilson interval of the rate), says_denies, affirms_silent (shares), and
    generator_right, validator_right (share of items each form puts on the right side).
    """
    rows = judged(scores)
    rows = rows[rows["group"].notna()]
    table = [_slice_row(str(name), part) for name, part in rows.groupby("group", sort=True)]
    frame = pd.DataFrame(table, columns=list(_slice_row("", judged(scores))))
    return frame.sort_values(["rate", "n"], ascending=False, kind="stable", ignore_index=True)


def by_similarity(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each of right/wrong × high/low similarity; no rows where the data does not say."""
    rows = judged(scores)
    rows = rows[rows["similarity"].notna()]
    out = []
    for gold, label in ((True, "right"), (False, "wrong")):
        for level, part in rows[rows["gold"] == gold].groupby("similarity", sort=True):
            out.append({"gold": label, "similarity": str(level)} | _slice_row("", part))
    return pd.DataFrame(out)


def worst(scores: pd.DataFrame, top: int = 6) -> dict[str, pd.DataFrame]:
    """For each kind of disagreement its `top` items, those whose places in the two forms lie furthest apart."""
    rows = judged(scores)
    out = {}
    for kind, far_first in ((SAYS_DENIES, False), (AFFIRMS_SILENT, True)):
        part = rows[rows["disagreement"] == kind]
        out[kind] = part.sort_values("distance", ascending=far_first, kind="stable").head(top)
    return out


def _slice_row(name: str, part: pd.DataFrame) -> dict[str, object]:
    n, hits = len(part), int((part["disagreement"] != "").sum())
    low, high = wilson(hits, n)
    return {
        "category": name,
        "n": n,
        "rate": hits / max(n, 1),
        "low": low,
        "high": high,
        "says_denies": float((part["disagreement"] == SAYS_DENIES).mean()),
        "affirms_silent": float((part["disagreement"] == AFFIRMS_SILENT).mean()),
        "generator_right": float((part["says"] == part["gold"]).mean()),
        "validator_right": float((part["affirms"] == part["gold"]).mean()),
    }


def _finite(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=float)
    finite: np.ndarray = numbers[np.isfinite(numbers)]
    return finite if finite.size else np.zeros(1)
